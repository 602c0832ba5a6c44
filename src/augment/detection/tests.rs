use super::super::tests::picture;
use super::*;
use crate::augment::JitterConfig;
use intertwine_flow::random::{stream, Purpose};
use proptest::prelude::*;

fn small() -> DetectionAugmentConfig {
    DetectionAugmentConfig {
        size: 64,
        patch: 8,
        ..DetectionAugmentConfig::default()
    }
}

fn apply(
    config: DetectionAugmentConfig,
    picture: &RgbImage,
    objects: &[Object],
    index: u64,
) -> TrainImage {
    let mut out = TrainImage::default();
    let mut rng = stream(1, Purpose::Augment, 0, index);
    DetectionAugment::new(config)
        .unwrap()
        .apply(
            picture,
            objects,
            &mut rng,
            &mut DetectionScratch::default(),
            &mut out,
        )
        .unwrap();
    out
}

fn rectangle_mask(width: u32, height: u32, [x0, y0, x1, y1]: [u32; 4]) -> Rle {
    let mut bitmap = vec![0; (width * height) as usize];
    for y in y0..y1 {
        for x in x0..x1 {
            bitmap[(y * width + x) as usize] = 1;
        }
    }
    Rle::encode(&bitmap, height, width)
}

pub(super) fn rectangle(width: u32, height: u32, corners: [u32; 4]) -> Object {
    let mask = Some(rectangle_mask(width, height, corners));
    Object {
        bbox: corners.map(|v| v as f32),
        class: 3,
        mask,
    }
}

/// A 128 x 96 picture halves into the upper 64 x 48 pixels; the rest is padding.
#[test]
fn plain_letterboxes() {
    let out = apply(
        small().plain(),
        &picture(128, 96),
        &[rectangle(128, 96, [16, 32, 80, 96])],
        0,
    );
    assert_eq!(out.boxes, [[8.0, 16.0, 40.0, 48.0]]);
    assert_eq!(out.classes, [3]);
    let mask = out.masks[0].as_ref().unwrap();
    let expected: Vec<u8> = (0..256)
        .map(|i| u8::from((4..12).contains(&(i / 16)) && (2..10).contains(&(i % 16))))
        .collect();
    assert_eq!(mask, &expected);
    let rgb = out.view.to_rgb();
    assert!((48..64).all(|y| (0..64).all(|x| rgb.get_pixel(x, y).0 == [114; 3])));
    assert_eq!(
        out.view.geometry(),
        crate::field::Geometry::whole(Window::centred(0.35))
    );
}

/// A square picture at its own size is not touched at all.
#[test]
fn plain_is_exact_at_its_own_size() {
    let p = picture(64, 64);
    assert_eq!(apply(small().plain(), &p, &[], 0).view.to_rgb(), p);
}

proptest! {
    /// The picture is black but for a white rectangle. Wherever the augmentation puts it, box and
    /// mask lie where the white pixels are.
    #[test]
    fn labels_follow_pixels(
        (width, height) in (60u32..200, 60u32..200),
        (x, y) in (0u32..30, 0u32..30),
        (w, h) in (20u32..30, 20u32..30),
        index: u64,
    ) {
        let corners = [x, y, x + w, y + h];
        let white = RgbImage::from_fn(width, height, |px, py| {
            let inside = (x..x + w).contains(&px) && (y..y + h).contains(&py);
            image::Rgb([if inside { 255 } else { 0 }; 3])
        });
        let jitter = JitterConfig { probability: 0.0, ..JitterConfig::default() };
        let config = DetectionAugmentConfig { jitter, padding: [0; 3], min_visible: 0.0, ..small() };
        let out = apply(config, &white, &[rectangle(width, height, corners)], index);
        let rgb = out.view.to_rgb();
        let bright = |x: u32, y: u32| rgb.get_pixel(x, y)[0] >= 128;
        let seen = (0..64).flat_map(|y| (0..64).map(move |x| (x, y))).filter(|&(x, y)| bright(x, y));
        let found = seen.fold(None, |found, (x, y)| {
            let [x0, y0, x1, y1] = found.unwrap_or([f32::MAX, f32::MAX, 0.0, 0.0]);
            let (x, y) = (x as f32, y as f32);
            Some([x0.min(x), y0.min(y), x1.max(x + 1.0), y1.max(y + 1.0)])
        });
        if let (Some(found), [bbox]) = (found, &out.boxes[..]) {
            // Slivers at the border of the view are half dark everywhere.
            let sliver = bbox[2] - bbox[0] < 3.0 || bbox[3] - bbox[1] < 3.0;
            for (a, b) in found.iter().zip(bbox) {
                prop_assert!(sliver || (a - b).abs() <= 1.1, "{found:?} {bbox:?}");
            }
            prop_assert!(bbox[0] >= 0.0 && bbox[1] >= 0.0 && bbox[2] <= 64.0 && bbox[3] <= 64.0);
            let mask = out.masks[0].as_ref().unwrap();
            for (i, &m) in mask.iter().enumerate() {
                let (mx, my) = (i as u32 % 16 * 4, i as u32 / 16 * 4);
                let covered = (my..my + 4).flat_map(|y| (mx..mx + 4).map(move |x| (x, y))).filter(|&(x, y)| bright(x, y)).count();
                // Edges may fall a pixel apart.
                if covered == 16 {
                    prop_assert_eq!(m, 1);
                } else if covered == 0 {
                    prop_assert_eq!(m, 0);
                }
            }
        } else if let Some([x0, y0, x1, y1]) = found {
            prop_assert!((x1 - x0) * (y1 - y0) < 16.0, "a visible object was lost");
        }
    }
}

#[test]
fn a_box_that_is_seen_whole_always_remains() {
    let config = DetectionAugmentConfig {
        scale: [2.0, 2.0],
        aspect: 0.0,
        flip: 0.0,
        min_visible: 1.0,
        ..small()
    };
    for index in 0..20 {
        let object = rectangle(100, 100, [40, 40, 60, 60]);
        let out = apply(config.clone(), &picture(100, 100), &[object], index);
        let rect = out.view.geometry().rect;
        let inside = |from: f64, length: f64| from <= 0.4 && from + length >= 0.6;
        let whole = inside(rect.x, rect.w) && inside(rect.y, rect.h);
        assert_eq!(out.boxes.len(), usize::from(whole), "{rect:?}");
    }
}

#[test]
fn boxes_of_which_too_little_remains_are_dropped() {
    // Magnified twice, the crop shows a quarter of the picture at some place.
    let config = DetectionAugmentConfig {
        scale: [2.0, 2.0],
        aspect: 0.0,
        flip: 0.0,
        ..small()
    };
    let (mut kept, mut dropped) = (0, 0);
    for index in 0..200 {
        let out = apply(
            config.clone(),
            &picture(100, 100),
            &[rectangle(100, 100, [0, 0, 50, 50])],
            index,
        );
        let rect = out.view.geometry().rect;
        let visible = (0.5 - rect.x).max(0.0) * (0.5 - rect.y).max(0.0) / 0.25;
        assert_eq!(out.boxes.len(), usize::from(visible > 0.3), "{rect:?}");
        assert_eq!(
            (out.classes.len(), out.masks.len()),
            (out.boxes.len(), out.boxes.len())
        );
        if visible > 0.3 {
            kept += 1;
        } else {
            dropped += 1;
        }
    }
    assert!(kept > 20 && dropped > 20);
}

#[test]
fn bad_boxes_are_left_out_and_bad_masks_named() {
    let object = |bbox| Object {
        bbox,
        class: 0,
        mask: None,
    };
    let bad = [
        object([f32::NAN, 0.0, 5.0, 5.0]),
        object([0.0, 0.0, f32::INFINITY, 5.0]),
        object([5.0, 5.0, 5.0, 9.0]),
        object([9.0, 9.0, 5.0, 5.0]),
        object([-20.0, -20.0, -5.0, -5.0]),
        object([10.0, 10.0, 40.0, 40.0]),
    ];
    let out = apply(small().plain(), &picture(64, 64), &bad, 0);
    assert_eq!(out.boxes, [[10.0, 10.0, 40.0, 40.0]]);
    assert_eq!(out.masks, [None]);

    let wrong = Object {
        mask: Some(rectangle_mask(30, 20, [0, 0, 9, 9])),
        ..object([0.0, 0.0, 9.0, 9.0])
    };
    let error = DetectionAugment::new(small()).unwrap().apply(
        &picture(64, 32),
        &[wrong],
        &mut stream(1, Purpose::Augment, 0, 0),
        &mut DetectionScratch::default(),
        &mut TrainImage::default(),
    );
    // The crop may have lost the object, and then its mask does not matter.
    if let Err(error) = error {
        assert_eq!(
            error,
            AugmentError::MaskSize {
                found: (30, 20),
                expected: (64, 32)
            }
        );
    }
}

/// With both keys at 1 every picture is a mosaic with objects pasted on it; with both at 0, none, and `other` is not
/// asked.
#[test]
fn pictures_are_composed_as_often_as_the_keys_say() {
    let own = Labelled {
        image: picture(40, 30),
        objects: vec![rectangle(40, 30, [4, 4, 20, 20])],
    };
    let compose = |mosaic, copy_paste| {
        let config = DetectionAugmentConfig {
            mosaic,
            copy_paste,
            ..small()
        };
        let augment = DetectionAugment::new(config).unwrap();
        let mut asked = 0;
        let mut rng = stream(1, Purpose::Augment, 0, 7);
        let other = |_: &mut ChaCha8Rng| {
            asked += 1;
            Ok::<_, AugmentError>(own.clone())
        };
        let composed = augment
            .compose(&own.image, &own.objects, &mut rng, other)
            .unwrap();
        (composed, asked)
    };
    assert_eq!(compose(0.0, 0.0), (None, 0));
    let (mosaic, asked) = compose(1.0, 0.0);
    let mosaic = mosaic.unwrap();
    assert_eq!(
        (mosaic.image.dimensions(), mosaic.objects.len(), asked),
        ((80, 60), 4, 3)
    );
    let (pasted, asked) = compose(0.0, 1.0);
    let pasted = pasted.unwrap();
    assert_eq!((pasted.image.dimensions(), asked), ((40, 30), 1));
    for object in &pasted.objects {
        assert_eq!(object.mask.as_ref().unwrap().size(), (30, 40));
    }
    assert_eq!(compose(1.0, 1.0).1, 4);
}

#[test]
fn a_mask_that_is_not_its_pictures_is_not_composed() {
    let config = DetectionAugmentConfig {
        mosaic: 1.0,
        ..small()
    };
    let wrong = Labelled {
        image: picture(40, 30),
        objects: vec![rectangle(30, 20, [0, 0, 9, 9])],
    };
    let mut rng = stream(1, Purpose::Augment, 0, 0);
    let augment = DetectionAugment::new(config).unwrap();
    let error = augment
        .compose(&picture(8, 8), &[], &mut rng, |_| {
            Ok::<_, AugmentError>(wrong.clone())
        })
        .unwrap_err();
    let expected = AugmentError::MaskSize {
        found: (30, 20),
        expected: (40, 30),
    };
    assert_eq!(error, expected);
}

#[test]
fn impossible_values_name_their_key() {
    let check = |change: fn(&mut DetectionAugmentConfig)| {
        let mut config = small();
        change(&mut config);
        DetectionAugment::new(config).unwrap_err().key
    };
    assert_eq!(check(|c| c.size = 60), "size");
    assert_eq!(check(|c| c.mask_stride = 7), "mask_stride");
    assert_eq!(check(|c| c.scale = [0.0, 1.0]), "scale");
    assert_eq!(check(|c| c.window = 1.5), "window");
    assert_eq!(check(|c| c.mosaic = -0.1), "mosaic");
    assert_eq!(check(|c| c.copy_paste = 1.1), "copy_paste");
}
