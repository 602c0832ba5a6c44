//! What is exported and packed again is the same, to the last bit.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use intertwine_datasets::{
    decode, export, Encoding, Format, Instance, PackOptions, PackedSet, Resize, Source, Target,
};
use support::{draw, jpeg, jpeg_with_orientation, labelled, pack_quietly, save};
use tempfile::TempDir;

const WEBDATASET: Target = Target::WebDataset { shard_bytes: 4096 };

/// Picture, objects and the class's name of every record.
fn contents(set: &PackedSet) -> Vec<(RgbImage, Vec<Instance>, Option<String>)> {
    let record = |i| {
        let sample = set.read(i).unwrap();
        let class = sample
            .info
            .label
            .map(|label| set.labels()[label as usize].clone());
        (sample.image, sample.instances, class)
    };
    (0..set.len()).map(record).collect()
}

fn exported(set: &PackedSet, target: Target, out: &Path) {
    let report = export(set, target, out, &|_| {}).unwrap();
    assert_eq!(report.pictures, set.len());
}

/// Packs a source, exports it to both forms, packs these and compares.
fn assert_comes_back(folder: &TempDir, source: &Source, options: &PackOptions) -> PackedSet {
    let path = |name: &str| folder.path().join(name);
    pack_quietly(source, options, &path("packed"));
    let set = PackedSet::open(&path("packed")).unwrap();
    let again = |source: Source, name: &str| {
        let report = pack_quietly(&source, options, &path(name));
        assert_eq!(report.quarantined, [], "{name}");
        let again = PackedSet::open(&path(name)).unwrap();
        assert_eq!(contents(&again), contents(&set), "{name}");
        assert_eq!(again.categories(), set.categories(), "{name}");
        assert_eq!(again.labels(), set.labels(), "{name}");
        let encodings = |set: &PackedSet| {
            (0..set.len())
                .map(|i| set.encoding(i).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(encodings(&again), encodings(&set), "{name}");
        again
    };
    exported(&set, Target::Folder, &path("folder"));
    let classes_from_folders = !set.labels().is_empty();
    again(
        Source {
            classes_from_folders,
            ..Source::new(path("folder"))
        },
        "from folder",
    );
    exported(&set, WEBDATASET, &path("tar"));
    let from_tar = again(Source::new(path("tar")), "from tar");
    // Once more: what the importer made of our archives comes back too.
    exported(&from_tar, WEBDATASET, &path("tar again"));
    again(Source::new(path("tar again")), "from tar again");
    set
}

#[test]
fn pictures_alone() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("in");
    // Names that meet when they become .png, and that sort apart from it.
    for (seed, name) in [
        "a.jpg",
        "a.png",
        "a-b.png",
        "a_b.png",
        "sub/.x.y.png",
        "sub/a.b.png",
    ]
    .iter()
    .enumerate()
    {
        let name = name.replace("/.x", "/x");
        save(&root.join(name), &draw(20 + seed as u32, 9, seed as u32));
    }
    assert_comes_back(&folder, &Source::new(&root), &PackOptions::default());
    let exported = folder.path().join("folder");
    assert!(exported.join("a.png.png").is_file() && exported.join("sub/x.y.png").is_file());
}

#[test]
fn pictures_of_classes() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("in");
    for (seed, name) in ["cat/a.png", "cat/dog/a.png", "dog/a.png", "a.png"]
        .iter()
        .enumerate()
    {
        save(&root.join(name), &draw(16, 16, seed as u32));
    }
    let source = Source {
        classes_from_folders: true,
        ..Source::new(&root)
    };
    let set = assert_comes_back(&folder, &source, &PackOptions::default());
    assert_eq!(set.labels(), ["cat", "dog"]);
    assert!(folder.path().join("folder/cat/dog/a.png").is_file());
}

#[test]
fn jpegs_come_out_as_they_came_in() {
    let folder = TempDir::new().unwrap();
    let bytes = jpeg(&draw(33, 21, 5));
    fs::create_dir(folder.path().join("in")).unwrap();
    fs::write(folder.path().join("in/photo.jpeg"), &bytes).unwrap();
    let options = PackOptions {
        encoding: Encoding::Jpeg,
        ..PackOptions::default()
    };
    assert_comes_back(&folder, &Source::new(folder.path().join("in")), &options);
    assert_eq!(
        fs::read(folder.path().join("folder/photo.jpg")).unwrap(),
        bytes
    );
}

/// Its labels were made without its rotation, so it is stored unrotated, and must not say that it is to be rotated.
#[test]
fn a_jpeg_whose_rotation_is_passed_over_comes_out_without_it() {
    let folder = TempDir::new().unwrap();
    let bytes = jpeg_with_orientation(&draw(40, 24, 1), 6);
    fs::create_dir(folder.path().join("in")).unwrap();
    fs::write(folder.path().join("in/turned.jpg"), bytes).unwrap();
    let json = r#"{"images": [{"id": 1, "file_name": "turned.jpg", "width": 40, "height": 24}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 4]}]}"#;
    let labels = folder.path().join("in/labels.json");
    fs::write(&labels, json).unwrap();
    let options = PackOptions {
        encoding: Encoding::Jpeg,
        ..PackOptions::default()
    };
    let set = assert_comes_back(&folder, &Source::new(labels), &options);
    assert_eq!(set.image_size(0).unwrap(), (40, 24));
    let exported = fs::read(folder.path().join("folder/images/turned.jpg")).unwrap();
    let seen = decode(&exported).unwrap().upright();
    assert_eq!(seen, set.read(0).unwrap().image);
}

#[test]
fn boxes_and_masks() {
    let folder = TempDir::new().unwrap();
    let source = Source::new(labelled(folder.path()));
    assert_comes_back(&folder, &source, &PackOptions::default());
}

/// Boxes that no decimal number of few digits states, some ending at the border, at many scales.
#[test]
fn boxes_of_resized_pictures_come_back_to_the_last_bit() {
    for max_side in [64, 61, 47, 33] {
        let folder = TempDir::new().unwrap();
        save(&folder.path().join("in/images/a.png"), &draw(90, 71, 1));
        let boxes = (0..60).map(|i| {
            let (x, y) = (f64::from(i) * 1.37 / 3., f64::from(i) / 1.7);
            let (w, h) = if i % 2 == 0 {
                (90. - x, 71. - y)
            } else {
                (90. / 7. + x / 11., 70. / 9.)
            };
            serde_json::json!({"id": i + 1, "image_id": 1, "category_id": 1, "bbox": [x, y, w, h],
                "segmentation": [[x, y, x + w, y, x + w, y + h * 0.9]]})
        });
        let document = serde_json::json!({
            "images": [{"id": 1, "file_name": "a.png"}],
            "categories": [{"id": 1, "name": "x"}],
            "annotations": boxes.collect::<Vec<_>>(),
        });
        let json = folder.path().join("in/labels.json");
        fs::write(&json, document.to_string()).unwrap();
        let options = PackOptions {
            resize: Resize::MaxSide(max_side),
            ..PackOptions::default()
        };
        let set = assert_comes_back(&folder, &Source::new(json), &options);
        assert_eq!(set.instance_count(0).unwrap(), 60);
    }
}

/// A sample with a class and objects keeps both; the label file has no place for the class, its folder has.
#[test]
fn classes_and_objects_together() {
    let folder = TempDir::new().unwrap();
    for name in ["one/a.png", "two/b.png"] {
        save(&folder.path().join("in").join(name), &draw(16, 12, 3));
    }
    let json = r#"{"images": [{"id": 4, "file_name": "two/b.png"}, {"id": 2, "file_name": "one/a.png"}],
        "categories": [{"id": 5, "name": "q\"uote"}, {"id": 9, "name": "unused"}],
        "annotations": [{"id": 1, "image_id": 2, "category_id": 5, "bbox": [1, 2, 3, 4], "iscrowd": 1}]}"#;
    let path = folder.path().join("in/labels.json");
    fs::write(&path, json).unwrap();
    let source = Source {
        classes_from_folders: true,
        format: Format::Coco,
        ..Source::new(path)
    };
    let set = assert_comes_back(&folder, &source, &PackOptions::default());
    assert_eq!((set.labels().len(), set.label(0).unwrap()), (2, Some(1)));
}

#[test]
fn names_from_outside_stay_within_the_folder() {
    let folder = TempDir::new().unwrap();
    for name in ["w", "x", "y", "z"] {
        save(
            &folder.path().join(format!("in/{name}.png")),
            &draw(16, 12, 3),
        );
    }
    let names = ["../../w.png", "/tmp/x.png", "C:\\y.png", "sub/../z.png"];
    let images = names
        .iter()
        .enumerate()
        .map(|(i, name)| serde_json::json!({"id": i, "file_name": name}));
    let document = serde_json::json!({"images": images.collect::<Vec<_>>(), "annotations": [], "categories": []});
    let path = folder.path().join("in/labels.json");
    fs::write(&path, document.to_string()).unwrap();
    pack_quietly(
        &Source::new(path),
        &PackOptions::default(),
        &folder.path().join("packed"),
    );
    let set = PackedSet::open(&folder.path().join("packed")).unwrap();
    assert_eq!(set.len(), 4);
    exported(&set, Target::Folder, &folder.path().join("out"));
    let mut files = files(&folder.path().join("out"));
    files.sort();
    let expected = ["C_/y.png", "sub/z.png", "tmp/x.png", "w.png"];
    assert_eq!(files, expected.map(PathBuf::from));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    files
        .map(|entry| entry.path().strip_prefix(folder).unwrap().to_owned())
        .collect()
}

#[test]
fn nothing_is_written_over_and_nothing_half_written() {
    let folder = TempDir::new().unwrap();
    let set = support::small_set(folder.path());
    let out = folder.path().join("out");
    for target in [Target::Folder, WEBDATASET] {
        fs::create_dir_all(&out).unwrap();
        fs::write(out.join("mine.txt"), "mine").unwrap();
        let error = export(&set, target, &out, &|_| {}).unwrap_err().to_string();
        assert!(error.contains("nothing is written over"), "{error}");
        assert_eq!(files(&out), [PathBuf::from("mine.txt")]);
        fs::remove_dir_all(&out).unwrap();
    }
    // A damaged record ends the export, and what was written is taken away.
    let shard = folder.path().join("set/shard-00000.itw");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[70] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let set = PackedSet::open(&folder.path().join("set")).unwrap();
    for target in [Target::Folder, WEBDATASET] {
        let error = export(&set, target, &out, &|_| {}).unwrap_err().to_string();
        assert!(
            error.contains("record 0") && error.contains("`0.png`"),
            "{error}"
        );
        assert!(!out.exists());
        assert!(!folder.path().join(".out.unpacking").exists());
    }
}

#[test]
fn what_a_killed_run_left_is_removed_and_a_running_one_not_disturbed() {
    let folder = TempDir::new().unwrap();
    let set = support::small_set(folder.path());
    let (out, work) = (
        folder.path().join("out"),
        folder.path().join(".out.unpacking"),
    );
    fs::create_dir_all(work.join("export")).unwrap();
    fs::write(work.join("export/stale.png"), "half of it").unwrap();
    let lock = fs::File::create(work.join("lock")).unwrap();
    lock.lock().unwrap();
    let error = export(&set, Target::Folder, &out, &|_| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("another program is unpacking"), "{error}");
    assert!(work.join("export/stale.png").exists());
    drop(lock);
    export(&set, Target::Folder, &out, &|_| {}).unwrap();
    assert!(out.join("instances.json").exists() && !out.join("stale.png").exists());
    assert!(!work.exists());
}

#[cfg(unix)]
#[test]
fn through_a_link_the_folder_itself_is_filled() {
    use std::os::unix::fs::symlink;
    let folder = TempDir::new().unwrap();
    let set = support::small_set(folder.path());
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("elsewhere")).unwrap();
    symlink(path("elsewhere"), path("out")).unwrap();
    exported(&set, Target::Folder, &path("out"));
    assert!(path("out").is_symlink() && path("elsewhere/instances.json").is_file());

    // One that leads nowhere is refused before the work, not after it.
    symlink(path("nowhere"), path("lost")).unwrap();
    let worked = std::sync::atomic::AtomicBool::new(false);
    let progress = |_| worked.store(true, std::sync::atomic::Ordering::Relaxed);
    let error = export(&set, Target::Folder, &path("lost"), &progress).unwrap_err();
    assert!(error.to_string().contains("leads nowhere"), "{error}");
    assert!(!worked.into_inner());
}
