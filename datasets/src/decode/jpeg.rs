//! JPEG: strictly, and pictures as cameras and the web make them to the last bit as libjpeg-turbo, and with it Pillow
//! and OpenCV, decode them.
//!
//! Two decoders: libjpeg-turbo-rs for grey and YCbCr pictures with the usual subsampling, zune-jpeg for the rest (CMYK,
//! RGB, odd subsampling), on which the other one was found to panic when damaged.

use image::metadata::Orientation;
use libjpeg_turbo_rs::{ColorSpace, DecodeLimits, Decoder, PixelFormat};
use zune_core::bytestream::ZCursor;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::{damaged, DecodeError};
use crate::pixels::{MAX_PIXELS, MAX_SIDE};

/// The most scans of a progressive JPEG; encoders make some ten.
const MAX_SCANS: usize = 1000;

/// A JPEG whose header was read.
pub(super) enum Jpeg<'a> {
    Usual(Box<Decoder<'a>>),
    Rare(Box<JpegDecoder<ZCursor<&'a [u8]>>>),
}

impl<'a> Jpeg<'a> {
    pub fn open(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let limits = DecodeLimits {
            max_width: MAX_SIDE as usize,
            max_height: MAX_SIDE as usize,
            max_pixels: MAX_PIXELS,
            max_scans: MAX_SCANS,
            max_memory: None,
        };
        let mut decoder = Decoder::new_with_limits(bytes, limits).map_err(damaged)?;
        if is_usual(&decoder) {
            // What libjpeg-turbo only warns about, it fills with grey.
            decoder.set_stop_on_warning(true);
            decoder.set_output_format(PixelFormat::Rgb);
            return Ok(Self::Usual(Box::new(decoder)));
        }
        let options = DecoderOptions::default()
            .set_strict_mode(true)
            .set_max_width(MAX_SIDE as usize)
            .set_max_height(MAX_SIDE as usize)
            .jpeg_set_out_colorspace(zune_core::colorspace::ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder.decode_headers().map_err(damaged)?;
        Ok(Self::Rare(Box::new(decoder)))
    }

    /// Width and height, as the header claims.
    pub fn size(&self) -> (u32, u32) {
        match self {
            Self::Usual(decoder) => {
                let header = decoder.header();
                (header.width.into(), header.height.into())
            }
            Self::Rare(decoder) => {
                let (width, height) = decoder.dimensions().unwrap_or_default();
                // A JPEG states its sides in 16 bits.
                (width as u32, height as u32)
            }
        }
    }

    /// What EXIF says must be done to see it upright.
    pub fn orientation(&self) -> Orientation {
        let orientation = match self {
            Self::Usual(decoder) => decoder.exif_orientation().and_then(Orientation::from_exif),
            Self::Rare(decoder) => decoder
                .exif()
                .and_then(|chunk| Orientation::from_exif_chunk(chunk)),
        };
        orientation.unwrap_or(Orientation::NoTransforms)
    }

    /// Decodes into interleaved RGB of [`Self::size`].
    pub fn decode_into(&mut self, rgb: &mut [u8]) -> Result<(), DecodeError> {
        match self {
            Self::Usual(decoder) => decoder.decode_image_into(rgb).map(|_| ()).map_err(damaged),
            Self::Rare(decoder) => decoder.decode_into(rgb).map_err(damaged),
        }
    }
}

/// Grey, or YCbCr of which the colours have at most half the resolution either way; 8 bits, Huffman coded.
fn is_usual(decoder: &Decoder) -> bool {
    let header = decoder.header();
    let sampling = |i: usize| {
        let component = &header.components[i];
        (component.horizontal_sampling, component.vertical_sampling)
    };
    let layout = match (header.components.len(), decoder.jpeg_color_space()) {
        (1, ColorSpace::Grayscale) => sampling(0) == (1, 1),
        (3, ColorSpace::YCbCr) => {
            matches!(sampling(0), (1 | 2, 1 | 2)) && sampling(1) == (1, 1) && sampling(2) == (1, 1)
        }
        _ => false,
    };
    layout && header.precision == 8 && !header.is_lossless && !decoder.is_arithmetic()
}

/// Whether an end-of-image marker follows the first scan. Within a scan 0xFF is always followed by zero or
/// a restart marker, so the pair cannot be data; previews inside EXIF come before the scan.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
        match marker {
            0xda => {
                return bytes[at..]
                    .windows(2)
                    .rev()
                    .any(|pair| pair == [0xff, 0xd9])
            }
            0xff => at += 1,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
    false
}
