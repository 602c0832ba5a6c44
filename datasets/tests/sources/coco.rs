//! COCO: which picture a name of the label file means.

use super::*;

/// A label file of these pictures, without labels.
fn coco(path: &Path, names: &[&str]) -> PathBuf {
    let image = |(id, name)| serde_json::json!({"id": id, "file_name": name});
    let images: Vec<_> = (1..).zip(names).map(image).collect();
    let document = serde_json::json!({"images": images, "annotations": [], "categories": []});
    write(path, document.to_string())
}

/// The pictures' widths, which tell them apart.
fn widths(set: &PackedSet) -> Vec<u32> {
    let width = |i| set.image_size(i).unwrap().0;
    (0..set.len()).map(width).collect()
}

#[test]
fn pictures_of_one_name_in_two_folders_are_told_apart() {
    for (labels, first, second) in [
        ("instances_2017.json", "0001/000000.png", "0002/000000.png"),
        ("cats_dogs.json", "cats/1.png", "dogs/1.png"),
    ] {
        let folder = TempDir::new().unwrap();
        for (name, width) in [(first, 10), (second, 20)] {
            let path = folder.path().join("d/images").join(name);
            save(&path, &draw(width, 10, width));
        }
        let labels = coco(&folder.path().join("d").join(labels), &[second, first]);
        let (set, report) = packed(&folder, Source::new(labels));
        assert_eq!((widths(&set), listed(&report)), (vec![20, 10], vec![]));
    }
}

#[test]
fn a_missing_picture_is_not_replaced_by_one_called_alike() {
    let folder = TempDir::new().unwrap();
    let pictures = folder.path().join("pictures");
    save(&pictures.join("a/0.png"), &draw(10, 10, 1));
    // Of nobody: two names end so.
    save(&pictures.join("0.png"), &draw(20, 10, 1));
    let labels = folder.path().join("labels.json");
    for names in [
        ["a/0.png", "b/0.png"],
        ["/abs/a/0.png", "/abs/b/0.png"],
        ["x\\a\\0.png", "../b/0.png"],
    ] {
        let source = Source {
            images: Some(pictures.clone()),
            ..Source::new(coco(&labels, &names))
        };
        let (set, report) = packed(&folder, source);
        assert_eq!(
            (sources(&set), widths(&set)),
            (vec![names[0].into()], vec![10])
        );
        let missing = (Reason::MissingPicture, names[1].into());
        assert_eq!(listed(&report), [missing]);
        fs::remove_dir_all(folder.path().join("packed")).unwrap();
    }
}

#[test]
fn names_of_another_machine_are_found_by_their_last_part() {
    let folder = TempDir::new().unwrap();
    for (name, width) in [("x", 10), ("y", 20), ("z", 30)] {
        let path = folder.path().join(format!("d/images/{name}.png"));
        save(&path, &draw(width, 10, 1));
    }
    // Twice the same is no other name.
    let names = [
        "/home/me/1/x.png",
        "C:\\2\\y.png",
        "../3/z.png",
        "../3/z.png",
    ];
    let labels = coco(&folder.path().join("d/labels.json"), &names);
    let (set, report) = packed(&folder, Source::new(labels));
    assert_eq!(
        (widths(&set), listed(&report)),
        (vec![10, 20, 30, 30], vec![])
    );
}

#[test]
fn folders_that_hold_the_same_names_are_not_chosen_between() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("set");
    for (name, width) in [("depth", 10), ("rgb", 20)] {
        save(&root.join(name).join("0.png"), &draw(width, 10, width));
    }
    // Not found anywhere: the folders are as likely all the same.
    for names in [&["0.png"][..], &["0.png", "gone.png"]] {
        let labels = coco(&root.join("annotations.json"), names);
        let error = refusal(Source::new(&labels));
        let both = ["depth", "rgb"].map(|name| root.join(name).display().to_string());
        let both = both.join(", ");
        for part in [&both, "0.png", "--images DIR"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }
    let labels = coco(&root.join("annotations.json"), &["0.png"]);
    let given = Source {
        images: Some(root.join("rgb")),
        ..Source::new(&labels)
    };
    let (set, report) = packed(&folder, given);
    assert_eq!((widths(&set), report.note), (vec![20], None));

    // Beside the label file is what its names say.
    save(&root.join("0.png"), &draw(30, 10, 1));
    fs::remove_dir_all(folder.path().join("packed")).unwrap();
    let (set, report) = packed(&folder, Source::new(&labels));
    assert_eq!(widths(&set), [30]);
    let note = report.note.unwrap();
    let named = format!("found in `{}`", root.display());
    assert!(note.contains(&named), "{note}");
}

#[cfg(unix)]
#[test]
fn a_folder_under_two_names_is_one() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("set");
    save(&root.join("rgb/0.png"), &draw(20, 10, 1));
    std::os::unix::fs::symlink("rgb", root.join("left")).unwrap();
    let labels = coco(&root.join("annotations.json"), &["0.png"]);
    assert_eq!(widths(&packed(&folder, Source::new(labels)).0), [20]);
}

#[test]
fn annotations_are_packed_whatever_their_ids() {
    let folder = TempDir::new().unwrap();
    for name in ["a", "b"] {
        save(
            &folder.path().join(format!("set/{name}.png")),
            &draw(30, 20, 1),
        );
    }
    let labels = folder.path().join("set/labels.json");
    let annotation = |id: Option<u64>, image: u64, x: u64| {
        let mut annotation =
            serde_json::json!({"image_id": image, "category_id": 1, "bbox": [x, 1, 5, 5]});
        if let Some(id) = id {
            annotation["id"] = id.into();
        }
        annotation
    };
    let ids = |set: &PackedSet| {
        let ids = |i| set.instances(i).unwrap().iter().map(|i| i.id).collect();
        (0..set.len()).map(ids).collect::<Vec<Vec<u64>>>()
    };
    let pack = |annotations: &[serde_json::Value]| {
        let document = serde_json::json!({
            "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "thing"}]
        });
        write(&labels, document.to_string());
        let (set, report) = packed(&folder, Source::new(&labels));
        fs::remove_dir_all(folder.path().join("packed")).unwrap();
        (ids(&set), report.quarantined)
    };
    let zero = |image, x| annotation(Some(0), image, x);
    for annotations in [
        // All the same, and counted anew in each picture.
        vec![zero(1, 1), zero(2, 2), zero(1, 3)],
        vec![
            annotation(Some(0), 1, 1),
            annotation(Some(0), 2, 2),
            annotation(Some(1), 1, 3),
        ],
        // Of a position that another has as its id.
        vec![
            annotation(Some(1), 1, 1),
            annotation(None, 2, 2),
            annotation(Some(7), 1, 3),
        ],
    ] {
        let (ids, listed) = pack(&annotations);
        assert_eq!(ids, [vec![0, 2], vec![1]], "{annotations:?}");
        let [entry] = &listed[..] else {
            panic!("{listed:?}")
        };
        assert_eq!(
            (entry.reason, entry.kept, entry.annotation_id),
            (Reason::DuplicateId, true, None)
        );
        assert!(entry.detail.contains("annotations[0]"), "{entry}");
    }

    // An annotation that is there twice is one, whatever the ids of others.
    let twice = annotation(Some(7), 1, 1);
    let (ids, listed) = pack(&[twice.clone(), annotation(Some(9), 2, 1), twice.clone()]);
    assert_eq!(ids, [[7], [9]]);
    let listed: Vec<_> = listed.iter().map(|q| (q.kept, q.annotation_id)).collect();
    assert_eq!(listed, [(false, Some(7))]);
    let (ids, _) = pack(&[twice.clone(), annotation(Some(7), 2, 1), twice]);
    assert_eq!(ids, [[0], [1]]);
}

#[test]
fn the_first_folder_of_a_name_is_a_class_however_it_is_written() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("set");
    for name in ["cat/1.png", "dog/2.png"] {
        save(&root.join("images").join(name), &draw(10, 10, 1));
    }
    let classed = |names: &[&str]| Source {
        classes_from_folders: true,
        images: Some(root.join("images")),
        ..Source::new(coco(&root.join("labels.json"), names))
    };
    for names in [
        ["cat/1.png", "dog/2.png"],
        ["./cat/1.png", ".//dog/./2.png"],
        ["/data/cat/1.png", "/data/dog/2.png"],
        ["../cat/1.png", "x/../dog/2.png"],
        ["cat\\1.png", "C:\\data\\dog\\2.png"],
    ] {
        let (set, _) = packed(&folder, classed(&names));
        assert_eq!(set.labels(), ["cat", "dog"], "{names:?}");
        let labels: Vec<_> = (0..2).map(|i| set.label(i).unwrap()).collect();
        assert_eq!(labels, [Some(0), Some(1)]);
        fs::remove_dir_all(folder.path().join("packed")).unwrap();
    }
    save(&root.join("images/3.png"), &draw(10, 10, 1));
    let error = refusal(classed(&["3.png", "./3.png"]));
    for part in ["--classes-from-folders", "such as `3.png`"] {
        assert!(error.contains(part), "{error}");
    }
}
