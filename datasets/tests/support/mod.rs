//! Pictures drawn for the tests, and folders to put them in.
#![allow(dead_code)] // Each test program uses its own part.

use std::fs;
use std::path::{Path, PathBuf};

use image::{ImageFormat, Rgb, RgbImage};
use intertwine_datasets::{pack, PackOptions, PackReport, PackedSet, Source};

/// Smooth shading with some noise, as photographs have; `seed` makes them differ.
pub fn draw(width: u32, height: u32, seed: u32) -> RgbImage {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    RgbImage::from_fn(width, height, |x, y| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let noise = state % 7;
        Rgb([
            (x * 2 + y + noise) as u8,
            (x + y * 3 + seed) as u8,
            (200 + noise + x * y / 64) as u8,
        ])
    })
}

/// Writes a picture in the format of its name.
pub fn save(path: &Path, image: &RgbImage) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(path).unwrap();
}

pub fn jpeg(image: &RgbImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

/// A JPEG with an EXIF block that states an orientation (1 to 8).
pub fn jpeg_with_orientation(image: &RgbImage, orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let mut bytes = jpeg(image);
    let mut segment = vec![0xff, 0xe1];
    segment.extend((exif.len() as u16 + 2).to_be_bytes());
    segment.extend(exif);
    bytes.splice(2..2, segment);
    bytes
}

/// A small packed set of three pictures with labels, in `folder/set`.
pub fn small_set(folder: &Path) -> PackedSet {
    let (json, out) = (labelled(folder), folder.join("set"));
    pack_quietly(&Source::new(json), &PackOptions::default(), &out);
    PackedSet::open(&out).unwrap()
}

/// Three pictures and a COCO file with a box, a polygon and a crowd region; returns the file.
pub fn labelled(folder: &Path) -> PathBuf {
    for (i, (w, h)) in [(12, 9), (9, 70), (11, 8)].into_iter().enumerate() {
        save(
            &folder.join(format!("images/{i}.png")),
            &draw(w, h, i as u32),
        );
    }
    let json = r#"{
        "images": [{"id": 10, "file_name": "0.png", "width": 12, "height": 9}, {"id": 11, "file_name": "1.png"},
                   {"id": 12, "file_name": "2.png", "width": 11, "height": 8}],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 3, "bbox": [1, 2, 5, 6], "area": 21.5, "iscrowd": 0,
             "segmentation": [[1, 2, 6, 2, 6, 8, 1, 8]]},
            {"id": 2, "image_id": 12, "category_id": 90, "bbox": [0, 0, 11, 8], "iscrowd": 1,
             "segmentation": {"size": [8, 11], "counts": [8, 16, 64]}}
        ]}"#;
    let path = folder.join("labels.json");
    fs::write(&path, json).unwrap();
    path
}

pub fn pack_quietly(source: &Source, options: &PackOptions, out: &Path) -> PackReport {
    pack(source, options, out, &|_| {}).unwrap()
}
