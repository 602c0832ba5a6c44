//! YOLO.

use super::*;

/// `images/` and `labels/` with two splits.
fn yolo(root: &Path) {
    for (name, size) in [
        ("train/a", (40, 20)),
        ("train/b", (20, 40)),
        ("train/empty", (9, 9)),
        ("val/v", (9, 9)),
    ] {
        save(
            &root.join(format!("images/{name}.png")),
            &draw(size.0, size.1, size.0),
        );
    }
    write(
        &root.join("labels/train/a.txt"),
        "1 0.5 0.5 0.5 0.25\n\n0 0.25 0.5 0.5 0.5 0.5 1.0 0.25 1.0\n",
    );
    write(
        &root.join("labels/train/b.txt"),
        "1 10 20 5 5\n7 .5 .5 .1 .1\n0 0.05 0.5 0.2 1\nx\n1 1 0.5 0.5 0.5",
    );
    write(&root.join("labels/train/orphan.txt"), "");
    write(&root.join("labels/val/v.txt"), "0 0.5 0.5 1 1\n");
}

#[test]
fn yolo_labels_are_packed() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("set");
    yolo(&root);
    let yaml =
        "path: /of/another/machine\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n";
    let yaml = write(&root.join("data.yaml"), yaml);
    for path in [root.clone(), yaml.clone()] {
        let error = refusal(Source::new(path));
        assert!(
            error.contains("train, val") && error.contains("--split"),
            "{error}"
        );
    }
    let (set, report) = packed(
        &folder,
        Source {
            split: Some("train".into()),
            ..Source::new(&yaml)
        },
    );
    assert_eq!(
        sources(&set),
        [
            "images/train/a.png",
            "images/train/b.png",
            "images/train/empty.png"
        ]
    );
    assert_eq!(names(&set), [(0, "cat"), (1, "dog")]);
    let [dog, cat] = set.instances(0).unwrap().try_into().unwrap();
    assert_eq!(
        (dog.id, dog.category, dog.bbox, dog.area),
        (1, 1, [10., 7.5, 20., 5.], 100.)
    );
    assert_eq!(
        (cat.id, cat.category, cat.bbox),
        (2, 0, [10., 10., 10., 10.])
    );
    assert_eq!(cat.mask.unwrap().area(), 100);
    let kept: Vec<_> = set
        .instances(1)
        .unwrap()
        .iter()
        .map(|i| (i.id, i.bbox))
        .collect();
    assert_eq!(kept, [(5, [0., 0., 3., 40.]), (7, [15., 10., 5., 20.])]);
    let b = || "images/train/b.png".to_owned();
    let orphan = report
        .quarantined
        .iter()
        .find(|q| q.reason == Reason::MissingPicture);
    assert!(orphan
        .unwrap()
        .source
        .as_deref()
        .unwrap()
        .ends_with("orphan.txt"));
    assert_eq!(
        listed(&report)[1..],
        [
            (Reason::Malformed, b()),
            (Reason::UnknownCategory, b()),
            (Reason::BoxInvalid, b()),
            (Reason::BoxClipped, b()),
        ]
    );
    let note = report.note.unwrap();
    assert!(
        note.starts_with("1 pictures without a label file"),
        "{note}"
    );
}

#[test]
fn yolo_sets_of_every_layout_are_known() {
    let all = |root: &Path| Source {
        split: Some("all".into()),
        ..Source::new(root)
    };
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("tree");
    yolo(&root);
    let (set, report) = packed(&folder, all(&root));
    assert_eq!(set.len(), 4);
    assert_eq!(names(&set), [(0, "0"), (1, "1"), (7, "7")]);
    assert!(report.note.unwrap().contains("called by their numbers"));

    // As Roboflow writes it: splits outside, and a path that leads to another folder.
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("roboflow");
    save(&root.join("train/images/a.png"), &draw(16, 16, 1));
    write(&root.join("train/labels/a.txt"), "1 .5 .5 .5 .5");
    write(
        &root.join("data.yaml"),
        "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['a', 'b']",
    );
    let (set, _) = packed(&folder, Source::new(&root));
    assert_eq!((set.len(), set.instances(0).unwrap()[0].category), (1, 1));

    // Beside the pictures, as labelImg writes it; and a list of pictures.
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("flat");
    save(&root.join("a.png"), &draw(16, 16, 1));
    save(&root.join("b.png"), &draw(16, 16, 2));
    write(&root.join("a.txt"), "0 .5 .5 .5 .5");
    write(&root.join("classes.txt"), "cat\ndog\n");
    let (set, _) = packed(&folder, Source::new(&root));
    assert_eq!((set.len(), names(&set)), (2, vec![(0, "cat"), (1, "dog")]));
    let list = write(&root.join("train.txt"), "./b.png\na.png\n");
    let source = Source {
        format: Format::Yolo,
        ..Source::new(list)
    };
    fs::remove_dir_all(folder.path().join("packed")).unwrap();
    assert_eq!(sources(&packed(&folder, source).0), ["b.png", "a.png"]);
    write(&root.join("train.txt"), "a.png\n");
    let list = Source::new(root.join("train.txt"));
    let Ok(report) = inspect(&list, None, &PackOptions::default(), &|_| {}) else {
        panic!("a list of pictures is refused")
    };
    assert!(report.note.unwrap().contains("--format yolo"));
}

#[test]
fn splits_that_are_not_there_are_named() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("set");
    for split in ["train", "valid"] {
        save(&root.join(split).join("images/a.png"), &draw(16, 16, 1));
        write(&root.join(split).join("labels/a.txt"), "0 .5 .5 .5 .5");
    }
    let yaml = root.join("data.yaml");
    let source = |split: Option<&str>| Source {
        split: split.map(str::to_owned),
        ..Source::new(&yaml)
    };
    let note = |split: Option<&str>, pictures: usize| {
        let (set, report) = packed(&folder, source(split));
        assert_eq!(set.len(), pictures);
        fs::remove_dir_all(folder.path().join("packed")).unwrap();
        report.note.unwrap()
    };

    // Only one is there: it is taken, and the other named, unless it is what was asked for.
    write(&yaml, "train: ../train/images\ntest: ../test/images");
    let gone = "`test: ../test/images` was not found; packed without it";
    for split in [None, Some("all")] {
        let note = note(split, 1);
        assert!(note.contains(gone), "{note}");
    }
    let error = refusal(source(Some("test")));
    let looked = format!("looked for {}", root.join("../test/images").display());
    for part in ["`test: ../test/images` was not found", &looked] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!note(Some("train"), 1).contains("not found"));

    write(
        &yaml,
        "train: train/images\nval: valid/images\ntest: ../test/images",
    );
    let error = refusal(source(None));
    assert!(error.contains("has the splits train, val;"), "{error}");
    let note = note(Some("all"), 2);
    assert!(note.contains(gone), "{note}");

    // A part of a split would pass for the whole.
    write(
        &yaml,
        "train: [train/images, more/images]\nval: gone/images",
    );
    for split in [None, Some("all"), Some("train")] {
        let error = refusal(source(split));
        assert!(
            error.contains("`train: more/images` was not found; looked for"),
            "{error}"
        );
    }
}

#[test]
fn labels_of_another_split_are_not_missing_their_picture() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("set");
    save(&root.join("images/a.png"), &draw(16, 16, 1));
    save(&root.join("images/b.PNG"), &draw(16, 16, 2));
    save(&root.join("labels/beside.png"), &draw(16, 16, 3));
    for name in ["a", "b", "beside", "orphan"] {
        write(&root.join(format!("labels/{name}.txt")), "0 .5 .5 .5 .5");
    }
    write(&root.join("autosplit_train.txt"), "./images/a.png\n");
    write(&root.join("autosplit_val.txt"), "./images/b.PNG\n");
    write(
        &root.join("data.yaml"),
        "train: autosplit_train.txt\nval: autosplit_val.txt\nnames: [cat]",
    );
    let source = Source {
        split: Some("train".into()),
        ..Source::new(&root)
    };
    let (set, report) = packed(&folder, source);
    assert_eq!(sources(&set), ["images/a.png"]);
    let orphan = root.join("labels/orphan.txt").display().to_string();
    assert_eq!(listed(&report), [(Reason::MissingPicture, orphan)]);
}

/// Three points in a box, one of them not seen.
const POSE: &str =
    "0 0.5 0.5 0.4 0.4 0.4 0.6 0.6 0.6 0 0\n0 0.4 0.5 0.4 0.4 0.4 0.4 0.5 0.6 0.3 0.5\n";

/// Pictures with these labels in `images` and `labels`.
fn labelled_so(root: &Path, labels: &[&str]) {
    for (i, labels) in labels.iter().enumerate() {
        save(&root.join(format!("images/{i}.png")), &draw(20, 20, 1));
        write(&root.join(format!("labels/{i}.txt")), labels);
    }
}

#[test]
fn poses_are_not_taken_for_outlines() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("set");
    labelled_so(&root, &[POSE, "", POSE]);
    let error = refusal(Source::new(&root));
    for part in ["look like poses", "data.yaml", "kpt_shape"] {
        assert!(error.contains(part), "{error}");
    }
    let list = write(&root.join("train.txt"), "images/0.png\n");
    let list = Source {
        format: Format::Yolo,
        ..Source::new(list)
    };
    assert!(refusal(list.clone()).contains("kpt_shape"));

    // A data.yaml says what they are, with splits or without, to a folder and to a list.
    let yaml = root.join("data.yaml");
    for splits in ["", "train: images\n"] {
        write(&yaml, format!("{splits}names: [man]\nkpt_shape: [3, 2]\n"));
        for source in [Source::new(&root), list.clone()] {
            let (set, report) = packed(&folder, source);
            let [instance, _] = set.instances(0).unwrap().try_into().unwrap();
            assert_eq!((instance.bbox, instance.mask), ([6., 6., 8., 8.], None));
            assert_eq!(names(&set), [(0, "man")]);
            assert!(report.note.unwrap().contains("key points are passed over"));
            fs::remove_dir_all(folder.path().join("packed")).unwrap();
        }
    }
    write(&yaml, "names: [man]\n");
    let (set, report) = packed(&folder, Source::new(&root));
    assert!(set.instances(0).unwrap()[0].mask.is_some());
    assert!(report.note.unwrap().contains("packed as outlines"));
}

#[test]
fn outlines_that_could_be_poses_one_by_one_are_outlines() {
    // Another number of points, other rows that are no pose; a row that is damaged tells nothing.
    for other in [
        "0 0.5 0.5 0.4 0.4 0.4 0.4 0.6 0.6 0.5 0.5 0.6 0.5\n",
        "0 0.9 0.5 0.95 0.5 0.95 0.6 0.9 0.6 0.92 0.6\n",
        "0 0.5 0.5 0.5 0.5\n",
    ] {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("set");
        labelled_so(&root, &[POSE, other]);
        let (set, _) = packed(&folder, Source::new(&root));
        assert!(set.instances(0).unwrap()[0].mask.is_some(), "{other}");
        write(&root.join("labels/1.txt"), "?\n");
        assert!(refusal(Source::new(&root)).contains("look like poses"));
    }
}

#[test]
fn a_data_yaml_that_cannot_be_read_is_not_passed_over() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("set");
    labelled_so(&root, &["0 0.5 0.5 0.5 0.5\n"]);
    let list = write(&root.join("train.txt"), "images/0.png\n");
    let list = Source {
        format: Format::Yolo,
        ..Source::new(list)
    };
    // Some other program's.
    write(&root.join("compose.yaml"), "a: [");
    assert_eq!(packed(&folder, Source::new(&root)).0.len(), 1);
    let yaml = write(&root.join("data.yaml"), "names: [cat\nkpt_shape: [3, 2]\n");
    for source in [Source::new(&root), list] {
        let error = refusal(source);
        assert!(error.contains("not YAML"), "{error}");
        assert!(error.contains(&yaml.display().to_string()), "{error}");
    }
}
