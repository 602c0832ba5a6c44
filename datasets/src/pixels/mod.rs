//! The pixels of one record: three encodings behind one pair of functions.

mod zpix;

use image::RgbImage;

use crate::decode::{self, DecodeError};

/// The longest side of a stored picture, in pixels; JPEG's own limit.
pub const MAX_SIDE: u32 = 65_535;

/// The most pixels of a stored picture: 134 megapixels, 403 MB when decoded. A larger claim is refused
/// before anything is allocated, by the reader and by the importers.
pub const MAX_PIXELS: u64 = 1 << 27;

/// How the pixels of a record are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Encoding {
    /// Interleaved RGB, row by row: nothing to decode, about 1.75 times the bytes of `zpix`.
    Raw = 0,
    /// Lossless and fast to decode: colour differences, compressed by zstd in strips of 64 rows.
    #[default]
    Zpix = 1,
    /// JPEG: the smallest and the slowest to read. The file's own bytes where the picture is stored as it
    /// came, else compressed anew at the stated quality.
    Jpeg = 2,
}

impl Encoding {
    /// From the byte that stands for it in a shard.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Raw, Self::Zpix, Self::Jpeg]
            .into_iter()
            .find(|&encoding| encoding as u8 == byte)
    }
}

/// Buffers for encoding, to be kept between pictures, one for each thread.
#[derive(Default)]
pub struct PixelEncoder {
    zpix: zpix::Encoder,
}

impl PixelEncoder {
    /// The bytes of `image`; `jpeg_quality` (1 to 100) matters for [`Encoding::Jpeg`] alone.
    pub fn encode(
        &mut self,
        image: &RgbImage,
        encoding: Encoding,
        jpeg_quality: u8,
    ) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match encoding {
            Encoding::Raw => bytes.extend_from_slice(image.as_raw()),
            Encoding::Zpix => {
                self.zpix
                    .encode(image.as_raw(), image.width() as usize, &mut bytes)?
            }
            Encoding::Jpeg => {
                image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, jpeg_quality)
                    .encode_image(image)
                    .map_err(std::io::Error::other)?
            }
        }
        Ok(bytes)
    }
}

/// Buffers for decoding, to be kept between pictures, one for each thread.
#[derive(Default)]
pub struct Scratch {
    zpix: zpix::Decoder,
}

impl Scratch {
    /// Decodes into `image`, giving it the size `width x height` and using its memory again.
    pub(crate) fn decode(
        &mut self,
        bytes: &[u8],
        encoding: Encoding,
        (width, height): (u32, u32),
        image: &mut RgbImage,
    ) -> Result<(), String> {
        let len = 3 * width as usize * height as usize;
        let mut pixels = std::mem::take(image).into_raw();
        pixels.resize(len, 0);
        let result = match encoding {
            Encoding::Raw if bytes.len() == len => {
                pixels.copy_from_slice(bytes);
                Ok(())
            }
            Encoding::Raw => Err(format!(
                "{} bytes of raw pixels, expected {len}",
                bytes.len()
            )),
            Encoding::Zpix => self.zpix.decode(bytes, width as usize, &mut pixels),
            Encoding::Jpeg => decode::jpeg_into(bytes, (width, height), &mut pixels)
                .map_err(|e: DecodeError| e.to_string()),
        };
        *image = RgbImage::from_raw(width, height, pixels).expect("the buffer was given this size");
        result
    }
}
