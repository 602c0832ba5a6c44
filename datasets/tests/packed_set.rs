//! Packing and reading from outside: nothing changes on the way, and nothing is lost.

mod support;

use std::fs;
use std::path::Path;

use image::RgbImage;
use intertwine_datasets::pixels::PixelEncoder;
use intertwine_datasets::shard::{EncodedRecord, ShardWriter};
use intertwine_datasets::{
    pack, DatasetError, Encoding, Existing, PackOptions, PackedSet, RecordInfo, Resize, Scratch,
    Source,
};
use proptest::prelude::*;
use support::{draw, labelled, pack_quietly, save, small_set};

/// Every file below a folder with its contents.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_labelled_set_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let set = small_set(folder.path());
    assert_eq!(set.len(), 3);
    let categories: Vec<_> = set
        .categories()
        .iter()
        .map(|c| (c.id, c.name.as_str()))
        .collect();
    assert_eq!(categories, [(3, "car"), (90, "toothbrush")]);

    let first = set.read(0).unwrap();
    assert_eq!(first.image, draw(12, 9, 0));
    let expected = RecordInfo {
        image_id: 10,
        source: "0.png".into(),
        original_size: (12, 9),
        label: None,
    };
    assert_eq!(
        (&first.info, set.info(0).unwrap()),
        (&expected, expected.clone())
    );
    let [car] = first.instances.as_slice() else {
        panic!("{:?}", first.instances)
    };
    assert_eq!(
        (car.id, car.category, car.bbox, car.area, car.crowd),
        (1, 0, [1., 2., 5., 6.], 21.5, false)
    );
    let mask = car.mask.as_ref().unwrap();
    assert_eq!(
        (mask.size(), mask.area(), mask.bbox()),
        ((9, 12), 30, [1., 2., 5., 6.])
    );

    let crowd = &set.instances(2).unwrap()[0];
    assert_eq!(
        (crowd.id, crowd.category, crowd.crowd, crowd.area),
        (2, 1, true, 16.)
    );
    assert_eq!(crowd.mask.as_ref().unwrap().counts(), [8, 16, 64]);
    assert_eq!(
        (set.image_size(1).unwrap(), set.instance_count(1).unwrap()),
        ((9, 70), 0)
    );
    assert!(matches!(
        set.read(3),
        Err(DatasetError::OutOfRange {
            index: 3,
            len: 3,
            ..
        })
    ));
    assert!(matches!(
        set.image_size(usize::MAX),
        Err(DatasetError::OutOfRange { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any sizes, one pixel wide or high included, through one recycled picture, over several shards.
    #[test]
    fn pixels_are_lossless(sizes in proptest::collection::vec((1u32..90, 1u32..150), 1..6), raw: bool) {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = ShardWriter::create(folder.path(), 1 << 14).unwrap();
        let mut encoder = PixelEncoder::default();
        let encoding = if raw { Encoding::Raw } else { Encoding::Zpix };
        let images: Vec<_> = sizes.iter().zip(0..).map(|(&(w, h), seed)| draw(w, h, seed)).collect();
        for (i, image) in images.iter().enumerate() {
            let info = RecordInfo { image_id: i as u64, source: format!("{i}"), original_size: (1, 1), label: None };
            writer.write(&EncodedRecord::new(image, &info, &[], encoding, 90, &mut encoder).unwrap()).unwrap();
        }
        let shards = writer.finish().unwrap();
        let manifest = serde_json::json!({
            "format": "intertwine packed set", "version": 1, "records": images.len(), "instances": 0, "quarantined": 0,
            "categories": [], "labels": [], "options": PackOptions::default(), "shards": shards,
        });
        fs::write(folder.path().join("manifest.json"), manifest.to_string()).unwrap();
        let set = PackedSet::open(folder.path()).unwrap();
        let (mut image, mut scratch) = (RgbImage::default(), Scratch::default());
        for (i, expected) in images.iter().enumerate() {
            set.read_image_into(i, &mut image, &mut scratch).unwrap();
            prop_assert_eq!(&image, expected);
            prop_assert_eq!(set.image_id(i).unwrap(), i as u64);
        }
        prop_assert_eq!(set.verify().problems.len(), 0);
    }
}

#[test]
fn the_bytes_do_not_depend_on_the_threads() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    for i in 0..150 {
        save(
            &pictures.join(format!("{}/{i}.jpg", i % 3)),
            &draw(40 + i % 17, 33 + i % 5, i),
        );
    }
    fs::write(pictures.join("0/broken.jpg"), "text").unwrap();
    let source = Source {
        classes_from_folders: true,
        ..Source::new(&pictures)
    };
    let options = PackOptions {
        resize: Resize::MinSide(30),
        shard_bytes: 100_000,
        ..PackOptions::default()
    };
    let packed: Vec<_> = [1, 2, 5]
        .map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let out = folder.path().join(format!("set{threads}"));
            pool.install(|| pack_quietly(&source, &options, &out));
            contents(&out)
        })
        .into();
    assert!(packed[0].len() > 4, "several shards");
    assert!(packed[0] == packed[1] && packed[0] == packed[2]);

    let set = PackedSet::open(&folder.path().join("set1")).unwrap();
    assert_eq!(set.labels(), ["0", "1", "2"]);
    let mut sources = Vec::new();
    for i in 0..set.len() {
        let info = set.info(i).unwrap();
        assert_eq!(
            set.image_size(i)
                .unwrap()
                .0
                .min(set.image_size(i).unwrap().1),
            30
        );
        assert_eq!(
            set.labels()[info.label.unwrap() as usize],
            info.source.split('/').next().unwrap()
        );
        assert_eq!(set.label(i).unwrap(), info.label);
        sources.push(info.source);
    }
    assert!(sources.is_sorted() && sources.len() == 150);
}

#[test]
fn jpeg_files_are_kept_as_they_are_unless_changed() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    fs::create_dir(&pictures).unwrap();
    let bytes = support::jpeg(&draw(64, 40, 1));
    fs::write(pictures.join("a.jpg"), &bytes).unwrap();
    fs::write(
        pictures.join("b.jpg"),
        support::jpeg_with_orientation(&draw(64, 40, 1), 6),
    )
    .unwrap();
    save(&pictures.join("c.png"), &draw(64, 40, 1));
    let options = PackOptions {
        encoding: Encoding::Jpeg,
        ..PackOptions::default()
    };
    let out = folder.path().join("set");
    pack_quietly(&Source::new(&pictures), &options, &out);
    let shard = fs::read(out.join("shard-00000.itw")).unwrap();
    assert_eq!(shard[64..64 + bytes.len()], bytes);
    let set = PackedSet::open(&out).unwrap();
    assert_eq!(
        set.read(0).unwrap().image,
        intertwine_datasets::decode(&bytes).unwrap().image
    );
    assert_eq!(set.image_size(1).unwrap(), (40, 64));
    // Compressed once more at quality 90, the drawing stays close.
    let (found, expected) = (set.read(2).unwrap().image, draw(64, 40, 1));
    let difference: u32 = found
        .iter()
        .zip(expected.iter())
        .map(|(a, b)| u32::from(a.abs_diff(*b)))
        .sum();
    assert!(
        difference < 6 * found.len() as u32,
        "mean difference {}",
        f64::from(difference) / found.len() as f64
    );
}

#[test]
fn labels_follow_a_resized_picture() {
    let folder = tempfile::tempdir().unwrap();
    let json = labelled(folder.path());
    save(&folder.path().join("images/0.png"), &draw(24, 18, 0));
    let text = fs::read_to_string(&json).unwrap().replace(
        r#""width": 12, "height": 9"#,
        r#""width": 24, "height": 18"#,
    );
    fs::write(&json, text).unwrap();
    let out = folder.path().join("set");
    let options = PackOptions {
        resize: Resize::MaxSide(12),
        ..PackOptions::default()
    };
    let report = pack_quietly(&Source::new(&json), &options, &out);
    assert!(report.quarantined.is_empty(), "{report:?}");
    let set = PackedSet::open(&out).unwrap();
    let sample = set.read(0).unwrap();
    assert_eq!(
        (sample.image.dimensions(), sample.info.original_size),
        ((12, 9), (24, 18))
    );
    let car = &sample.instances[0];
    assert_eq!((car.bbox, car.area), ([0.5, 1., 2.5, 3.], 21.5 / 4.));
    assert_eq!(car.mask.as_ref().unwrap().size(), (9, 12));
    // 9 x 70 has a long side of 70: 12 / 70 of it.
    assert_eq!(set.image_size(1).unwrap(), (2, 12));
}

#[test]
fn an_output_folder_is_never_lost() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    save(&pictures.join("a.png"), &draw(20, 20, 1));
    let (source, out) = (Source::new(&pictures), folder.path().join("set"));
    let options = PackOptions::default();
    let overwrite = PackOptions {
        existing: Existing::Replace,
        ..PackOptions::default()
    };
    let refused = |options: &PackOptions| {
        pack(&source, options, &out, &|_| {})
            .unwrap_err()
            .to_string()
    };

    // A folder with something else in it, whatever the options.
    fs::create_dir(&out).unwrap();
    fs::write(out.join("thesis.tex"), "years").unwrap();
    assert!(refused(&options).contains("thesis.tex") && refused(&overwrite).contains("thesis.tex"));
    assert_eq!(
        contents(&out),
        [("thesis.tex".to_owned(), b"years".to_vec())]
    );
    fs::remove_file(out.join("thesis.tex")).unwrap();

    // Into the empty folder; then not again; then again on demand, and not over a stranger's file.
    pack_quietly(&source, &options, &out);
    let before = contents(&out);
    assert!(refused(&options).contains("--overwrite"));
    assert_eq!(contents(&out), before);
    save(&pictures.join("b.png"), &draw(20, 20, 2));
    let open = PackedSet::open(&out).unwrap();
    pack_quietly(&source, &overwrite, &out);
    assert_eq!(PackedSet::open(&out).unwrap().len(), 2);
    assert_eq!(
        open.read(0).unwrap().image,
        draw(20, 20, 1),
        "an open set outlives its replacement"
    );
    fs::write(out.join("notes.txt"), "mine").unwrap();
    let before = contents(&out);
    assert!(refused(&overwrite).contains("notes.txt"));
    assert_eq!(contents(&out), before);
    fs::remove_file(out.join("notes.txt")).unwrap();

    // A source that fails half way leaves the old set alone and nothing beside it.
    let before = contents(&out);
    let missing = Source::new(folder.path().join("nowhere"));
    assert!(pack(&missing, &overwrite, &out, &|_| {})
        .unwrap_err()
        .to_string()
        .contains("nowhere"));
    let broken = folder.path().join("broken");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("x.jpg"), "text").unwrap();
    assert!(pack(&Source::new(&broken), &overwrite, &out, &|_| {})
        .unwrap_err()
        .to_string()
        .contains("not-a-picture: 1"));
    assert_eq!(contents(&out), before);
    let beside: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        beside
            .iter()
            .all(|name| !name.to_string_lossy().starts_with('.')),
        "{beside:?}"
    );
}

/// The states a kill can leave behind, made by hand.
#[test]
fn a_killed_run_is_cleared_up() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    save(&pictures.join("a.png"), &draw(20, 20, 1));
    let (source, out, work) = (
        Source::new(&pictures),
        folder.path().join("set"),
        folder.path().join(".set.packing"),
    );

    // Killed while writing: half a shard under a name that no reader takes.
    fs::create_dir_all(work.join("set")).unwrap();
    fs::write(work.join("set/shard-00000.itw.partial"), [0; 1000]).unwrap();
    pack_quietly(&source, &PackOptions::default(), &out);
    assert!(!work.exists());

    // Killed between moving the old set away and the new one in: the old one comes back, and is then in the way.
    fs::create_dir_all(&work).unwrap();
    fs::rename(&out, work.join("old")).unwrap();
    let error = pack(&source, &PackOptions::default(), &out, &|_| {}).unwrap_err();
    assert!(error.to_string().contains("--overwrite"), "{error}");
    assert_eq!(PackedSet::open(&out).unwrap().len(), 1);

    // Another program is at it.
    fs::create_dir_all(&work).unwrap();
    let lock = fs::File::create(work.join("lock")).unwrap();
    lock.lock().unwrap();
    let options = PackOptions {
        existing: Existing::Replace,
        ..PackOptions::default()
    };
    assert!(pack(&source, &options, &out, &|_| {})
        .unwrap_err()
        .to_string()
        .contains("another program"));
    assert_eq!(PackedSet::open(&out).unwrap().len(), 1);
}

#[test]
fn a_hostile_manifest_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(small_set(folder.path()));
    let path = folder.path().join("set/manifest.json");
    let sound: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let error_with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut manifest = sound.clone();
        change(&mut manifest);
        fs::write(&path, manifest.to_string()).unwrap();
        PackedSet::open(&folder.path().join("set"))
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    for name in [
        "../set/shard-00000.itw",
        "/etc/passwd",
        "..",
        ".",
        "",
        "a/b.itw",
        "a\\b.itw",
    ] {
        assert!(
            error_with(&|m| m["shards"][0]["file"] = name.into()).contains("plain file name"),
            "{name}"
        );
    }
    assert!(error_with(&|m| m["shards"][0]["file"] = "gone.itw".into()).contains("gone.itw"));
    assert!(error_with(&|m| m["shards"][0]["records"] = u64::MAX.into()).contains("add up to"));
    assert!(error_with(&|m| {
        m["records"] = 4.into();
        m["shards"][0]["records"] = 4.into();
    })
    .contains("states 4 records"));
    assert!(error_with(
        &|m| m["shards"] = serde_json::json!([sound["shards"][0], sound["shards"][0]])
    )
    .contains("twice"));
    assert!(error_with(&|m| m["version"] = 2.into()).contains("reads version 1"));
    assert!(error_with(&|m| m["format"] = "tar".into()).contains("format"));
    assert!(error_with(&|m| m["recods"] = 1.into()).contains("recods"));
    assert!(error_with(&|m| {
        m["shards"] = serde_json::json!([]);
        m["records"] = 0.into();
        m["instances"] = 0.into();
    })
    .contains("records = 0"));
    fs::write(&path, &fs::read(&path).unwrap()[..40]).unwrap();
    assert!(PackedSet::open(&folder.path().join("set")).is_err());
    // Fewer categories than the labels use: the record is refused, not its index trusted.
    let mut manifest = sound.clone();
    manifest["categories"].as_array_mut().unwrap().truncate(1);
    fs::write(&path, manifest.to_string()).unwrap();
    let set = PackedSet::open(&folder.path().join("set")).unwrap();
    let error = set.instances(2).unwrap_err().to_string();
    assert!(
        error.contains("category 1, the set has 1") && error.contains("2.png"),
        "{error}"
    );
    assert_eq!(set.verify().problems.len(), 1);
}

#[test]
fn a_damaged_record_is_named_and_the_others_read() {
    let folder = tempfile::tempdir().unwrap();
    drop(small_set(folder.path()));
    let shard = folder.path().join("set/shard-00000.itw");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[70] ^= 4; // in the pixels of the first record
    fs::write(&shard, bytes).unwrap();
    let set = PackedSet::open(&folder.path().join("set")).unwrap();
    let error = set.read(0).unwrap_err().to_string();
    for part in [
        "shard-00000.itw",
        "record 0",
        "`0.png`",
        "CRC-32 of the pixels",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(set.instances(0).unwrap().len(), 1);
    assert_eq!(set.read(1).unwrap().image, draw(9, 70, 1));
    let problems = set.verify().problems;
    assert_eq!(
        problems.len(),
        2,
        "the shard's hash and the record: {problems:?}"
    );
}
