//! Damage that `image`'s decoders fall over instead of reporting it; fuzzing found each.

use image::ImageFormat;

/// What is wrong with a file that must not be given to its decoder.
pub(super) fn found(bytes: &[u8], format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::WebP if !webp_chunks_fit(bytes) => {
            Some("a chunk of the WebP is longer than the file")
        }
        ImageFormat::Png if !png_palette_is_whole(bytes) => {
            Some("the palette of the PNG is no whole number of colours")
        }
        _ => None,
    }
}

/// Whether a palette, if there is one, has three bytes a colour: `png` reads past its end otherwise, and panics.
fn png_palette_is_whole(bytes: &[u8]) -> bool {
    // After the signature: length, name, that many bytes, a checksum.
    let mut chunks = bytes.get(8..).unwrap_or_default();
    while let Some((&[a, b, c, d, ref name @ ..], rest)) = chunks.split_first_chunk::<8>() {
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        match name {
            b"PLTE" if !len.is_multiple_of(3) => return false,
            b"IDAT" => return true,
            _ => {}
        }
        chunks = rest.get(len.saturating_add(4)..).unwrap_or_default();
    }
    true
}

/// Whether each chunk of a WebP lies within the file. `image` takes the memory that an EXIF chunk claims, up to
/// 4 GiB, before it reads it.
fn webp_chunks_fit(bytes: &[u8]) -> bool {
    let Some(&[.., a, b, c, d]) = bytes.first_chunk::<8>() else {
        return false;
    };
    let riff_end = u64::from(u32::from_le_bytes([a, b, c, d])) + 8;
    let end = bytes
        .len()
        .min(usize::try_from(riff_end).unwrap_or(usize::MAX));
    let mut chunks = bytes.get(12..end).unwrap_or_default();
    while let Some((&[_, _, _, _, a, b, c, d], rest)) = chunks.split_first_chunk::<8>() {
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some(after) = rest.get(len..) else {
            return false;
        };
        // Chunks begin at even places.
        chunks = after.get(len % 2..).unwrap_or_default();
    }
    true
}
