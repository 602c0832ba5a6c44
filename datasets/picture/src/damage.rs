//! Damage that `image`'s decoders fall over instead of reporting it; fuzzing `intertwine-datasets` found each.

use std::io::{ErrorKind, Read, Result, Seek, SeekFrom};

use image::ImageFormat;

/// What is wrong with a file of this format that must not be given to its decoder. The file, which need not be in memory, is
/// left at its beginning.
///
/// # Errors
/// A file that cannot be read.
pub fn damage(file: &mut (impl Read + Seek), format: ImageFormat) -> Result<Option<&'static str>> {
    let what = match format {
        ImageFormat::WebP if !webp_chunks_fit(file)? => {
            Some("a chunk of the WebP is longer than the file")
        }
        ImageFormat::Png if !png_palette_is_whole(file)? => {
            Some("the palette of the PNG is no whole number of colours")
        }
        _ => None,
    };
    file.rewind()?;
    Ok(what)
}

/// Whether a palette, if there is one, has three bytes a colour: `png` reads past its end otherwise, and panics.
fn png_palette_is_whole(file: &mut (impl Read + Seek)) -> Result<bool> {
    // After the signature: length, name, that many bytes, a checksum.
    file.seek(SeekFrom::Start(8))?;
    while let Some([a, b, c, d, name @ ..]) = head(file)? {
        let len = u32::from_be_bytes([a, b, c, d]);
        match &name {
            b"PLTE" if !len.is_multiple_of(3) => return Ok(false),
            b"IDAT" => return Ok(true),
            _ => {}
        }
        file.seek_relative(i64::from(len) + 4)?;
    }
    Ok(true)
}

/// Whether each chunk of a WebP lies within the file. `image` takes the memory that an EXIF chunk claims, up to
/// 4 GiB, before it reads it.
fn webp_chunks_fit(file: &mut (impl Read + Seek)) -> Result<bool> {
    let len = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let Some([.., a, b, c, d]) = head(file)? else {
        return Ok(false);
    };
    let end = len.min(u64::from(u32::from_le_bytes([a, b, c, d])) + 8);
    // `WEBP`, then chunks: name, length, that many bytes; each begins at an even place.
    file.seek_relative(4)?;
    let mut at = 12;
    while at + 8 <= end {
        let Some([.., a, b, c, d]) = head(file)? else {
            return Ok(false);
        };
        let len = u32::from_le_bytes([a, b, c, d]);
        at += 8 + u64::from(len);
        if at > end {
            return Ok(false);
        }
        at += u64::from(len % 2);
        file.seek_relative(i64::from(len) + i64::from(len % 2))?;
    }
    Ok(true)
}

/// The next eight bytes; none where the file ends before.
fn head(file: &mut impl Read) -> Result<Option<[u8; 8]>> {
    let mut head = [0; 8];
    match file.read_exact(&mut head) {
        Ok(()) => Ok(Some(head)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
