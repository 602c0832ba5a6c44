//! Pictures nobody has checked.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};
use intertwine_detect::{picture, PictureError};

fn encoded(format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(40, 30, |x, y| Rgb([(x * 6) as u8, (y * 8) as u8, 77]));
    let mut bytes = Vec::new();
    picture
        .write_to(&mut Cursor::new(&mut bytes), format)
        .unwrap();
    bytes
}

/// A PNG whose header claims a size, with a valid checksum.
fn png_claiming(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = encoded(ImageFormat::Png);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// The checksum of a PNG's chunk, its name included.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// A PNG of 4 x 1 pixels whose palette is a byte short of two colours.
pub fn half_a_colour() -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    // Deflate's plain form: one last block of five bytes, a filter and four pixels.
    let pixels = b"\x78\x01\x01\x05\0\xfa\xff\0\0\x01\0\x01\0\x09\0\x03";
    for (name, data) in [
        ("IHDR", &b"\0\0\0\x04\0\0\0\x01\x08\x03\0\0\0"[..]),
        ("PLTE", &[9, 8, 7, 6, 5]),
        ("IDAT", pixels),
        ("IEND", &[]),
    ] {
        let chunk = [name.as_bytes(), data].concat();
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(&chunk);
        bytes.extend(crc(&chunk).to_be_bytes());
    }
    bytes
}

/// It is an error that says so, in memory and in a file.
#[track_caller]
fn assert_damaged(bytes: &[u8], part: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    for read in [picture::decode(bytes), picture::open(file.path())] {
        let error = read.unwrap_err();
        assert!(matches!(error, PictureError::Decode(_)), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn half_a_colour_in_a_palette_is_an_error() {
    assert_damaged(&half_a_colour(), "the palette of the PNG");
}

#[test]
fn a_chunk_beyond_the_file_is_refused_before_memory_is_taken() {
    let plain = encoded(ImageFormat::WebP);
    // The form with further chunks: flags (there is EXIF) and the size less one, 40 x 30.
    let mut webp = plain[..12].to_vec();
    webp.extend(b"VP8X\x0a\0\0\0\x08\0\0\0\x27\0\0\x1d\0\0");
    webp.extend(&plain[12..]);
    let with_exif = |claim: u32| {
        let mut bytes = webp.clone();
        bytes.extend(b"EXIF");
        bytes.extend(claim.to_le_bytes());
        bytes.extend(b"MM\0\x2a");
        let len = bytes.len() as u32 - 8;
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        bytes
    };
    let sound = picture::decode(&with_exif(4)).unwrap();
    assert_eq!(sound.dimensions(), (40, 30));
    for claim in [5, u32::MAX] {
        assert_damaged(&with_exif(claim), "a chunk of the WebP is longer");
    }
}

#[test]
fn a_size_is_refused_on_the_headers_word() {
    for (width, height) in [(40_000, 40_000), (2_000_000_000, 1), (65_000, 65_000)] {
        let error = picture::decode(&png_claiming(width, height)).unwrap_err();
        let refused = matches!(
            error,
            PictureError::TooLarge { .. } | PictureError::Decode(image::ImageError::Limits(_))
        );
        assert!(refused, "{width} x {height}: {error}");
    }
    // The same header with a size we take fails later, for want of pixels: the check above is not a fluke.
    assert!(matches!(
        picture::decode(&png_claiming(400, 300)),
        Err(PictureError::Decode(_))
    ));
    let mut bmp = encoded(ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&40_000u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&40_000u32.to_le_bytes());
    assert!(matches!(
        picture::decode(&bmp),
        Err(PictureError::TooLarge { width: 40_000, .. })
    ));
}

#[test]
fn damaged_pictures_are_errors_or_pictures_but_never_panics() {
    for format in [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::Bmp,
        ImageFormat::Gif,
        ImageFormat::WebP,
    ] {
        let bytes = encoded(format);
        assert_eq!(
            picture::decode(&bytes).unwrap().dimensions(),
            (40, 30),
            "{format:?}"
        );
        for length in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
            let _ = picture::decode(&bytes[..length]);
        }
        for at in (0..bytes.len()).step_by(bytes.len() / 80 + 1) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0xff;
            let _ = picture::decode(&bytes);
        }
        assert!(picture::decode(&bytes[..12]).is_err(), "{format:?}");
    }
}

#[test]
fn the_content_decides_about_the_format_not_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        picture::open(&path)
    };
    assert!(named("a.jpg", &encoded(ImageFormat::Png)).is_ok());
    assert!(named("b", &encoded(ImageFormat::Jpeg)).is_ok());
    assert!(matches!(
        named("c.jpg", b"This is a text."),
        Err(PictureError::Decode(_))
    ));
    assert!(matches!(named("d.jpg", b""), Err(PictureError::Decode(_))));
    assert!(matches!(
        picture::open(&folder.path().join("none.jpg")),
        Err(PictureError::Read(_))
    ));
}

#[test]
fn the_orientation_of_the_camera_is_undone() {
    // EXIF orientation 6 (0x0112 = 6): the camera was turned, so people see the picture 90 degrees clockwise.
    let jpeg = encoded(ImageFormat::Jpeg);
    let exif: &[u8] = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let mut turned = jpeg[..2].to_vec();
    turned.extend([0xff, 0xe1]);
    turned.extend((exif.len() as u16 + 2).to_be_bytes());
    turned.extend(exif);
    turned.extend(&jpeg[2..]);
    let plain = picture::decode(&jpeg).unwrap();
    assert_eq!(
        picture::decode(&turned).unwrap(),
        image::imageops::rotate90(&plain)
    );
}

#[test]
fn grey_and_transparent_pictures_become_colour() {
    let mut bytes = Vec::new();
    image::GrayImage::from_pixel(3, 2, image::Luma([9]))
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
        .unwrap();
    assert_eq!(
        picture::decode(&bytes).unwrap(),
        RgbImage::from_pixel(3, 2, Rgb([9; 3]))
    );
    // Over black, as for training.
    bytes.clear();
    image::RgbaImage::from_fn(4, 1, |x, _| {
        image::Rgba([200, 100, 50, [0, 51, 128, 255][x as usize]])
    })
    .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
    .unwrap();
    let pixels: Vec<_> = picture::decode(&bytes)
        .unwrap()
        .pixels()
        .map(|pixel| pixel.0)
        .collect();
    assert_eq!(
        pixels,
        [[0, 0, 0], [40, 20, 10], [100, 50, 25], [200, 100, 50]]
    );
    bytes.clear();
    image::GrayAlphaImage::from_pixel(3, 2, image::LumaA([90, 0]))
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
        .unwrap();
    assert_eq!(picture::decode(&bytes).unwrap(), RgbImage::new(3, 2));
}
