//! The drawn sample set, from outside.

use intertwine_datasets::scenes::{
    draw_scene, write_coco, write_pictures, SceneConfig, SceneError, CLASSES,
};
use intertwine_rle::Rle;
use proptest::prelude::*;
use std::collections::HashSet;

fn at(difficulty: f32) -> SceneConfig {
    SceneConfig {
        difficulty,
        ..SceneConfig::default()
    }
}

/// Pins the pictures and masks to the bit: a change here changes every number measured on the set.
#[test]
fn golden_scenes() {
    let mut hash = blake3::Hasher::new();
    for (size, difficulty, index) in [
        (96, 0.3, 0),
        (96, 0.0, 1),
        (96, 1.0, 2),
        (33, 0.5, 3),
        (256, 0.7, 1 << 40),
    ] {
        let scene = draw_scene(
            &SceneConfig {
                size,
                ..at(difficulty)
            },
            7,
            index,
        );
        hash.update(scene.image.as_raw());
        for object in &scene.objects {
            hash.update(&[object.class as u8]);
            hash.update(&object.mask);
        }
    }
    assert_eq!(hash.finalize().to_hex()[..16], *"0e111faa3fa7615b");
}

#[test]
fn a_scene_depends_on_seed_and_index() {
    let config = at(0.5);
    let pictures: HashSet<Vec<u8>> = [(1, 0), (1, 1), (2, 0), (2, 1)]
        .map(|(seed, index)| draw_scene(&config, seed, index).image.into_raw())
        .into();
    assert_eq!(pictures.len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn masks_fit_their_boxes_and_never_overlap(
        seed: u64, index: u64, size in 32u32..150, most in 1u32..9, classes in 1usize..=8, difficulty in 0f32..=1.0,
    ) {
        let config = SceneConfig { size, min_objects: 1, max_objects: most, classes, difficulty };
        let scene = draw_scene(&config, seed, index);
        prop_assert_eq!(scene.image.dimensions(), (size, size));
        prop_assert!(scene.objects.len() <= most as usize);
        let mut taken = vec![0u8; (size * size) as usize];
        for object in &scene.objects {
            prop_assert!(object.class < classes);
            prop_assert!(object.mask.iter().all(|&m| m <= 1));
            let expected = Rle::encode(&object.mask, size, size).bbox();
            prop_assert_eq!(object.bbox.map(f64::from), expected);
            prop_assert!(object.bbox[2] >= 1.0 && object.bbox[3] >= 1.0);
            for (taken, m) in taken.iter_mut().zip(&object.mask) {
                *taken += m;
                prop_assert!(*taken <= 1, "two objects own a pixel");
            }
        }
    }
}

#[test]
fn classes_are_balanced_and_objects_have_a_fair_size() {
    let config = SceneConfig::default();
    let (mut counts, mut area, mut objects) = ([0u32; CLASSES.len()], 0, 0);
    for index in 0..600 {
        let scene = draw_scene(&config, 3, index);
        assert!(!scene.objects.is_empty(), "scene {index} is empty");
        for object in scene.objects {
            counts[object.class] += 1;
            area += object.mask.iter().map(|&m| u64::from(m)).sum::<u64>();
            objects += 1;
        }
    }
    // 1 to 5 objects, a few of which find no room.
    let mean = f64::from(objects) / 600.0;
    assert!((2.6..3.1).contains(&mean), "{mean} objects in a scene");
    let expected = f64::from(objects) / CLASSES.len() as f64;
    for (class, count) in CLASSES.iter().zip(counts) {
        // Five standard deviations of a binomial count of about 220.
        assert!(
            (f64::from(count) - expected).abs() < 75.0,
            "{count} of class {class}, expected {expected}"
        );
    }
    let share = area as f64 / f64::from(objects) / (96.0 * 96.0);
    assert!(
        (0.02..0.08).contains(&share),
        "an object takes {share} of its picture"
    );
}

/// Masks and picture are of the same place: at difficulty 0 an object's mean colour differs from that of
/// the few pixels around it.
#[test]
fn objects_stand_out_where_their_masks_say() {
    let config = SceneConfig {
        max_objects: 1,
        ..at(0.0)
    };
    let size = config.size as i32;
    let mut told = 0;
    for index in 0..100 {
        let scene = draw_scene(&config, 11, index);
        let mask = &scene.objects[0].mask;
        let inside = |x: i32, y: i32| {
            (0..size).contains(&x) && (0..size).contains(&y) && mask[(y * size + x) as usize] == 1
        };
        let (mut sums, mut counts) = ([[0f64; 3]; 2], [0f64; 2]);
        for (x, y, pixel) in scene.image.enumerate_pixels() {
            let (x, y) = (x as i32, y as i32);
            if (-3..=3).any(|dy| (-3..=3).any(|dx| inside(x + dx, y + dy))) {
                let side = usize::from(inside(x, y));
                counts[side] += 1.0;
                for (sum, &value) in sums[side].iter_mut().zip(&pixel.0) {
                    *sum += f64::from(value);
                }
            }
        }
        let difference = (0..3)
            .map(|k| (sums[0][k] / counts[0] - sums[1][k] / counts[1]).abs())
            .fold(0.0, f64::max);
        told += usize::from(difference > 25.0);
    }
    assert!(told >= 90, "only {told} of 100 objects stand out");
}

#[test]
fn a_coco_set_on_disk_says_what_was_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let config = at(0.4);
    let written = write_coco(dir.path(), &config, 5, 10..16).unwrap();
    assert_eq!(written.pictures, 6);
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&written.annotations).unwrap()).unwrap();
    let list = |key: &str| json[key].as_array().unwrap().clone();
    let names: Vec<_> = list("categories")
        .iter()
        .map(|c| c["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, CLASSES);
    let annotations = list("annotations");
    assert_eq!(annotations.len(), written.objects);
    let ids: HashSet<_> = annotations
        .iter()
        .map(|a| a["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), annotations.len());
    for (image, index) in list("images").iter().zip(10..) {
        let scene = draw_scene(&config, 5, index);
        let path = written.images.join(image["file_name"].as_str().unwrap());
        assert_eq!(image::open(path).unwrap().into_rgb8(), scene.image);
        let mine: Vec<_> = annotations
            .iter()
            .filter(|a| a["image_id"] == image["id"])
            .collect();
        assert_eq!(mine.len(), scene.objects.len());
        for (annotation, object) in mine.into_iter().zip(&scene.objects) {
            assert_eq!(
                annotation["category_id"].as_u64(),
                Some(object.class as u64 + 1)
            );
            let counts = annotation["segmentation"]["counts"].as_str().unwrap();
            assert_eq!(
                Rle::from_string(96, 96, counts).unwrap().decode(),
                object.mask
            );
            assert_eq!(annotation["bbox"], serde_json::json!(object.bbox));
            assert_eq!(
                annotation["area"].as_u64(),
                Some(object.mask.iter().map(|&m| u64::from(m)).sum())
            );
        }
    }
    // Written again: the same bytes, and nothing left over beside them.
    let before = std::fs::read(&written.annotations).unwrap();
    write_coco(dir.path(), &config, 5, 10..16).unwrap();
    assert_eq!(std::fs::read(&written.annotations).unwrap(), before);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(&written.images).unwrap().count(), 6);
}

#[test]
fn bad_configurations_and_places_are_errors_that_say_what_to_mend() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (
            SceneConfig { size: 8, ..at(0.5) },
            "size is 8, expected 32 to 1024 pixels",
        ),
        (
            SceneConfig {
                size: 100_000,
                ..at(0.5)
            },
            "size is 100000",
        ),
        (
            SceneConfig {
                max_objects: 33,
                ..at(0.5)
            },
            "max_objects is 33, expected 1 to 32",
        ),
        (
            SceneConfig {
                min_objects: 0,
                ..at(0.5)
            },
            "min_objects is 0",
        ),
        (
            SceneConfig {
                min_objects: 6,
                ..at(0.5)
            },
            "min_objects is 6, expected 1 to max_objects",
        ),
        (
            SceneConfig {
                classes: 9,
                ..at(0.5)
            },
            "classes is 9, expected 1 to 8",
        ),
        (at(f32::NAN), "difficulty is NaN, expected 0 to 1"),
    ];
    for (config, message) in cases {
        let error = write_pictures(dir.path(), &config, 0, 0..1)
            .unwrap_err()
            .to_string();
        assert!(error.contains(message), "{error}");
    }
    let empty = write_coco(dir.path(), &at(0.5), 0, 3..3).unwrap_err();
    assert!(
        matches!(empty, SceneError::Config { key: "range", .. }),
        "{empty}"
    );

    let file = dir.path().join("file");
    std::fs::write(&file, b"in the way").unwrap();
    let error = write_pictures(&file, &at(0.5), 0, 0..1)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("cannot write") && error.contains("file"),
        "{error}"
    );
}
