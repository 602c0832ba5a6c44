//! Pascal VOC.

use super::*;

fn voc_xml(size: (u32, u32), objects: &[(&str, [f64; 4], bool)]) -> String {
    let object = |(name, [x0, y0, x1, y1], difficult): &(&str, [f64; 4], bool)| {
        format!(
            "<object><name>{name}</name><difficult>{}</difficult><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>\
             <xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>",
            u8::from(*difficult)
        )
    };
    let objects: String = objects.iter().map(object).collect();
    format!(
        "<annotation><filename>stale.jpg</filename><size><width>{}</width><height>{}</height></size>{objects}</annotation>",
        size.0, size.1
    )
}

/// A development kit of three pictures with annotations, one without, and an annotation without picture.
fn voc(root: &Path) {
    for (name, seed) in [("a", 1), ("b", 2), ("c", 3), ("unlabelled", 4)] {
        save(
            &root.join(format!("JPEGImages/{name}.png")),
            &draw(30, 20, seed),
        );
    }
    let annotations = root.join("Annotations");
    let objects = [
        ("dog", [1., 1., 30., 20.], false),
        ("cat", [11., 6., 20., 10.], true),
    ];
    write(&annotations.join("a.xml"), voc_xml((30, 20), &objects));
    write(
        &annotations.join("b.xml"),
        voc_xml((0, 0), &[("eel", [2., 2., 40., 9.], false)]),
    );
    write(
        &annotations.join("c.xml"),
        "<annotation><object/></annotation>",
    );
    write(&annotations.join("gone.xml"), voc_xml((30, 20), &[]));
    write(&annotations.join("broken.xml"), "<annotation>");
    write(
        &root.join("ImageSets/Main/train.txt"),
        "a\nb  1\nunlabelled\n",
    );
    // Object 2 is four pixels, object 3 does not exist, the rest is border.
    let palette = |index: u8| match index {
        2 => Rgb([0, 128, 0]),
        3 => Rgb([128, 128, 0]),
        _ => Rgb([224, 224, 192]),
    };
    let mask = RgbImage::from_fn(30, 20, |x, y| match (x, y) {
        (12..14, 7..9) => palette(2),
        (0, 0) => palette(3),
        _ => palette(255),
    });
    save(&root.join("SegmentationObject/a.png"), &mask);
}

#[test]
fn voc_annotations_are_packed() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("VOC2012");
    voc(&root);
    let (set, report) = packed(&folder, Source::new(&root));
    assert_eq!(sources(&set), ["a.png", "b.png", "c.png"]);
    assert_eq!(names(&set), [(1, "cat"), (2, "dog"), (3, "eel")]);
    assert_eq!(set.read(0).unwrap().image, draw(30, 20, 1));
    let [dog, cat] = set.instances(0).unwrap().try_into().unwrap();
    assert_eq!(
        (dog.id, dog.category, dog.bbox, dog.crowd),
        (1, 1, [0., 0., 30., 20.], false)
    );
    assert_eq!(
        (cat.id, cat.category, cat.bbox, cat.crowd),
        (2, 0, [10., 5., 10., 5.], true)
    );
    assert_eq!(dog.mask, None);
    let mask = cat.mask.unwrap();
    assert_eq!((mask.area(), mask.bbox()), (4, [12., 7., 2., 2.]));
    let eel = &set.instances(1).unwrap()[0];
    assert_eq!((eel.id, eel.bbox), (3, [1., 1., 29., 8.]));
    assert_eq!(
        listed(&report),
        [
            (Reason::MissingPicture, "gone.xml".into()),
            (Reason::MissingLabels, "unlabelled.png".into()),
            (Reason::Malformed, "broken.xml".into()),
            (Reason::Malformed, "c.png".into()),
            (Reason::BoxClipped, "b.png".into()),
            (Reason::MaskInvalid, "a.png".into()),
        ]
    );
}

#[test]
fn a_split_of_voc_keeps_the_classes_of_the_whole() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("VOC2012");
    voc(&root);
    let by_name = Source {
        split: Some("train".into()),
        ..Source::new(&root)
    };
    for source in [by_name, Source::new(root.join("ImageSets/Main/train.txt"))] {
        let (set, report) = packed(&folder, source);
        assert_eq!(sources(&set), ["a.png", "b.png"]);
        assert_eq!(set.categories().len(), 3);
        let missing = (Reason::MissingLabels, "unlabelled.png".into());
        assert!(listed(&report).contains(&missing));
        fs::remove_dir_all(folder.path().join("packed")).unwrap();
    }
    let error = refusal(Source {
        split: Some("test".into()),
        ..Source::new(&root)
    });
    assert!(
        error.contains("read the split") && error.contains("test.txt"),
        "{error}"
    );
}

#[test]
fn voc_files_beside_their_pictures() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("export");
    for name in ["train/x.png", "train/renamed.png", "valid/y.png"] {
        save(&root.join(name), &draw(16, 16, 1));
    }
    let xml = voc_xml((16, 16), &[("dot", [1., 1., 4., 4.], false)]);
    write(&root.join("train/x.xml"), &xml);
    write(
        &root.join("train/other.xml"),
        xml.replace("stale.jpg", "renamed.png"),
    );
    let also = voc_xml((16, 16), &[("arc", [1., 1., 4., 4.], false)]);
    write(&root.join("valid/y.xml"), also);
    for (split, pictures) in [
        ("train", &["renamed.png", "x.png"][..]),
        ("valid", &["y.png"]),
    ] {
        let source = Source {
            split: Some(split.into()),
            format: Format::Voc,
            ..Source::new(&root)
        };
        let (set, report) = packed(&folder, source);
        assert_eq!(sources(&set), pictures);
        // The same in each split, whatever it shows.
        assert_eq!(names(&set), [(1, "arc"), (2, "dot")]);
        assert_eq!(report.quarantined, []);
        fs::remove_dir_all(folder.path().join("packed")).unwrap();
    }
}

#[test]
fn a_stale_name_leads_to_no_picture_with_labels_of_its_own() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("VOC2012");
    save(&root.join("JPEGImages/b.png"), &draw(30, 20, 1));
    let xml = voc_xml((30, 20), &[("dog", [1., 1., 9., 9.], false)]);
    let annotations = root.join("Annotations");
    // Copied from that of `b`; its own picture is gone.
    write(
        &annotations.join("a.xml"),
        xml.replace("stale.jpg", "b.png"),
    );
    write(&annotations.join("b.xml"), &xml);
    let (set, report) = packed(&folder, Source::new(&root));
    assert_eq!(sources(&set), ["b.png"]);
    assert_eq!(set.instance_count(0).unwrap(), 1);
    assert_eq!(listed(&report), [(Reason::MissingPicture, "a.xml".into())]);
}

#[test]
fn splits_of_voc_are_not_mixed_unasked() {
    let folder = TempDir::new().unwrap();
    let (kit, export) = (folder.path().join("VOC2007"), folder.path().join("export"));
    let xml = voc_xml((12, 12), &[("dog", [1., 1., 9., 9.], false)]);
    for name in ["a", "b"] {
        save(
            &kit.join(format!("JPEGImages/{name}.png")),
            &draw(12, 12, 1),
        );
        write(&kit.join(format!("Annotations/{name}.xml")), &xml);
    }
    let lists = kit.join("ImageSets/Main");
    for name in ["trainval", "dog_trainval", "night_dog_trainval"] {
        write(&lists.join(format!("{name}.txt")), "a 1\n");
    }
    // Lists of single classes are no splits.
    assert_eq!(packed(&folder, Source::new(&kit)).0.len(), 2);
    write(&lists.join("test.txt"), "b\n");
    write(&lists.join("dog_test.txt"), "b 1\n");
    for split in ["train", "valid"] {
        save(&export.join(split).join("a.png"), &draw(12, 12, 1));
        write(&export.join(split).join("a.xml"), &xml);
    }
    for (root, names, one) in [
        (&kit, "splits test, trainval;", "test"),
        (&export, "splits train, valid;", "valid"),
    ] {
        let error = refusal(Source::new(root));
        for part in [names, "--split NAME", "--split all"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        for (split, pictures) in [(one, 1), ("all", 2)] {
            let source = Source {
                split: Some(split.into()),
                ..Source::new(root)
            };
            fs::remove_dir_all(folder.path().join("packed")).unwrap();
            assert_eq!(packed(&folder, source).0.len(), pictures, "{split}");
        }
    }
    // A list is a choice.
    fs::remove_dir_all(folder.path().join("packed")).unwrap();
    let list = Source::new(lists.join("test.txt"));
    assert_eq!(sources(&packed(&folder, list).0), ["b.png"]);
}
