//! What several tests of the program start from.

use std::ops::Range;
use std::path::Path;

use intertwine_datasets::scenes::{write_coco, SceneConfig};
use intertwine_datasets::{pack, PackOptions, Source};

/// Small drawn scenes.
pub fn scenes() -> SceneConfig {
    SceneConfig {
        size: 48,
        ..SceneConfig::default()
    }
}

/// A tiny labelled set at `dir/packed`.
pub fn packed(dir: &Path, pictures: Range<u64>) {
    packed_at(dir, "packed", pictures);
}

/// A tiny labelled set at `dir/name`.
pub fn packed_at(dir: &Path, name: &str, pictures: Range<u64>) {
    let drawn = dir.join(format!("drawn-{name}"));
    let written = write_coco(&drawn, &scenes(), 5, pictures).unwrap();
    let source = Source::new(written.annotations);
    pack(&source, &PackOptions::default(), &dir.join(name), &|_| {}).unwrap();
}
