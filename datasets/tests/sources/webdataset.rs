//! WebDataset archives.

use super::*;

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
