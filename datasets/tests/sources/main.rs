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

#[test]
fn a_source_is_told_from_what_is_on_the_disk() {
    let label = "0 0.5 0.5 1 1\n";
    let xml =
        "<annotation><filename>a.png</filename><object><name>cat</name><bndbox><xmin>1</xmin>\
               <ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>";
    let objects = |pictures: &[&str], others: &[(&str, &str)]| {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("set");
        for picture in pictures {
            save(&root.join(picture), &draw(12, 12, 1));
        }
        for (name, text) in others {
            write(&root.join(name), text);
        }
        let (set, _) = packed(&folder, Source::new(root));
        let counts = (0..set.len()).map(|i| set.instances(i).unwrap().len());
        counts.collect::<Vec<_>>()
    };
    // YOLO: beside the pictures, also a folder further in; with a row that is damaged.
    assert_eq!(objects(&["a.png"], &[("a.txt", label)]), [1]);
    assert_eq!(objects(&["x/a.JPG"], &[("x/a.txt", &label.repeat(2))]), [2]);
    assert_eq!(
        objects(&["a.png"], &[("a.txt", &format!("{label}?\n{label}"))]),
        [2]
    );
    // Captions are no labels, and neither are texts without pictures.
    assert_eq!(objects(&["a.png"], &[("a.txt", "a cat on 1 mat\n")]), [0]);
    assert_eq!(objects(&["a.png"], &[("b.txt", label)]), [0]);
    // Splits without a data.yaml are not mixed unasked.
    let folder = TempDir::new().unwrap();
    for split in ["train", "valid"] {
        save(
            &folder.path().join(format!("{split}/images/a.png")),
            &draw(12, 12, 1),
        );
        write(&folder.path().join(format!("{split}/labels/a.txt")), label);
    }
    let error = refusal(Source::new(folder.path()));
    assert!(
        error.contains("train, valid") && error.contains("--split"),
        "{error}"
    );
    // VOC: beside the pictures, also a folder further in.
    assert_eq!(objects(&["a.png"], &[("a.xml", xml)]), [1]);
    assert_eq!(objects(&["train/a.png"], &[("train/a.xml", xml)]), [1]);
}

#[test]
fn an_export_of_several_coco_sets_is_not_taken_for_plain_pictures() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("export");
    let mut files = Vec::new();
    for split in ["test", "train", "valid"] {
        save(&root.join(split).join("a.png"), &draw(12, 12, 1));
        let labels =
            r#"{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": []}"#;
        files.push(write(
            &root.join(split).join("_annotations.coco.json"),
            labels,
        ));
    }
    let error = refusal(Source::new(&root));
    let files = files.iter().map(|file| file.display().to_string());
    let files = files.collect::<Vec<_>>().join(", ");
    for part in [&files, "--format folder"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    let plain = Source {
        format: Format::Folder,
        ..Source::new(&root)
    };
    assert_eq!(packed(&folder, plain).0.len(), 3);
    fs::remove_dir_all(folder.path().join("packed")).unwrap();
    assert_eq!(packed(&folder, Source::new(root.join("valid"))).0.len(), 1);
}

#[test]
fn labels_of_coco_are_not_passed_over_whatever_their_names() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("set");
    let mut files = Vec::new();
    for split in ["train", "val"] {
        save(&root.join(split).join("a.png"), &draw(12, 12, 1));
        let labels = r#"{"info": {"images": 1}, "images" :
            [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": []}"#;
        let name = format!("annotations/instances_{split}2017.json");
        files.push(write(&root.join(name), labels).display().to_string());
    }
    let error = refusal(Source::new(&root));
    assert!(error.contains(&files.join(", ")), "{error}");
    assert_eq!(packed(&folder, Source::new(&files[1])).0.len(), 1);
    // What other programs write beside pictures says nothing of them here.
    fs::remove_dir_all(root.join("annotations")).unwrap();
    fs::remove_dir_all(folder.path().join("packed")).unwrap();
    for (name, text) in [
        (
            "train/a.json",
            r#"{"shapes": [], "imagePath": "a.png", "images": "one"}"#,
        ),
        (
            "train/sam.json",
            r#"{"image": {"images": [{}]}, "annotations": [{"id": 1}]}"#,
        ),
        (
            "train/ml.json",
            r#"[{"image": "a.png", "annotations": [], "images": [{}]}]"#,
        ),
        (
            "train/page.json",
            r#"{"title": "\\\"images\": [{", "images": ["a.png"]}"#,
        ),
        ("val/cut.json", r#"{"images": ["#),
        ("val/none.json", ""),
    ] {
        write(&root.join(name), text);
    }
    assert_eq!(packed(&folder, Source::new(&root)).0.len(), 2);
    // An export's file is known by its name among any number of others.
    for number in 0..100 {
        write(&root.join(format!("val/{number:03}.json")), "{}");
    }
    let known = write(&root.join("val/_annotations.coco.json"), "{}");
    let error = refusal(Source::new(&root));
    assert!(error.contains(&known.display().to_string()), "{error}");
}
