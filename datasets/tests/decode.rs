//! Picture files of every kind become upright 8-bit RGB, or say why not.

mod support;

use std::collections::BTreeMap;
use std::io::Cursor;

use base64::prelude::{Engine, BASE64_STANDARD};
use image::{
    DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, Rgba,
    RgbaImage,
};
use intertwine_datasets::{decode, DecodeError};
use support::{draw, jpeg, jpeg_with_orientation};

fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn decoded(bytes: &[u8]) -> RgbImage {
    decode(bytes).unwrap().upright()
}

/// Every kind of picture, against what Pillow reads; `peers/make_pictures.py` made the files and says more.
#[test]
fn pictures_are_read_as_another_program_reads_them() {
    #[derive(serde::Deserialize)]
    struct Expected {
        size: (u32, u32),
        #[serde(default)]
        tolerance: u8,
        rgb: String,
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pictures");
    let text = std::fs::read_to_string(format!("{folder}/expected.json")).unwrap();
    let pictures: BTreeMap<String, Expected> = serde_json::from_str(&text).unwrap();
    assert!(pictures.len() > 60);
    let mut wrong = Vec::new();
    for (name, expected) in pictures {
        let image = match decode(&std::fs::read(format!("{folder}/{name}")).unwrap()) {
            Ok(decoded) => decoded.upright(),
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let rgb = BASE64_STANDARD.decode(&expected.rgb).unwrap();
        let differences = image.as_raw().iter().zip(&rgb).map(|(a, b)| a.abs_diff(*b));
        let difference = differences.max().unwrap();
        if image.dimensions() != expected.size || difference > expected.tolerance {
            wrong.push(format!(
                "{name}: {:?}, difference {difference}",
                image.dimensions()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_pixel_type() {
    let rgb = draw(21, 13, 1);
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
        assert_eq!(decoded(&encode(rgb.clone(), format)), rgb, "{format:?}");
    }
    let grey = GrayImage::from_fn(9, 9, |x, y| Luma([(x * 20 + y) as u8]));
    let expected = RgbImage::from_fn(9, 9, |x, y| Rgb([(x * 20 + y) as u8; 3]));
    assert_eq!(decoded(&encode(grey.clone(), ImageFormat::Png)), expected);
    let from_jpeg = decoded(&encode(grey, ImageFormat::Jpeg));
    assert!(from_jpeg.pixels().all(|p| p[0] == p[1] && p[1] == p[2]));

    let deep = ImageBuffer::<Rgb<u16>, Vec<u16>>::from_pixel(5, 4, Rgb([65_535, 257 * 100, 0]));
    assert_eq!(
        decoded(&encode(deep, ImageFormat::Png)).get_pixel(2, 2).0,
        [255, 100, 0]
    );
    let gif = encode(
        DynamicImage::ImageRgb8(RgbImage::from_pixel(9, 9, Rgb([10, 200, 30]))),
        ImageFormat::Gif,
    );
    assert_eq!(decoded(&gif).get_pixel(8, 8).0, [10, 200, 30]);
}

#[test]
fn transparency_is_laid_over_black() {
    let image = RgbaImage::from_fn(4, 1, |x, _| {
        Rgba([200, 100, 50, [0, 51, 128, 255][x as usize]])
    });
    let pixels: Vec<_> = decoded(&encode(image, ImageFormat::Png))
        .pixels()
        .map(|p| p.0)
        .collect();
    assert_eq!(
        pixels,
        [[0, 0, 0], [40, 20, 10], [100, 50, 25], [200, 100, 50]]
    );
    let grey = GrayAlphaImage::from_pixel(2, 2, image::LumaA([90, 0]));
    assert_eq!(
        decoded(&encode(grey, ImageFormat::Png)).get_pixel(0, 0).0,
        [0; 3]
    );
}

/// The eight orientations of EXIF (its specification 2.3, tag 274): where the stored top left pixel is seen.
#[test]
fn exif_orientation_is_applied() {
    let (width, height) = (48, 32);
    let mut stored = RgbImage::new(width, height);
    for (x, y, pixel) in stored.enumerate_pixels_mut() {
        *pixel = if x < 16 && y < 16 {
            Rgb([255; 3])
        } else {
            Rgb([0; 3])
        };
    }
    for (orientation, size, corner) in [
        (1, (48, 32), (0, 0)),
        (2, (48, 32), (47, 0)),
        (3, (48, 32), (47, 31)),
        (4, (48, 32), (0, 31)),
        (5, (32, 48), (0, 0)),
        (6, (32, 48), (31, 0)),
        (7, (32, 48), (31, 47)),
        (8, (32, 48), (0, 47)),
    ] {
        let image = decoded(&jpeg_with_orientation(&stored, orientation));
        assert_eq!(image.dimensions(), size, "orientation {orientation}");
        for (x, y) in [
            (0, 0),
            (size.0 - 1, 0),
            (0, size.1 - 1),
            (size.0 - 1, size.1 - 1),
        ] {
            let white = image.get_pixel(x, y)[0] > 128;
            assert_eq!(
                white,
                (x, y) == corner,
                "orientation {orientation}, ({x}, {y})"
            );
        }
    }
    assert_eq!(
        decoded(&jpeg_with_orientation(&stored, 9)).dimensions(),
        (48, 32),
        "no such orientation"
    );
}

#[test]
fn a_cut_off_picture_is_never_decoded() {
    let image = draw(40, 40, 3);
    let progressive = include_bytes!("fixtures/pictures/progressive-420.jpg").to_vec();
    let formats = [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
    ];
    for bytes in formats
        .map(|format| encode(image.clone(), format))
        .into_iter()
        .chain([progressive])
    {
        let whole = decode(&bytes).unwrap().image;
        for length in 0..bytes.len() {
            match decode(&bytes[..length]) {
                Err(_) => {}
                // PNG and GIF end with a few bytes that hold no pixels.
                Ok(decoded) => assert!(
                    decoded.image == whole && length + 12 >= bytes.len() && !decoded.is_jpeg,
                    "{length} of {} bytes, beginning with {:?}",
                    bytes.len(),
                    &bytes[..4]
                ),
            }
        }
    }
}

#[test]
fn half_a_colour_in_a_palette_is_an_error() {
    let whole = include_bytes!("fixtures/pictures/palette-4.png");
    let at = whole.windows(4).position(|name| name == b"PLTE").unwrap();
    let len = u32::from_be_bytes(whole[at - 4..at].try_into().unwrap()) as usize;
    // A byte less, and the checksum that goes with it.
    let mut chunk = whole[at..at + 4 + len - 1].to_vec();
    chunk.extend(crc32fast::hash(&chunk).to_be_bytes());
    let mut bytes = whole[..at - 4].to_vec();
    bytes.extend((len as u32 - 1).to_be_bytes());
    bytes.extend(chunk);
    bytes.extend(&whole[at + 4 + len + 4..]);
    let error = decode(&bytes).unwrap_err().to_string();
    assert!(error.contains("palette"), "{error}");
}

#[test]
fn an_enormous_claim_is_refused_before_memory_is_taken() {
    let mut png = encode(draw(8, 8, 1), ImageFormat::Png);
    png[16..20].copy_from_slice(&40_000u32.to_be_bytes());
    png[20..24].copy_from_slice(&40_000u32.to_be_bytes());
    let crc = crc32fast::hash(&png[12..29]);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(
        decode(&png).unwrap_err(),
        DecodeError::TooLarge(40_000, 40_000)
    );

    let mut jpeg = jpeg(&draw(8, 8, 1));
    let frame = jpeg
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    jpeg[frame + 5..frame + 7].copy_from_slice(&40_000u16.to_be_bytes());
    jpeg[frame + 7..frame + 9].copy_from_slice(&40_000u16.to_be_bytes());
    assert_eq!(
        decode(&jpeg).unwrap_err(),
        DecodeError::TooLarge(40_000, 40_000)
    );
}

/// Found by fuzzing: the memory was taken before the claim was held against the file.
#[test]
fn a_chunk_beyond_the_file_is_refused_before_memory_is_taken() {
    let mut webp = include_bytes!("fixtures/pictures/orientation-6.webp").to_vec();
    let exif = webp.windows(4).position(|name| name == b"EXIF").unwrap();
    webp[exif + 4..exif + 8].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = decode(&webp).unwrap_err().to_string();
    assert!(error.contains("a chunk of the WebP is longer"), "{error}");
}

#[test]
fn what_is_no_picture_is_named() {
    assert_eq!(
        decode(b"hello").unwrap_err().to_string(),
        "not a picture: it begins with \"hello\""
    );
    assert_eq!(
        decode(b"").unwrap_err().to_string(),
        "not a picture: it begins with nothing, the file is empty"
    );
    assert!(
        matches!(decode(b"\0\0\0\x18ftypheic\0\0\0\0").unwrap_err(), DecodeError::Unsupported(e) if e.contains("heic"))
    );
    assert!(matches!(
        decode(b"II*\0\x08\0\0\0\0\0\0\0").unwrap_err(),
        DecodeError::Unsupported(_)
    ));
}

mod fuzz {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Changed bytes anywhere give a picture of the claimed size or an error; a decoder that panics is
        /// caught when packing, but should be known.
        #[test]
        fn changed_files_never_panic(which in 0usize..5, changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let image = draw(24, 20, 3);
            let mut bytes = match which {
                0 => jpeg_with_orientation(&image, 6),
                1 => encode(image, ImageFormat::Png),
                2 => encode(image, ImageFormat::WebP),
                3 => encode(image, ImageFormat::Gif),
                _ => encode(image, ImageFormat::Bmp),
            };
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Ok(decoded) = decode(&bytes) {
                prop_assert!(decoded.image.width() > 0);
            }
        }
    }
}
