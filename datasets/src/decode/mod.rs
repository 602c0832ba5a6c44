//! From the bytes of a picture file to upright 8-bit RGB, strictly: a damaged file is an error, never a
//! picture with a grey half.
//!
//! Grey, palette, CMYK and 16-bit pictures become 8-bit RGB. Transparent pixels are laid over black, since
//! the colour behind full transparency is arbitrary. Of an animation the first frame is taken. Colour
//! profiles are not applied.

mod jpeg;

use std::fmt::Display;
use std::io::Cursor;
use std::panic;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, RgbImage};
use intertwine_picture::over_black;

use crate::pixels::{MAX_PIXELS, MAX_SIDE};
use jpeg::Jpeg;

/// Why a file's bytes are not a picture we can use.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes begin like no picture format there is.
    #[error("not a picture: it begins with {0}")]
    NotAPicture(String),
    /// A picture format that is not read.
    #[error("{0} is not supported; convert it to JPEG, PNG, WebP, BMP or GIF")]
    Unsupported(String),
    /// Width and height, as the header claims, beyond [`MAX_SIDE`] or [`MAX_PIXELS`].
    #[error("{0} x {1} pixels, the limit is {MAX_PIXELS} pixels and {MAX_SIDE} a side")]
    TooLarge(u32, u32),
    /// Damaged or cut off.
    #[error("damaged: {0}")]
    Damaged(String),
}

/// A picture read from a file.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The pixels as stored, not yet rotated.
    pub image: RgbImage,
    /// What EXIF says must be done to see it upright.
    pub orientation: Orientation,
    /// Whether the file is a JPEG.
    pub is_jpeg: bool,
}

impl Decoded {
    /// Turns the picture upright.
    pub fn upright(self) -> RgbImage {
        if self.orientation == Orientation::NoTransforms {
            return self.image;
        }
        let mut image = DynamicImage::ImageRgb8(self.image);
        image.apply_orientation(self.orientation);
        image.into_rgb8()
    }
}

/// Decodes a picture file; the format is told from the bytes, not from the file's name.
///
/// # Errors
/// As [`DecodeError`], whatever the bytes are: a decoder that panics is a damaged picture too.
pub fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let format = image::guess_format(bytes).map_err(|_| unknown_format(bytes))?;
    let decoded = panic::catch_unwind(|| match format {
        ImageFormat::Jpeg => decode_jpeg(bytes),
        _ => decode_other(bytes, format),
    });
    decoded.unwrap_or_else(|_| Err(DecodeError::Damaged("its decoder panicked".into())))
}

/// Decodes what is no JPEG.
fn decode_other(bytes: &[u8], format: ImageFormat) -> Result<Decoded, DecodeError> {
    let mut file = Cursor::new(bytes);
    if let Some(what) = intertwine_picture::damage(&mut file, format).map_err(damaged)? {
        return Err(damaged(what));
    }
    let mut decoder = ImageReader::with_format(file, format)
        .into_decoder()
        .map_err(error)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let mut limits = image::Limits::default();
    // The widest pixel is four channels of 16 bits; decoders may need as much again for themselves.
    limits.max_alloc = Some(2 * 8 * u64::from(width) * u64::from(height) + (64 << 20));
    decoder.set_limits(limits).map_err(error)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(error)?;
    Ok(Decoded {
        image: over_black(image),
        orientation,
        is_jpeg: false,
    })
}

/// Decodes a JPEG of known size into `rgb`, which holds exactly that many pixels.
pub(crate) fn jpeg_into(bytes: &[u8], size: (u32, u32), rgb: &mut [u8]) -> Result<(), DecodeError> {
    let mut jpeg = Jpeg::open(bytes)?;
    let found = jpeg.size();
    if found != size {
        return Err(DecodeError::Damaged(format!(
            "the JPEG is {} x {}, the index says {} x {}",
            found.0, found.1, size.0, size.1
        )));
    }
    jpeg.decode_into(rgb)
}

fn decode_jpeg(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut jpeg = Jpeg::open(bytes)?;
    let (width, height) = jpeg.size();
    check_size(width, height)?;
    if !jpeg::is_complete(bytes) {
        return Err(DecodeError::Damaged(
            "the JPEG is cut off: its end-of-image marker is missing".into(),
        ));
    }
    let mut image = RgbImage::new(width, height);
    jpeg.decode_into(&mut image)?;
    Ok(Decoded {
        image,
        orientation: jpeg.orientation(),
        is_jpeg: true,
    })
}

fn check_size(width: u32, height: u32) -> Result<(), DecodeError> {
    if width > MAX_SIDE || height > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(DecodeError::TooLarge(width, height));
    }
    Ok(())
}

fn damaged(what: impl Display) -> DecodeError {
    DecodeError::Damaged(what.to_string())
}

fn unknown_format(bytes: &[u8]) -> DecodeError {
    // ISO base media: the brand of HEIC and AVIF follows `ftyp`.
    if let Some(b"ftyp") = bytes.get(4..8) {
        let brand = String::from_utf8_lossy(bytes.get(8..12).unwrap_or_default()).into_owned();
        return DecodeError::Unsupported(format!("a file of the brand `{brand}`"));
    }
    let begin = &bytes[..bytes.len().min(16)];
    DecodeError::NotAPicture(match begin {
        [] => "nothing, the file is empty".into(),
        _ => format!("\"{}\"", begin.escape_ascii()),
    })
}

fn error(error: ImageError) -> DecodeError {
    match error {
        ImageError::Unsupported(e) => DecodeError::Unsupported(e.format_hint().to_string()),
        other => DecodeError::Damaged(other.to_string()),
    }
}
