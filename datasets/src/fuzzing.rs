//! What the fuzz targets call: bytes that a file could hold, given to each reader of files. A panic is a finding.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{ImageReader, RgbImage};

use crate::import::fuzzing as import;
use crate::labels::{place, Label, Sizes};
use crate::manifest::Manifest;
use crate::pixels::Scratch;
use crate::shard::{repair, Shard};

pub use import::{coco, list, tar, voc, yolo};

/// Pictures beyond this many pixels are left out: they are slow, not different.
const MOST_PIXELS: u64 = 1 << 20;

/// A shard whose checksums are right, whatever it holds.
pub fn shard(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    repair(&mut bytes);
    let path = scratch_file("itw");
    std::fs::write(&path, &bytes).expect("the folder for temporary files can be written");
    let Ok(shard) = Shard::open(&path) else {
        return;
    };
    let (mut image, mut scratch) = (RgbImage::default(), Scratch::default());
    for record in 0..shard.len().min(8) {
        let Ok(entry) = shard.entry(record) else {
            continue;
        };
        if let Ok((_, instances)) = shard.describe(record, 3) {
            assert!(instances.iter().all(|instance| instance.category < 3));
        }
        let small = u64::from(entry.size.0) * u64::from(entry.size.1) <= MOST_PIXELS;
        if small
            && shard
                .read_image_into(record, &mut image, &mut scratch)
                .is_ok()
        {
            assert_eq!(image.dimensions(), entry.size);
        }
    }
}

/// A file of this process, the same for each input.
fn scratch_file(extension: &str) -> PathBuf {
    std::env::temp_dir().join(format!(
        "intertwine-fuzz-{}.{extension}",
        std::process::id()
    ))
}

/// The text of a `manifest.json`.
pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::parse(bytes) {
        for shard in &manifest.shards {
            assert_eq!(
                Path::new(&shard.file).components().count(),
                1,
                "{}",
                shard.file
            );
        }
    }
}

/// A picture file.
pub fn picture(bytes: &[u8]) {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let size = reader.map(|reader| reader.into_dimensions());
    if let Ok(Ok((width, height))) = size {
        if u64::from(width) * u64::from(height) > MOST_PIXELS {
            return;
        }
    }
    if let Ok(decoded) = crate::decode(bytes) {
        let (width, height) = decoded.image.dimensions();
        let upright = decoded.upright().dimensions();
        assert!(upright == (width, height) || upright == (height, width));
    }
}

/// Labels that were read, brought to a picture: what is kept must be usable.
pub(crate) fn place_all(labels: impl IntoIterator<Item = Label>) {
    let (mut listed, sizes) = (
        Vec::new(),
        Sizes {
            original: (40, 30),
            stored: (20, 15),
        },
    );
    for label in labels {
        if let Some(instance) = place(label, sizes, &mut listed) {
            assert!(instance.bbox.iter().all(|value| value.is_finite()));
            assert!(instance.bbox[2] > 0. && instance.bbox[3] > 0.);
            assert!(instance.mask.is_none_or(|mask| mask.size() == (15, 20)));
        }
    }
}
