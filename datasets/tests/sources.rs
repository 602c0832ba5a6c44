//! Every kind of labelled source gives what it says, and lists what it cannot give.

mod support;

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
    write(&root.join("valid/y.xml"), &xml);
    let source = Source {
        split: Some("train".into()),
        format: Format::Voc,
        ..Source::new(&root)
    };
    let (set, report) = packed(&folder, source);
    assert_eq!(sources(&set), ["renamed.png", "x.png"]);
    assert_eq!(report.quarantined, []);
}

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

/// A tar archive made with the `tar` crate.
fn tar(path: &Path, members: &[(&str, Vec<u8>)]) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice())
            .unwrap();
    }
    tar.into_inner().unwrap();
    path.to_owned()
}

fn png(seed: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    draw(20, 10, seed)
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

#[test]
fn webdataset_samples_are_packed_where_they_lie() {
    let folder = TempDir::new().unwrap();
    let long = format!("{}/{}", "folder".repeat(20), "name".repeat(30));
    let json = r#"{"width": 20, "height": 10, "annotations": [
        {"category_id": 7, "category": "bird", "bbox": [1, 2, 3, 4]}, {"category_id": 7, "bbox": "x"},
        {"category_id": 7, "category": "Vogel", "bbox": [0, 0, 1, 1]}]}"#;
    tar(
        &folder.path().join("shards/s-0.tar"),
        &[
            ("a.png", png(1)),
            ("a.cls", b"10".to_vec()),
            ("a.json", json.into()),
            (&format!("{long}.PNG"), png(2)),
            (&format!("{long}.cls"), b"9\n".to_vec()),
            ("noclass.png", png(3)),
            ("nopicture.cls", b"1".to_vec()),
        ],
    );
    tar(
        &folder.path().join("shards/s-1.tar"),
        &[
            ("a.png", png(4)),
            ("a.cls", b"9".to_vec()),
            ("a.pyd", vec![]),
        ],
    );
    let shards = folder.path().join("shards");
    for path in [
        shards.clone(),
        shards.join("s-{0..1}.tar"),
        shards.join("s-?.tar"),
    ] {
        let (set, report) = packed(&folder, Source::new(path));
        let expected = [
            "s-0.tar/a.png",
            &format!("s-0.tar/{long}.PNG"),
            "s-0.tar/noclass.png",
            "s-1.tar/a.png",
        ];
        assert_eq!(sources(&set), expected);
        // Numbers are sorted by their value; 1 belongs to a sample that has no picture.
        assert_eq!(set.labels(), ["9", "10"]);
        let labels: Vec<_> = (0..4).map(|i| set.label(i).unwrap()).collect();
        assert_eq!(labels, [Some(1), Some(0), None, Some(0)]);
        for (record, seed) in (0..4).zip(1..) {
            assert_eq!(set.read(record).unwrap().image, draw(20, 10, seed));
        }
        assert_eq!(names(&set), [(7, "bird")]);
        let birds = set.instances(0).unwrap();
        let birds: Vec<_> = birds.iter().map(|bird| (bird.id, bird.bbox)).collect();
        assert_eq!(birds, [(1, [1., 2., 3., 4.]), (3, [0., 0., 1., 1.])]);
        assert_eq!(
            listed(&report),
            [
                (Reason::MissingPicture, "s-0.tar/nopicture".into()),
                (Reason::Malformed, "s-0.tar/a.png".into()),
                (Reason::DuplicateId, String::new()),
            ]
        );
        assert_eq!(report.ignored.get(".pyd"), Some(&1));
        fs::remove_dir_all(folder.path().join("packed")).unwrap();
    }
}

/// Written by another program; `peers/make_webdataset.py` says what is in it.
#[test]
fn an_archive_of_the_webdataset_package_is_read() {
    let folder = TempDir::new().unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/webdataset.tar");
    let (set, report) = packed(&folder, Source::new(fixture));
    assert_eq!(report.quarantined, []);
    assert_eq!(set.labels(), ["0", "1"]);
    let label = |i| set.label(i).unwrap().unwrap();
    assert_eq!((0..3).map(label).collect::<Vec<_>>(), [1, 0, 1]);
    for (record, value) in [0, 40, 80].into_iter().enumerate() {
        let expected = RgbImage::from_pixel(12, 9, Rgb([value; 3]));
        assert_eq!(set.read(record).unwrap().image, expected);
    }
    let name = format!("webdataset.tar/{}/000002.png", "folder".repeat(20));
    assert_eq!(sources(&set)[2], name);
}

#[test]
fn classes_that_an_archive_states_keep_their_numbers() {
    let folder = TempDir::new().unwrap();
    let info = r#"{"categories": [{"id": 3, "name": "x"}], "labels": ["cat", "dog", "eel"]}"#;
    let members = [
        ("__dataset__/info.json", info.into()),
        ("a.png", png(1)),
        ("a.cls", b"2".to_vec()),
        ("b.png", png(2)),
        ("b.cls", b"dog".to_vec()),
        ("c.png", png(3)),
        ("c.cls", b"3".to_vec()),
        ("d.png", png(4)),
        ("d.cls", vec![0xff]),
    ];
    let (set, report) = packed(
        &folder,
        Source::new(tar(&folder.path().join("s.tar"), &members)),
    );
    assert_eq!(set.labels(), ["cat", "dog", "eel"]);
    assert_eq!(names(&set), [(3, "x")]);
    let labels: Vec<_> = (0..4).map(|i| set.label(i).unwrap()).collect();
    assert_eq!(labels, [Some(2), Some(1), None, None]);
    let expected = [
        (Reason::Malformed, "s.tar/d.png".into()),
        (Reason::UnknownCategory, "s.tar/c.png".into()),
    ];
    assert_eq!(listed(&report), expected);
    assert!(report.quarantined.iter().all(|entry| entry.kept));
}

#[test]
fn captions_are_no_classes() {
    let folder = TempDir::new().unwrap();
    let with = |texts: [&str; 4]| {
        let mut members = Vec::new();
        for (key, text) in ["a", "b", "c", "d"].iter().zip(texts) {
            members.push((format!("{key}.png"), png(1)));
            members.push((format!("{key}.txt"), text.as_bytes().to_vec()));
        }
        let members: Vec<_> = members
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.clone()))
            .collect();
        let path = tar(&folder.path().join("s.tar"), &members);
        let _ = fs::remove_dir_all(folder.path().join("packed"));
        packed(&folder, Source::new(path))
    };
    let (set, report) = with(["cat", "dog", "dog", "cat"]);
    assert_eq!(set.labels(), ["cat", "dog"]);
    assert!(report.note.unwrap().contains("name 2 classes"));
    let (set, report) = with(["A cat.", "A dog.", "Two dogs.", "Two dogs."]);
    assert!(set.labels().is_empty());
    assert!(report.note.unwrap().contains("captions"));
}

#[test]
fn damaged_archives_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("s.tar");
    tar(
        &path,
        &[
            ("a.png", png(1)),
            ("a.cls", b"1".to_vec()),
            ("b.png", png(2)),
        ],
    );
    let whole = fs::read(&path).unwrap();
    let last = whole.windows(5).rposition(|name| name == b"b.png").unwrap();
    let with = |bytes: &[u8]| refusal(Source::new(write(&path, bytes)));

    let error = with(&whole[..last + 600]);
    assert!(
        error.contains("s.tar") && error.contains("cut off: `b.png`"),
        "{error}"
    );
    let error = with(&whole[..last + 100]);
    assert!(error.contains("after `a.cls`"), "{error}");
    let mut flipped = whole.clone();
    flipped[last] ^= 1;
    let error = with(&flipped);
    assert!(
        error.contains("damaged, after `a.cls`") && error.contains("checksum"),
        "{error}"
    );
    assert!(with(&vec![7; 5000]).contains("not a tar archive"));
    assert!(with(b"").contains("no picture"));

    // A size beyond the archive, and one beyond every archive, under checksums that are right.
    for size in [1 << 33, u64::MAX - 511] {
        let mut header = tar::Header::new_gnu();
        header.set_path("huge.png").unwrap();
        header.set_size(size);
        header.set_cksum();
        let bytes = [header.as_bytes().as_slice(), &whole].concat();
        let error = with(&bytes);
        assert!(
            error.contains("cut off") || error.contains("overflow"),
            "{error}"
        );
        // A long name of that size.
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_cksum();
        let error = with(&[header.as_bytes().as_slice(), &vec![b'x'; 2 << 20], &whole].concat());
        assert!(
            error.contains("bytes of headers") || error.contains("overflow"),
            "{error}"
        );
    }

    // Cut off between two members: only the end's zeros tell.
    write(&path, &whole[..last]);
    let (set, report) = packed(&folder, Source::new(&path));
    assert_eq!(
        (set.len(), listed(&report)),
        (1, vec![(Reason::Damaged, "s.tar".into())])
    );
    // Two archives joined end to end are read as one.
    let path = write(
        &folder.path().join("joined.tar"),
        [whole.clone(), whole].concat(),
    );
    fs::remove_dir_all(folder.path().join("packed")).unwrap();
    assert_eq!(packed(&folder, Source::new(path)).0.len(), 4);
    let error = refusal(Source::new(write(&folder.path().join("s.tar.gz"), "")));
    assert!(error.contains("compressed"), "{error}");
}

#[test]
fn a_list_names_pictures_and_classes() {
    let folder = TempDir::new().unwrap();
    for name in ["pictures/a.png", "pictures/b c.png", "list/near.png"] {
        save(&folder.path().join(name), &draw(10, 10, 1));
    }
    let text = "a.png dog\nb c.png\tcat\n\nb c.png\ngone.png dog\n";
    let list = write(&folder.path().join("list/train.txt"), text);
    let images = Some(folder.path().join("pictures"));
    let (set, report) = packed(
        &folder,
        Source {
            images,
            ..Source::new(&list)
        },
    );
    assert_eq!(sources(&set), ["a.png", "b c.png", "b c.png"]);
    assert_eq!(set.labels(), ["cat", "dog"]);
    let labels: Vec<_> = (0..3).map(|i| set.label(i).unwrap()).collect();
    assert_eq!(labels, [Some(1), Some(0), None]);
    assert_eq!(
        listed(&report),
        [(Reason::MissingPicture, "gone.png".into())]
    );

    let error = refusal(Source::new(&list));
    assert!(
        error.contains("none of its 4 pictures") && error.contains("--images"),
        "{error}"
    );
    write(&list, "near.png");
    fs::remove_dir_all(folder.path().join("packed")).unwrap();
    assert_eq!(packed(&folder, Source::new(&list)).0.len(), 1);
    assert!(refusal(Source::new(write(&list, "\n"))).contains("without a line"));
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
