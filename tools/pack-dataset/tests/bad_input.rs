//! Every kind of bad picture and label through the program: listed with its reason, the rest packed.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use intertwine_datasets::{PackedSet, Quarantined, Reason};
use serde_json::{json, Value};
use support::{draw, run, save, stderr, stdout};
use tempfile::TempDir;

fn quarantine(out: &Path) -> Vec<Quarantined> {
    let text = fs::read_to_string(out.join("quarantine.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// (reason, kept) of the only entry about this annotation, or about this picture as a whole.
fn reason_of(entries: &[Quarantined], annotation: Option<u64>, source: &str) -> (Reason, bool) {
    let matching = |entry: &&Quarantined| match annotation {
        Some(id) => entry.annotation_id == Some(id),
        None => entry.annotation_id.is_none() && entry.source.as_deref() == Some(source),
    };
    let found: Vec<_> = entries.iter().filter(matching).collect();
    assert_eq!(found.len(), 1, "{annotation:?} {source}: {found:?}");
    (found[0].reason, found[0].kept)
}

#[test]
fn bad_pictures_are_listed_and_the_rest_is_packed() {
    let folder = TempDir::new().unwrap();
    let (pictures, out) = (folder.path().join("pictures"), folder.path().join("out"));
    save(pictures.join("good/a.jpg"), 40, 30);
    save(folder.path().join("b.png"), 40, 30);
    fs::copy(
        folder.path().join("b.png"),
        pictures.join("good/PNG named jpg.jpg"),
    )
    .unwrap();
    let jpeg = fs::read(pictures.join("good/a.jpg")).unwrap();
    fs::write(pictures.join("text.jpg"), "this is text").unwrap();
    fs::write(pictures.join("empty.png"), "").unwrap();
    fs::write(pictures.join("half.jpg"), &jpeg[..jpeg.len() / 2]).unwrap();
    fs::write(pictures.join("nearly.jpg"), &jpeg[..jpeg.len() - 2]).unwrap();
    save(pictures.join("dot.png"), 1, 1);
    save(pictures.join("thread.png"), 500, 7);
    fs::write(pictures.join("huge.png"), huge_png()).unwrap();
    fs::write(pictures.join("scan.tif"), b"II*\0\x08\0\0\0\0\0\0\0").unwrap();
    fs::write(pictures.join("readme.txt"), "not a picture by its name").unwrap();
    fs::write(pictures.join("._a.jpg"), "the system's own").unwrap();

    let output = run(&[&pictures, &out, &"--threads", &"2"]);
    assert!(output.status.success(), "{}", stderr(&output));
    for part in ["Packed 2 pictures", ".txt: 1", "intertwine pretrain --data"] {
        assert!(
            stdout(&output).contains(part),
            "`{part}` is not in: {}",
            stdout(&output)
        );
    }
    for part in ["8 left out", "2 x damaged", "picture `half.jpg`"] {
        assert!(
            stderr(&output).contains(part),
            "`{part}` is not in: {}",
            stderr(&output)
        );
    }
    let entries = quarantine(&out);
    for (name, reason) in [
        ("text.jpg", Reason::NotAPicture),
        ("empty.png", Reason::NotAPicture),
        ("half.jpg", Reason::Damaged),
        ("nearly.jpg", Reason::Damaged),
        ("dot.png", Reason::TooSmall),
        ("thread.png", Reason::TooSmall),
        ("huge.png", Reason::TooLarge),
        ("scan.tif", Reason::UnsupportedFormat),
    ] {
        assert_eq!(reason_of(&entries, None, name), (reason, false), "{name}");
    }
    assert_eq!(entries.len(), 8);
    let set = PackedSet::open(&out).unwrap();
    assert_eq!((set.len(), set.manifest().quarantined), (2, 8));
    assert_eq!(set.read(0).unwrap().image, draw(40, 30));
    assert_eq!(set.info(0).unwrap().source, "good/PNG named jpg.jpg");

    // The same findings without writing, and a status for scripts.
    let output = run(&[&pictures, &"--check", &"--strict"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        stdout(&output)
            .lines()
            .filter(|line| line.contains(": picture `"))
            .count(),
        8
    );
    let again = folder.path().join("again");
    assert!(run(&[&pictures, &again, &"--check"]).status.success());
    assert!(!again.exists());
}

/// A sound header that claims 40,000 x 40,000 pixels.
fn huge_png() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x9c\x40\0\0\x9c\x40\x08\x02\0\0\0".to_vec();
    // CRC-32 as PNG defines it, bit by bit.
    let crc = !png[12..].iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    });
    png.extend(crc.to_be_bytes());
    png.extend(b"\0\0\0\x0aIDAT");
    png.extend([0; 14]);
    png
}

/// A data set with one of each fault, its label file in `annotations`, its pictures in `train`.
fn faulty_coco(folder: &Path) -> PathBuf {
    for (name, width, height) in [
        ("a.jpg", 100, 80),
        ("b.png", 50, 40),
        ("c.png", 60, 60),
        ("sub/d.png", 30, 30),
        ("e.jpg", 100, 80),
    ] {
        save(folder.join("train").join(name), width, height);
    }
    // A decoy: a picture of a name that occurs, in another folder.
    save(folder.join("val/b.png"), 9, 9);
    let annotation = |id: u64, image: u64, category: u64, bbox: Value, segmentation: Value| {
        json!({"id": id, "image_id": image, "category_id": category, "bbox": bbox, "area": 12.5, "iscrowd": id / 14,
               "segmentation": segmentation})
    };
    let full = json!([10, 10, 20, 20]);
    let annotations = [
        annotation(
            1,
            1,
            2,
            full.clone(),
            json!([[10, 10, 30, 10, 30, 30, 10, 30]]),
        ),
        annotation(2, 1, 2, json!([5, 5, 0, 10]), json!([])),
        annotation(3, 1, 2, json!(["NAN", 5, 10, 10]), json!([])),
        annotation(4, 1, 2, json!([5, "INF", 10, 10]), json!([])),
        annotation(5, 1, 2, json!([90, 70, 30, 30]), json!([])),
        annotation(6, 1, 2, json!([200, 5, 10, 10]), json!([])),
        annotation(7, 1, 9, full.clone(), json!([])),
        annotation(
            1,
            1,
            2,
            full.clone(),
            json!([[10, 10, 30, 10, 30, 30, 10, 30]]),
        ),
        annotation(8, 77, 2, full.clone(), json!([])),
        annotation(
            9,
            1,
            2,
            full.clone(),
            json!({"size": [10, 10], "counts": [50, 50]}),
        ),
        annotation(10, 1, 2, full.clone(), json!([[1, 2, 3, 4]])),
        annotation(
            11,
            1,
            2,
            full.clone(),
            json!({"size": [80, 100], "counts": [50, 50]}),
        ),
        annotation(12, 1, 2, json!([1, 2, 3]), json!([])),
        annotation(13, 1, 2, json!("left"), json!([])),
        annotation(14, 1, 2, full.clone(), json!("a mask")),
        annotation(
            15,
            2,
            44,
            json!([1, 1, 10, 10]),
            json!({"size": [40, 50], "counts": [0, 2000]}),
        ),
        annotation(16, 5, 44, json!([1, 1, 10, 10]), json!([])),
        annotation(17, 3, 44, json!([1, 1, 10, 10]), json!([])),
        json!({"id": 18, "category_id": 2, "bbox": full}),
    ];
    let images = json!([
        {"id": 1, "file_name": "a.jpg", "width": 100, "height": 80},
        {"id": 2, "file_name": "b.png"},
        {"id": 2, "file_name": "c.png"},
        {"id": 3, "file_name": "c.png", "width": 600, "height": 600},
        {"id": 4, "file_name": "C:\\data\\sub\\..\\e.jpg"},
        {"id": 5, "file_name": "gone.jpg"},
        {"id": 6, "file_name": "sub/d.png", "width": 30.0, "height": 30},
        {"file_name": "no id.jpg"},
    ]);
    let categories = json!([{"id": 44, "name": "bottle"}, {"id": 2, "name": "bicycle"}, {"id": 2, "name": "bike"}]);
    let document =
        json!({"info": {}, "images": images, "annotations": annotations, "categories": categories});
    // As Python writes them, which is no JSON.
    let text = document
        .to_string()
        .replace("\"NAN\"", "NaN")
        .replace("\"INF\"", "-Infinity");
    let path = folder.join("annotations/instances_train.json");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn bad_labels_are_listed_and_the_rest_is_packed() {
    let folder = TempDir::new().unwrap();
    let (labels, out) = (faulty_coco(folder.path()), folder.path().join("out"));
    let output = run(&[&labels, &out]);
    assert!(output.status.success(), "{}", stderr(&output));
    for part in [
        "Packed 4 pictures, 7 objects of 2 categories",
        "intertwine finetune",
    ] {
        assert!(
            stdout(&output).contains(part),
            "`{part}` is not in: {}",
            stdout(&output)
        );
    }
    let entries = quarantine(&out);
    for (id, reason, kept) in [
        (2, Reason::BoxEmpty, false),
        (3, Reason::BoxInvalid, false),
        (4, Reason::BoxInvalid, false),
        (5, Reason::BoxClipped, true),
        (6, Reason::BoxOutside, false),
        (7, Reason::UnknownCategory, false),
        (1, Reason::DuplicateId, false),
        (8, Reason::UnknownPicture, false),
        (9, Reason::MaskSize, true),
        (10, Reason::MaskInvalid, true),
        (11, Reason::MaskInvalid, true),
        (12, Reason::BoxInvalid, false),
        (13, Reason::Malformed, false),
        (14, Reason::MaskInvalid, true),
    ] {
        assert_eq!(
            reason_of(&entries, Some(id), ""),
            (reason, kept),
            "annotation {id}"
        );
    }
    assert_eq!(
        reason_of(&entries, None, "gone.jpg"),
        (Reason::MissingPicture, false)
    );
    let listed = |reason, image_id, detail: &str| {
        entries
            .iter()
            .any(|q| q.reason == reason && q.image_id == image_id && q.detail.contains(detail))
    };
    assert!(listed(
        Reason::SizeMismatch,
        Some(3),
        "says 600 x 600, the picture is 60 x 60"
    ));
    assert!(listed(Reason::DuplicateId, Some(2), "id 2"));
    assert!(listed(Reason::DuplicateId, None, "`bike`"));
    assert!(listed(Reason::Malformed, None, "missing field `image_id`"));
    assert!(listed(Reason::Malformed, None, "missing field `id`"));
    assert_eq!(entries.len(), 20, "{entries:#?}");

    let set = PackedSet::open(&out).unwrap();
    let sources: Vec<_> = (0..4).map(|i| set.info(i).unwrap().source).collect();
    assert_eq!(
        sources,
        ["a.jpg", "b.png", "C:\\data\\sub\\..\\e.jpg", "sub/d.png"]
    );
    assert_eq!(
        set.categories().iter().map(|c| c.id).collect::<Vec<_>>(),
        [2, 44]
    );
    let kept = set.instances(0).unwrap();
    assert_eq!(
        kept.iter().map(|i| i.id).collect::<Vec<_>>(),
        [1, 5, 9, 10, 11, 14]
    );
    assert_eq!(kept[0].mask.as_ref().unwrap().area(), 400);
    assert_eq!(kept[1].bbox, [90., 70., 10., 10.]);
    assert!(kept[2..].iter().all(|instance| instance.mask.is_none()));
    assert!(kept[5].crowd && !kept[4].crowd);
    let bottle = &set.instances(1).unwrap()[0];
    assert_eq!(
        (bottle.category, bottle.mask.as_ref().unwrap().area()),
        (1, 2000)
    );
}

#[test]
fn labels_made_without_exif_keep_their_picture() {
    let folder = TempDir::new().unwrap();
    save(folder.path().join("plain.jpg"), 40, 24);
    let bytes = fs::read(folder.path().join("plain.jpg")).unwrap();
    // 6: to be turned by a quarter. 3: by a half, which its size does not tell.
    for (orientation, width, height, boxes, expected) in [
        (6, 40, 24, 1, Some(Reason::ExifIgnored)),
        (6, 24, 40, 1, None),
        (3, 40, 24, 1, Some(Reason::ExifUnclear)),
        (3, 40, 24, 0, None),
    ] {
        let mut turned = bytes.clone();
        let mut exif =
            *b"\xff\xe1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0";
        exif[29] = orientation;
        turned.splice(2..2, exif);
        fs::write(folder.path().join("turned.jpg"), turned).unwrap();
        let labels = folder.path().join("labels.json");
        let image = json!({"id": 1, "file_name": "turned.jpg", "width": width, "height": height});
        let object = json!({"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]});
        let document = json!({
            "images": [image],
            "annotations": vec![object; boxes],
            "categories": [{"id": 1, "name": "thing"}]
        });
        fs::write(&labels, document.to_string()).unwrap();
        let out = folder
            .path()
            .join(format!("out-{orientation}-{width}-{boxes}"));
        assert!(run(&[&labels, &out]).status.success());
        assert_eq!(
            PackedSet::open(&out).unwrap().image_size(0).unwrap(),
            (width, height)
        );
        let listed: Vec<_> = quarantine(&out)
            .iter()
            .map(|q| (q.reason, q.kept))
            .collect();
        let expected: Vec<_> = expected.map(|reason| (reason, true)).into_iter().collect();
        assert_eq!(listed, expected, "orientation {orientation}, {boxes} boxes");
    }
}
