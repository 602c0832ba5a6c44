//! Adding to a packed set: categories are joined by name, ids stay unique, what was there stays as it was.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use intertwine_datasets::{
    pack, Encoding, Existing, PackOptions, PackReport, PackedSet, Resize, Source,
};
use support::{draw, labelled, pack_quietly, save};

fn append(source: &Source, out: &Path) -> Result<PackReport, String> {
    let options = PackOptions {
        existing: Existing::Append,
        ..PackOptions::default()
    };
    pack(source, &options, out, &|_| {}).map_err(|error| error.to_string())
}

/// Two pictures, one of them named in the first set by the same id, and categories in another order.
fn second(folder: &Path) -> PathBuf {
    save(&folder.join("more/a.png"), &draw(20, 10, 5));
    save(&folder.join("more/b.png"), &draw(30, 10, 6));
    let json = r#"{
        "images": [{"id": 12, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}, {"id": 3, "file_name": "gone.png"}],
        "categories": [{"id": 1, "name": "toothbrush"}, {"id": 3, "name": "bus"}],
        "annotations": [
            {"id": 1, "image_id": 12, "category_id": 3, "bbox": [1, 2, 5, 6]},
            {"id": 2, "image_id": 2, "category_id": 1, "bbox": [1, 2, 5, 6]},
            {"id": 3, "image_id": 2, "category_id": 7, "bbox": [1, 2, 5, 6]}
        ]}"#;
    let path = folder.join("more/labels.json");
    fs::write(&path, json).unwrap();
    path
}

#[test]
fn a_source_is_added_behind_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("set");
    pack_quietly(
        &Source::new(labelled(folder.path())),
        &PackOptions::default(),
        &out,
    );
    let shard = fs::read(out.join("shard-00000.itw")).unwrap();
    let open = PackedSet::open(&out).unwrap();
    let report = append(&Source::new(second(folder.path())), &out).unwrap();
    assert_eq!(
        (report.pictures, report.instances, report.categories),
        (2, 2, 3)
    );

    assert_eq!(open.len(), 3, "an open set stays what it was");
    let set = PackedSet::open(&out).unwrap();
    assert!(set.verify().problems.is_empty());
    assert_eq!(fs::read(out.join("shard-00000.itw")).unwrap(), shard);
    let categories: Vec<_> = set
        .categories()
        .iter()
        .map(|c| (c.id, c.name.as_str()))
        .collect();
    // `bus` had the id of `car`.
    assert_eq!(categories, [(3, "car"), (90, "toothbrush"), (91, "bus")]);
    // Both sources have a picture 12, so the new ones come after it.
    let ids: Vec<_> = (0..5).map(|i| set.image_id(i).unwrap()).collect();
    assert_eq!(ids, [10, 11, 12, 13 + 12, 13 + 2]);
    assert_eq!(set.read(3).unwrap().image, draw(20, 10, 5));
    assert_eq!(set.instances(3).unwrap()[0].category, 2);
    assert_eq!(set.instances(4).unwrap()[0].category, 1);
    let quarantine = fs::read_to_string(out.join("quarantine.jsonl")).unwrap();
    assert_eq!(
        quarantine.lines().count() as u64,
        set.manifest().quarantined
    );
    assert!(quarantine.contains("gone.png") && quarantine.contains("category_id 7"));
    assert!(!folder.path().join(".set.packing").exists());
}

#[test]
fn plain_folders_go_on_counting_and_classes_are_joined() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    for (path, seed) in [("cat/a.png", 1), ("dog/b.png", 2)] {
        save(&first.join(path), &draw(20, 20, seed));
    }
    for (path, seed) in [("ant/a.png", 3), ("dog/b.png", 4)] {
        save(&second.join(path), &draw(20, 20, seed));
    }
    let classes = |path: &Path| Source {
        classes_from_folders: true,
        ..Source::new(path)
    };
    let out = folder.path().join("set");
    pack_quietly(&classes(&first), &PackOptions::default(), &out);
    append(&classes(&second), &out).unwrap();
    let set = PackedSet::open(&out).unwrap();
    assert_eq!(set.labels(), ["cat", "dog", "ant"]);
    let found: Vec<_> = (0..4)
        .map(|i| (set.image_id(i).unwrap(), set.label(i).unwrap().unwrap()))
        .collect();
    assert_eq!(found, [(0, 0), (1, 1), (2, 2), (3, 1)]);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("set");
    let source = Source::new(second(folder.path()));
    assert!(append(&source, &out)
        .unwrap_err()
        .contains("no packed set to append to"));
    assert!(!out.exists() && !folder.path().join(".set.packing").exists());
    let options = PackOptions {
        encoding: Encoding::Raw,
        resize: Resize::MinSide(9),
        ..PackOptions::default()
    };
    pack_quietly(&Source::new(labelled(folder.path())), &options, &out);
    let manifest = fs::read(out.join("manifest.json")).unwrap();
    let error = append(&source, &out).unwrap_err();
    for part in [
        "encoding = \"raw\", now \"zpix\"",
        "resize = {\"min-side\":9}, now \"keep\"",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let missing = Source::new(folder.path().join("nowhere"));
    assert!(append(&missing, &out).unwrap_err().contains("nowhere"));
    // A stranger's file where a new shard would go.
    let options = PackOptions {
        existing: Existing::Append,
        ..options
    };
    fs::write(out.join("shard-00001.itw"), "mine").unwrap();
    let error = pack(&source, &options, &out, &|_| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("holds `shard-00001.itw`"), "{error}");
    assert_eq!(fs::read(out.join("manifest.json")).unwrap(), manifest);
    assert_eq!(fs::read(out.join("shard-00001.itw")).unwrap(), b"mine");
    // What had been packed by then is not lost.
    fs::remove_file(out.join("shard-00001.itw")).unwrap();
    let report = pack(&source, &options, &out, &|_| {}).unwrap();
    assert_eq!(report.resumed.unwrap().shards, 1);
    assert_eq!(PackedSet::open(&out).unwrap().len(), 5);
}

#[test]
fn the_last_shard_is_made_again_when_the_source_has_grown() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    for (path, seed) in [(&first, 1), (&second, 2)] {
        save(&path.join("a.png"), &draw(20, 20, seed));
    }
    let sets = ["stopped", "whole"].map(|name| folder.path().join(name));
    let [stopped, whole] = &sets;
    for out in &sets {
        pack_quietly(&Source::new(&first), &PackOptions::default(), out);
    }
    // Stopped when all is packed: a stranger's file is in the way.
    fs::write(stopped.join("shard-00001.itw"), "mine").unwrap();
    append(&Source::new(&second), stopped).unwrap_err();
    fs::remove_file(stopped.join("shard-00001.itw")).unwrap();
    save(&second.join("b.png"), &draw(20, 20, 3));
    let resumed = append(&Source::new(&second), stopped)
        .unwrap()
        .resumed
        .unwrap();
    assert_eq!(resumed.lost.unwrap(), "the source has 2 pictures now");
    append(&Source::new(&second), whole).unwrap();
    for file in ["manifest.json", "shard-00001.itw"] {
        assert!(fs::read(stopped.join(file)).unwrap() == fs::read(whole.join(file)).unwrap());
    }
}
