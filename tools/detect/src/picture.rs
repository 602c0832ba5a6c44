//! Reading pictures that nobody has checked: any format, any orientation, any header.

use std::io::{BufRead, Cursor, Seek};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};

use crate::error::PictureError;

/// The most pixels accepted: those of the largest common sensors (108 megapixels), 324 MB decoded.
pub const MAX_PIXELS: u64 = 108_000_000;

/// File name endings that are taken for pictures when a folder is searched.
pub const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "bmp", "gif"];

/// Whether a file name ends like a picture's.
pub fn has_picture_extension(path: &Path) -> bool {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    EXTENSIONS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(extension))
}

/// Reads a picture as people see it: the format is recognised by content, the EXIF orientation applied, grey
/// and 16-bit values converted, transparency dropped. Of an animation it is the first frame.
///
/// # Errors
/// A file that cannot be read or decoded, or has more than [`MAX_PIXELS`]. A size is refused on the header's
/// word, before memory for it is taken.
pub fn open(path: &Path) -> Result<RgbImage, PictureError> {
    let reader = ImageReader::open(path)?.with_guessed_format()?;
    read(reader)
}

/// [`open`] for a picture in memory.
///
/// # Errors
/// Bytes that cannot be decoded, or more than [`MAX_PIXELS`].
pub fn decode(bytes: &[u8]) -> Result<RgbImage, PictureError> {
    read(ImageReader::new(Cursor::new(bytes)).with_guessed_format()?)
}

fn read<R: BufRead + Seek>(mut reader: ImageReader<R>) -> Result<RgbImage, PictureError> {
    let mut limits = Limits::default();
    // Up to 8 bytes a pixel (16-bit RGBA), and as much again for the decoder's own buffers.
    limits.max_alloc = Some(16 * MAX_PIXELS);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(PictureError::Empty { width, height });
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(PictureError::TooLarge {
            width,
            height,
            limit: MAX_PIXELS,
        });
    }
    // A damaged EXIF block is no reason to refuse the pixels.
    let orientation = decoder
        .orientation()
        .unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}
