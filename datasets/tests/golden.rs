//! Packed sets of earlier versions stay readable: one of each encoding, checked in, with what a reader in
//! another language (`peers/read_packed_set.py`) found in them.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use intertwine_datasets::{Encoding, PackOptions, PackedSet, Source};
use serde_json::{json, Value};

const ENCODINGS: [(&str, Encoding); 3] = [
    ("raw", Encoding::Raw),
    ("zpix", Encoding::Zpix),
    ("jpeg", Encoding::Jpeg),
];

fn folder(version: u32, encoding: &str) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    golden.join(format!("version-{version}-{encoding}"))
}

#[test]
fn sets_of_version_1_are_read_as_another_reader_reads_them() {
    for (encoding, _) in ENCODINGS {
        let folder = folder(1, encoding);
        let set = PackedSet::open(&folder).unwrap();
        assert!(set.verify().problems.is_empty(), "{encoding}");
        let text = fs::read_to_string(folder.join("expected.json")).unwrap();
        let expected: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(set.len(), expected.len());
        for (i, mut expected) in expected.into_iter().enumerate() {
            let sample = set.read(i).unwrap();
            let pixels = expected["pixels"].take();
            let pixels: Vec<u8> = (0..sample.image.len())
                .map(|at| u8::from_str_radix(&pixels.as_str().unwrap()[2 * at..][..2], 16).unwrap())
                .collect();
            // JPEG decoders round differently, and double the colour's resolution in their own ways.
            let limit = if encoding == "jpeg" { 12 } else { 0 };
            let apart = |(a, b): (&u8, &u8)| a.abs_diff(*b);
            let worst = sample.image.iter().zip(&pixels).map(apart).max().unwrap();
            assert!(worst <= limit, "{encoding} {i}: {worst}");
            let instance = |instance: &intertwine_datasets::Instance| {
                json!({
                    "id": instance.id, "category": set.categories()[instance.category as usize].id,
                    "box": instance.bbox, "area": instance.area, "crowd": instance.crowd,
                    "runs": instance.mask.as_ref().map(|mask| mask.counts()),
                })
            };
            let found = json!({
                "source": sample.info.source, "image_id": sample.info.image_id,
                "size": sample.image.dimensions(), "original_size": sample.info.original_size,
                "label": sample.info.label.map(|label| set.labels()[label as usize].clone()),
                "instances": sample.instances.iter().map(instance).collect::<Vec<_>>(), "pixels": null,
            });
            assert_eq!(found, expected, "{encoding} {i}");
        }
    }
}

#[test]
#[ignore = "writes the sets anew, which only a new version of the format needs"]
fn write_golden_sets() {
    let pictures = tempfile::tempdir().unwrap();
    let source = Source::new(support::labelled(pictures.path()));
    for (name, encoding) in ENCODINGS {
        let options = PackOptions {
            encoding,
            ..PackOptions::default()
        };
        let out = folder(intertwine_datasets::manifest::VERSION, name);
        support::pack_quietly(&source, &options, &out);
    }
}
