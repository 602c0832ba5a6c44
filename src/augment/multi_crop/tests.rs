//! Views as a whole.

use super::super::tests::picture;
use super::*;
use intertwine_flow::random::{stream, Purpose};

/// On drawn scenes, whose colours are strong; docs/data.md has the figure on photographs.
#[test]
fn fast_views_differ_from_exact_ones_by_less_than_five_levels_on_average() {
    use intertwine_datasets::scenes::{draw_scene, SceneConfig};
    let views = |fast, index| {
        let config = MultiCropConfig {
            fast,
            ..MultiCropConfig::default()
        };
        let scenes = SceneConfig {
            size: 160,
            ..SceneConfig::default()
        };
        let mut rng = stream(9, Purpose::Augment, 0, index);
        let views = MultiCrop::new(config)
            .unwrap()
            .apply(
                &draw_scene(&scenes, 1, index).image,
                &mut rng,
                &mut Scratch::default(),
            )
            .unwrap();
        let all = views.globals.iter().chain(&views.locals);
        all.flat_map(|v| v.to_rgb().into_raw()).collect::<Vec<u8>>()
    };
    let (mut sum, mut count) = (0u64, 0);
    for index in 0..6 {
        let (exact, fast) = (views(false, index), views(true, index));
        sum += exact
            .iter()
            .zip(&fast)
            .map(|(a, b)| u64::from(a.abs_diff(*b)))
            .sum::<u64>();
        count += exact.len();
    }
    let mean = sum as f64 / count as f64;
    assert!(mean > 0.2 && mean < 5.0, "{mean}");
}

fn small_config() -> MultiCropConfig {
    let mut config = MultiCropConfig {
        patch: 8,
        ..MultiCropConfig::default()
    };
    config.globals.size = 48;
    config.locals.size = 24;
    config.locals.count = 4;
    config
}

/// The same picture and stream give the same bits, whatever a worker did before, whoever it is.
#[test]
fn views_depend_on_picture_and_stream_alone() {
    let multi_crop = MultiCrop::new(small_config()).unwrap();
    let (a, b) = (picture(64, 64), picture(70, 31));
    let fresh = |p: &RgbImage, index| {
        multi_crop
            .apply(
                p,
                &mut stream(1, Purpose::Augment, 0, index),
                &mut Scratch::default(),
            )
            .unwrap()
    };
    let expected: Vec<Views> = (0..6)
        .map(|i| fresh(if i % 2 == 0 { &a } else { &b }, i))
        .collect();
    let (mut scratch, mut views) = (Scratch::default(), Views::default());
    for i in (0..6).rev() {
        let p = if i % 2 == 0 { &a } else { &b };
        multi_crop
            .apply_into(
                p,
                &mut stream(1, Purpose::Augment, 0, i),
                &mut scratch,
                &mut views,
            )
            .unwrap();
        let theirs = &expected[i as usize];
        for (view, other) in views
            .globals
            .iter()
            .chain(&views.locals)
            .zip(theirs.globals.iter().chain(&theirs.locals))
        {
            assert_eq!(view.patches(), other.patches());
            assert_eq!(view.geometry(), other.geometry());
        }
    }
}

/// The smallest and the most awkward pictures.
#[test]
fn any_picture_gives_finite_views() {
    let multi_crop = MultiCrop::new(small_config()).unwrap();
    let mut scratch = Scratch::default();
    for (w, h) in [(1, 1), (1, 300), (300, 1), (2, 3), (333, 5)] {
        for index in 0..4 {
            let mut rng = stream(2, Purpose::Augment, 0, index);
            let views = multi_crop
                .apply(&picture(w, h), &mut rng, &mut scratch)
                .unwrap();
            for view in views.globals.iter().chain(&views.locals) {
                assert!(view
                    .patches()
                    .iter()
                    .all(|v| v.is_finite() && v.abs() < 3.0));
            }
        }
    }
    let error = multi_crop.apply(
        &RgbImage::new(0, 5),
        &mut stream(2, Purpose::Augment, 0, 0),
        &mut scratch,
    );
    assert!(error.is_err());
}

/// Probabilities hold: how many of 2,000 views are mirrored, and differ in window between views.
#[test]
fn flips_and_windows_are_drawn_per_view() {
    let draw = |shared| {
        let mut config = small_config();
        config.window.shared = shared;
        let multi_crop = MultiCrop::new(config).unwrap();
        let (p, mut scratch, mut views) = (picture(16, 16), Scratch::default(), Views::default());
        let (mut flips, mut same) = (0, 0);
        for index in 0..500 {
            multi_crop
                .apply_into(
                    &p,
                    &mut stream(3, Purpose::Augment, 0, index),
                    &mut scratch,
                    &mut views,
                )
                .unwrap();
            let windows: Vec<_> = views
                .globals
                .iter()
                .chain(&views.locals)
                .map(|v| v.geometry().window)
                .collect();
            flips += views.locals.iter().filter(|v| v.geometry().flip).count();
            same += usize::from(windows.windows(2).all(|w| w[0] == w[1]));
        }
        (flips, same)
    };
    let (flips, same) = draw(false);
    assert!((900..1100).contains(&flips), "{flips}");
    assert_eq!(same, 0);
    assert_eq!(draw(true).1, 500);
}

/// Patches are cut in raster order with columns (channel, y, x), and `to_rgb` puts them back.
#[test]
fn patches_are_laid_out_like_a_convolution_weight() {
    let mut config = small_config();
    config.globals.size = 16;
    config.globals.area = [1.0, 1.0];
    (config.flip, config.grey, config.jitter.probability) = (0.0, 0.0, 0.0);
    (
        config.blur.first_global,
        config.blur.other_globals,
        config.solarise.other_globals,
    ) = (0.0, 0.0, 0.0);
    let p = picture(16, 16);
    // The aspect of 1 and the whole area leave one crop: the picture itself.
    config.aspect = [1.0, 1.0];
    let views = MultiCrop::new(config.clone())
        .unwrap()
        .apply(
            &p,
            &mut stream(4, Purpose::Augment, 0, 0),
            &mut Scratch::default(),
        )
        .unwrap();
    let view = &views.globals[0];
    assert_eq!(view.to_rgb(), p);
    // Patch 2 is the lower left one; its green pixel at y = 3, x = 5 is the picture's (5, 11).
    let value = view.patches()[2 * 192 + 64 + 3 * 8 + 5];
    let expected = (f32::from(p.get_pixel(5, 11)[1]) / 255.0 - config.mean[1]) / config.std[1];
    assert!((value - expected).abs() < 1e-5);
}

/// The memory of the views before is used again, and nothing of them is left.
#[test]
fn buffers_are_recycled() {
    let multi_crop = MultiCrop::new(small_config()).unwrap();
    let (mut scratch, mut views) = (Scratch::default(), Views::default());
    let mut addresses = Vec::new();
    for index in 0..3 {
        let mut rng = stream(6, Purpose::Augment, 0, index);
        multi_crop
            .apply_into(&picture(80, 60), &mut rng, &mut scratch, &mut views)
            .unwrap();
        let all = views.globals.iter().chain(&views.locals);
        addresses.push(all.map(|v| v.patches().as_ptr()).collect::<Vec<_>>());
    }
    assert_eq!(addresses[0], addresses[1]);
    assert_eq!(addresses[1], addresses[2]);
}
