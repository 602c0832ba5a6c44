//! JPEG pictures as cameras of a computer send them.

/// An `APP0` segment of type `AVI1`: decoders know by it that Huffman tables which are missing are the standard ones.
const AVI1: [u8; 9] = [0xFF, 0xE0, 0x00, 0x07, b'A', b'V', b'I', b'1', 0x00];

/// Writes a picture to `file`, with a note that its Huffman tables are the standard ones (ITU-T T.81, K.3) if it has
/// none: many cameras leave them out, as all their pictures have the same.
pub fn with_tables(picture: &[u8], file: &mut Vec<u8>) {
    file.clear();
    match picture {
        [0xFF, 0xD8, rest @ ..] if !has_tables(rest) => {
            file.extend_from_slice(&picture[..2]);
            file.extend_from_slice(&AVI1);
            file.extend_from_slice(rest);
        }
        _ => file.extend_from_slice(picture),
    }
}

/// Whether there is a table among the segments before the pixels.
fn has_tables(mut segments: &[u8]) -> bool {
    const TABLE: u8 = 0xC4;
    const PIXELS: u8 = 0xDA;
    while let [0xFF, kind, high, low, ..] = *segments {
        match kind {
            TABLE => return true,
            PIXELS => return false,
            _ => {}
        }
        let length = 2 + usize::from(u16::from_be_bytes([high, low]));
        segments = segments.get(length..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::{Rgb, RgbImage};
    use intertwine_detect::picture::decode;

    use super::*;

    /// A JPEG file, and the same without its tables, which are the standard ones.
    fn files() -> (Vec<u8>, Vec<u8>) {
        let picture = RgbImage::from_fn(24, 16, |x, y| Rgb([10 * x as u8, 15 * y as u8, 99]));
        let mut whole = Vec::new();
        picture
            .write_with_encoder(JpegEncoder::new(&mut whole))
            .unwrap();
        let (mut bare, mut rest) = (whole[..2].to_vec(), &whole[2..]);
        while rest[1] != 0xDA {
            let length = 2 + usize::from(u16::from_be_bytes([rest[2], rest[3]]));
            if rest[1] != 0xC4 {
                bare.extend_from_slice(&rest[..length]);
            }
            rest = &rest[length..];
        }
        bare.extend_from_slice(rest);
        assert!(bare.len() < whole.len() - 400);
        (whole, bare)
    }

    #[test]
    fn a_picture_without_tables_is_the_picture_with_them() {
        let (whole, bare) = files();
        assert!(decode(&bare).is_err());
        let mut file = Vec::new();
        with_tables(&bare, &mut file);
        assert_eq!(decode(&file).unwrap(), decode(&whole).unwrap());
        with_tables(&whole, &mut file);
        assert_eq!(file, whole);
    }

    #[test]
    fn what_is_no_picture_stays_as_it_is_or_fails_later() {
        let (_, bare) = files();
        let mut file = Vec::new();
        for bytes in [
            &b""[..],
            b"\xFF",
            b"no picture",
            b"\xFF\xD8\xFF\xE0\xFF\xFF",
        ] {
            with_tables(bytes, &mut file);
            assert!(decode(&file).is_err());
        }
        for end in 0..bare.len() / 2 {
            with_tables(&bare[..end], &mut file);
            assert!(file.ends_with(&bare[2.min(end)..end]));
        }
    }
}
