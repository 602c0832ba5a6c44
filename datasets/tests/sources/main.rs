//! Every kind of labelled source gives what it says, and lists what it cannot give.

mod coco;
mod list;
#[path = "../support/mod.rs"]
mod support;
mod voc;
mod webdataset;
mod yolo;

use std::fs;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use intertwine_datasets::{
    inspect, pack, Format, PackOptions, PackReport, PackedSet, Reason, Source,
};
use support::{draw, pack_quietly, save};
use tempfile::TempDir;

fn write(path: &Path, text: impl AsRef<[u8]>) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    path.to_owned()
}

fn packed(folder: &TempDir, source: Source) -> (PackedSet, PackReport) {
    let out = folder.path().join("packed");
    let report = pack_quietly(&source, &PackOptions::default(), &out);
    (PackedSet::open(&out).unwrap(), report)
}

fn refusal(source: Source) -> String {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("packed");
    let result = pack(&source, &PackOptions::default(), &out, &|_| {});
    result.unwrap_err().to_string()
}

fn sources(set: &PackedSet) -> Vec<String> {
    (0..set.len())
        .map(|i| set.info(i).unwrap().source)
        .collect()
}

fn names(set: &PackedSet) -> Vec<(u32, &str)> {
    set.categories()
        .iter()
        .map(|c| (c.id, c.name.as_str()))
        .collect()
}

/// Reasons and pictures of what was listed, sorted.
fn listed(report: &PackReport) -> Vec<(Reason, String)> {
    let entries = report.quarantined.iter();
    let mut listed: Vec<_> = entries
        .map(|q| (q.reason, q.source.clone().unwrap_or_default()))
        .collect();
    listed.sort();
    listed
}

#[test]
fn options_that_a_source_does_not_know_are_refused() {
    let folder = TempDir::new().unwrap();
    save(&folder.path().join("a.png"), &draw(10, 10, 1));
    let source = || Source::new(folder.path());
    for (source, part) in [
        (
            Source {
                images: Some("x".into()),
                ..source()
            },
            "--images goes with --format coco or voc or list; this is folder",
        ),
        (
            Source {
                split: Some("x".into()),
                ..source()
            },
            "--split goes with --format voc or yolo",
        ),
        (
            Source {
                format: Format::Coco,
                ..source()
            },
            "no .json label file",
        ),
        (
            Source {
                format: Format::Voc,
                ..source()
            },
            "no .xml file",
        ),
        (
            Source {
                format: Format::Yolo,
                ..source()
            },
            "no label file for any of 1 pictures",
        ),
        (
            Source {
                format: Format::WebDataset,
                ..source()
            },
            "no .tar file",
        ),
    ] {
        let error = refusal(source);
        assert!(error.contains(part), "{error}");
    }
    let missing = refusal(Source::new(folder.path().join("none-{0..2}.tar")));
    assert!(missing.contains("none-0.tar"), "{missing}");
}
