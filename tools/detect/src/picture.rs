//! Reading pictures that nobody has checked: any format, any orientation, any header.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use image::error::DecodingError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits, RgbImage};
use intertwine_picture::over_black;

use crate::error::PictureError;
use crate::panics::silently;

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
/// and 16-bit values converted, transparent pixels laid over black as for training. Of an animation it is the first
/// frame.
///
/// # Errors
/// A file that cannot be read or decoded, or has more than [`MAX_PIXELS`]. A size is refused on the header's
/// word, before memory for it is taken; a decoder that panics is a damaged picture too.
pub fn open(path: &Path) -> Result<RgbImage, PictureError> {
    read(BufReader::new(File::open(path)?), MAX_PIXELS)
}

/// [`open`] for a picture in memory.
///
/// # Errors
/// Bytes that cannot be decoded, or more than [`MAX_PIXELS`].
pub fn decode(bytes: &[u8]) -> Result<RgbImage, PictureError> {
    decode_up_to(bytes, MAX_PIXELS)
}

/// [`decode`] for those who have less memory: about 12 bytes for each of `max_pixels` hold a picture of any kind.
///
/// # Errors
/// Bytes that cannot be decoded, or more than `max_pixels`.
pub fn decode_up_to(bytes: &[u8], max_pixels: u64) -> Result<RgbImage, PictureError> {
    read(Cursor::new(bytes), max_pixels)
}

fn read(mut file: impl BufRead + Seek, max_pixels: u64) -> Result<RgbImage, PictureError> {
    let format = image::guess_format(file.fill_buf()?)?;
    let damaged = |what: &str| {
        let error = DecodingError::new(format.into(), what);
        PictureError::Decode(ImageError::Decoding(error))
    };
    if let Some(what) = intertwine_picture::damage(&mut file, format)? {
        return Err(damaged(what));
    }
    silently(|| pixels(ImageReader::with_format(file, format), max_pixels))
        // Where it did is nothing for the clients of a server.
        .unwrap_or_else(|_| Err(damaged("its decoder panicked")))
}

fn pixels<R: BufRead + Seek>(
    mut reader: ImageReader<R>,
    max_pixels: u64,
) -> Result<RgbImage, PictureError> {
    let mut limits = Limits::default();
    // Up to 8 bytes a pixel (16-bit RGBA), and as much again for the decoder's own buffers.
    limits.max_alloc = Some(16 * max_pixels + (64 << 20));
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(PictureError::Empty { width, height });
    }
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(PictureError::TooLarge {
            width,
            height,
            limit: max_pixels,
        });
    }
    // A damaged EXIF block is no reason to refuse the pixels.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let rgb = over_black(DynamicImage::from_decoder(decoder)?);
    // Only now, since turning takes as much memory again.
    let mut picture = DynamicImage::ImageRgb8(rgb);
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Result, SeekFrom};

    use super::*;

    /// A BMP whose decoder panics as soon as it reads.
    struct Trap;

    impl Read for Trap {
        fn read(&mut self, _: &mut [u8]) -> Result<usize> {
            panic!("no colour left")
        }
    }

    impl BufRead for Trap {
        fn fill_buf(&mut self) -> Result<&[u8]> {
            Ok(b"BM")
        }

        fn consume(&mut self, _: usize) {}
    }

    impl Seek for Trap {
        fn seek(&mut self, _: SeekFrom) -> Result<u64> {
            Ok(0)
        }
    }

    #[test]
    fn a_decoder_that_panics_is_a_damaged_picture() {
        let error = read(Trap, MAX_PIXELS).unwrap_err();
        assert!(matches!(error, PictureError::Decode(_)), "{error}");
        let told = error.to_string();
        assert!(told.ends_with("its decoder panicked"), "{told}");
    }
}
