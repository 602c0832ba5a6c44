//! What `inspect` finds: copies, look-alikes, shared pictures, bad labels, empty classes, counts.

mod support;

use std::fs;
use std::path::Path;

use base64::prelude::{Engine, BASE64_STANDARD};
use image::{Rgb, RgbImage};
use intertwine_datasets::{
    inspect, Group, Inspection, PackOptions, PackedSet, Reason, Resize, Source,
};
use support::{pack_quietly, save};

/// Waves in a few directions, others for each seed.
fn waves(width: u32, height: u32, seed: u32) -> RgbImage {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state % 1000) as f32 / 1000.
    };
    let waves: Vec<_> = (0..6)
        .map(|_| [next() * 30., next() * 30., next() * 6.])
        .collect();
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (x as f32 / width as f32, y as f32 / height as f32);
        let wave = |[a, b, c]: &[f32; 3]| (a * x + b * y + c).sin();
        let value = 128. + 20. * waves.iter().map(wave).sum::<f32>();
        Rgb([value as u8, (255. - value) as u8, (value / 2.) as u8])
    })
}

fn look(source: &Source, against: Option<&Source>) -> Inspection {
    inspect(source, against, &PackOptions::default(), &|_| {}).unwrap()
}

fn names(groups: &[Group]) -> Vec<String> {
    let name = |group: &Group| {
        let names = group.named.iter().map(|member| match member.there {
            true => format!("({})", member.name),
            false => member.name.clone(),
        });
        names.collect::<Vec<_>>().join(" ")
    };
    groups.iter().map(name).collect()
}

fn gallery(folder: &Path) -> Source {
    for seed in 0..20 {
        save(
            &folder.join(format!("{seed:02}.png")),
            &waves(160, 120, seed),
        );
    }
    // The same pixels in another file format; smaller and through JPEG; one that nobody would confuse.
    save(&folder.join("copy of 03.bmp"), &waves(160, 120, 3));
    let small = image::imageops::thumbnail(&waves(160, 120, 5), 100, 75);
    save(&folder.join("small 05.jpg"), &small);
    save(
        &folder.join("mirrored 07.png"),
        &image::imageops::flip_horizontal(&waves(160, 120, 7)),
    );
    save(&folder.join("black.png"), &RgbImage::new(90, 90));
    save(&folder.join("also black.png"), &RgbImage::new(80, 90));
    fs::write(folder.join("<b>.png"), "text").unwrap();
    Source::new(folder)
}

#[test]
fn copies_and_look_alikes_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let source = gallery(&folder.path().join("pictures"));
    let found = look(&source, None);
    assert_eq!(found.tally.pictures, 25);
    assert_eq!(names(&found.same), ["03.png copy of 03.bmp"]);
    assert_eq!(names(&found.alike), ["05.png small 05.jpg"]);
    assert_eq!(found.quarantined[0].reason, Reason::NotAPicture);
    assert_eq!(found.tally.sizes, Some([(80, 75), (160, 120)]));
    let bins: Vec<_> = found.tally.short_sides.bins().collect();
    assert_eq!(bins, [(64, 25)]);
    let text = found.to_string();
    for part in [
        "Checked 25 pictures, 80 to 160 wide, 75 to 120 high",
        "64-127: 25",
        "Exactly the same: 2 pictures in 1 groups\n  03.png = copy of 03.bmp",
        "Looking alike: 2 pictures in 1 groups\n  05.png ~ small 05.jpg",
    ] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }

    let html = found.html();
    assert_eq!(html.matches("src=\"data:image/jpeg;base64,").count(), 4);
    assert!(html.contains("&lt;b&gt;.png") && !html.contains("<b>.png"));
    assert!(!html.contains("http"), "everything is in the page");

    // The same for any number of threads.
    let alone = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    assert_eq!(alone.install(|| look(&source, None).html()), html);
}

#[test]
fn pictures_shared_with_another_set_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let train = gallery(&folder.path().join("train"));
    let val = folder.path().join("val");
    for (name, seed) in [("x.png", 30), ("y.png", 2), ("z.png", 31)] {
        save(&val.join(name), &waves(160, 120, seed));
    }
    let found = look(&train, Some(&Source::new(&val)));
    let shared = |groups: &[Group]| {
        let shared: Vec<_> = groups
            .iter()
            .filter(|group| group.is_shared())
            .cloned()
            .collect();
        names(&shared)
    };
    assert_eq!(
        (shared(&found.same), shared(&found.alike)),
        (vec!["02.png (y.png)".into()], vec![])
    );
    assert_eq!(found.others, 3);

    // A packed set, whose pictures have become smaller.
    let packed = folder.path().join("packed");
    let options = PackOptions {
        resize: Resize::MaxSide(90),
        ..PackOptions::default()
    };
    pack_quietly(&Source::new(&val), &options, &packed);
    let found = look(&train, Some(&Source::new(&packed)));
    assert_eq!(
        (shared(&found.same), shared(&found.alike)),
        (vec![], vec!["02.png (y.png)".into()])
    );
    assert!(found
        .to_string()
        .contains("Shared with it, looking alike: 1 pictures in 1 groups"));
    assert!(found.html().contains("other: y.png"));
    // And looked over itself.
    let found = look(
        &Source::new(&packed),
        Some(&Source::new(folder.path().join("packed"))),
    );
    assert_eq!((found.tally.pictures, found.same.len()), (3, 3));
    let nothing = look(&Source::new(&packed), None);
    assert!(!nothing.found_something());
}

#[test]
fn labels_are_counted_and_bad_boxes_drawn() {
    let folder = tempfile::tempdir().unwrap();
    for (i, side) in [(0, 200), (1, 300)] {
        save(
            &folder.path().join(format!("images/{i}.png")),
            &waves(side, side, i),
        );
    }
    let json = r#"{
        "images": [{"id": 1, "file_name": "0.png"}, {"id": 2, "file_name": "1.png"}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "unicorn"}, {"id": 3, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 16, 16]},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [10, 10, 64, 64]},
            {"id": 3, "image_id": 1, "category_id": 3, "bbox": [0, 0, 128, 128]},
            {"id": 4, "image_id": 1, "category_id": 3, "bbox": [150, 150, 100, 100]},
            {"id": 5, "image_id": 2, "category_id": 3, "bbox": [500, 10, 20, 20]},
            {"id": 6, "image_id": 2, "category_id": 3, "bbox": [5, 10, 0, 20]}
        ]}"#;
    let labels = folder.path().join("labels.json");
    fs::write(&labels, json).unwrap();
    let found = look(&Source::new(&labels), None);
    let counts: Vec<_> = found
        .tally
        .classes
        .iter()
        .map(|class| (class.name.as_str(), class.objects, class.pictures))
        .collect();
    assert_eq!(counts, [("cat", 2, 1), ("unicorn", 0, 0), ("dog", 2, 1)]);
    let tally = &found.tally;
    assert_eq!((tally.objects, tally.without_objects), (4, 1));
    assert_eq!(tally.small_medium_large, [1, 2, 1]);
    let bins: Vec<_> = tally.box_sides.bins().collect();
    assert_eq!(bins, [(16, 1), (32, 1), (64, 1), (128, 1)]);
    let reasons: Vec<_> = found.quarantined.iter().map(|entry| entry.reason).collect();
    assert_eq!(
        reasons,
        [Reason::BoxClipped, Reason::BoxOutside, Reason::BoxEmpty]
    );
    let text = found.to_string();
    assert!(
        text.contains("Classes that occur nowhere: unicorn"),
        "{text}"
    );
    assert!(found.html().contains("none: nothing can be learned of it"));
    assert!(found.found_something());
}

/// The small pictures of a page.
fn pictures(html: &str) -> Vec<RgbImage> {
    let parts = html.split("src=\"data:image/jpeg;base64,").skip(1);
    let picture = |part: &str| {
        let bytes = BASE64_STANDARD
            .decode(part.split('"').next().unwrap())
            .unwrap();
        image::load_from_memory(&bytes).unwrap().into_rgb8()
    };
    parts.map(picture).collect()
}

#[test]
fn boxes_in_fractions_of_the_picture_are_drawn_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let grey = RgbImage::from_pixel(320, 160, Rgb([128; 3]));
    save(&folder.path().join("images/a.png"), &grey);
    fs::create_dir(folder.path().join("labels")).unwrap();
    // Clipped at the right; shown at half the size, its left side is at 96 pixels.
    fs::write(folder.path().join("labels/a.txt"), "0 0.9 0.5 0.6 0.5").unwrap();
    let found = look(&Source::new(folder.path()), None);
    assert_eq!(found.quarantined[0].reason, Reason::BoxClipped);
    let [picture] = pictures(&found.html()).try_into().unwrap();
    assert_eq!(picture.dimensions(), (160, 80));
    let red = |x, y| i32::from(picture[(x, y)][0]) - i32::from(picture[(x, y)][1]);
    assert!(red(96, 40) > 60, "{:?}", picture[(96, 40)]);
    assert!(red(0, 0) < 30 && red(120, 40) < 30);
}

/// `--check` finds in a packed set all that [`PackedSet::verify`] finds.
#[test]
fn a_packed_set_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    for (i, class) in ["cat", "dog"].into_iter().enumerate() {
        let path = folder.path().join("pictures").join(class).join("a.png");
        save(&path, &waves(160, 120, i as u32));
    }
    let out = folder.path().join("set");
    let source = Source {
        classes_from_folders: true,
        ..Source::new(folder.path().join("pictures"))
    };
    pack_quietly(&source, &PackOptions::default(), &out);
    let manifest = out.join("manifest.json");
    let sound: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    let mut changed = sound.clone();
    changed["shards"][0]["blake3"] = "0".repeat(64).into();
    changed["labels"].as_array_mut().unwrap().pop();
    fs::write(&manifest, changed.to_string()).unwrap();

    let problems = PackedSet::open(&out).unwrap().verify().problems;
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    let found = look(&Source::new(&out), None);
    let details: Vec<_> = found
        .quarantined
        .iter()
        .map(|entry| entry.detail.clone())
        .collect();
    assert_eq!(details, problems);
    for (detail, part) in details
        .iter()
        .zip(["BLAKE3", "label 1, the manifest names 1"])
    {
        assert!(detail.contains(part), "{detail}");
    }
    assert_eq!((details.len(), found.tally.pictures), (2, 1));

    let split = Source {
        split: Some("train".into()),
        ..Source::new(&out)
    };
    let error = inspect(&split, None, &PackOptions::default(), &|_| {})
        .err()
        .unwrap();
    assert!(error.to_string().contains("has no splits"), "{error}");
}
