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
    let written = write_coco(&dir.join("drawn"), &scenes(), 5, pictures).unwrap();
    let source = Source::new(written.annotations);
    pack(
        &source,
        &PackOptions::default(),
        &dir.join("packed"),
        &|_| {},
    )
    .unwrap();
}
