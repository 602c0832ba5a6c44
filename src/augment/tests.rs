//! Colours, blur and resizing against Pillow, colorsys and NumPy (tests/peers/augment_expected.py).

use super::blur::{blur, Buffers};
use super::colour::solarise;
use super::expected::*;
use super::{Adjustment, ColourPlan, MultiCrop, MultiCropConfig, Scratch, Views};
use crate::field::{Filter, Located, PixelBox, Resampler, Window};
use image::RgbImage;
use intertwine_flow::random::{stream, Purpose};

/// The picture of augment_expected.py.
pub(super) fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([0u32, 1, 2].map(|c| {
            let smooth = (x * (11 + 29 * c) + y * (7 + 53 * c) + c * 40) % 256;
            let noise = (x * x * 31 + y * y * 17 + x * y * 13 + c * 101) % 97;
            ((smooth * 2 + noise * 3) / 3 % 256) as u8
        }))
    })
}

fn planes(interleaved: &[u8]) -> [Vec<f32>; 3] {
    [0, 1, 2].map(|c| {
        interleaved
            .iter()
            .skip(c)
            .step_by(3)
            .map(|&v| f32::from(v) / 255.0)
            .collect()
    })
}

/// The largest difference in grey levels between planes and expected interleaved values.
fn difference(planes: &[Vec<f32>; 3], expected: impl IntoIterator<Item = f32>) -> f32 {
    expected
        .into_iter()
        .enumerate()
        .map(|(i, e)| (planes[i % 3][i / 3] * 255.0 - e).abs())
        .fold(0.0, f32::max)
}

/// The order of the jitter, the other adjustments left neutral.
fn jittered(order: [Adjustment; 4], grey: bool) -> [Vec<f32>; 3] {
    let mut planes = planes(&PICTURE);
    ColourPlan {
        jitter: Some(order),
        grey,
    }
    .apply(planes.each_mut());
    planes
}

fn only(adjustment: Adjustment) -> [Vec<f32>; 3] {
    use Adjustment::*;
    jittered(
        [Brightness(1.0), adjustment, Contrast(1.0), Hue(0.0)],
        false,
    )
}

#[test]
fn test_picture_is_the_peers() {
    assert_eq!(picture(6, 4).as_raw(), &PICTURE);
}

/// Pillow cuts the fraction off, so it is up to one level darker.
#[test]
fn adjustments_match_pillow() {
    use Adjustment::*;
    let bytes = |values: &[u8]| values.iter().map(|&v| f32::from(v)).collect::<Vec<_>>();
    for (adjustment, expected) in [
        (Brightness(1.3), bytes(&BRIGHTNESS_1_3)),
        (Brightness(0.6), bytes(&BRIGHTNESS_0_6)),
        (Saturation(1.2), bytes(&SATURATION_1_2)),
        (Saturation(0.3), bytes(&SATURATION_0_3)),
    ] {
        let difference = difference(&only(adjustment), expected);
        assert!(difference <= 1.5, "{adjustment:?}: {difference}");
    }
    for (factor, expected) in [(1.4, &CONTRAST_1_4), (0.6, &CONTRAST_0_6)] {
        let ours = jittered(
            [Contrast(factor), Brightness(1.0), Saturation(1.0), Hue(0.0)],
            false,
        );
        let difference = difference(&ours, bytes(expected));
        assert!(difference <= 1.5, "contrast {factor}: {difference}");
    }
}

#[test]
fn hue_matches_colorsys() {
    for (turns, expected) in [(0.1, &HUE_PLUS_0_1), (-0.45, &HUE_MINUS_0_45)] {
        let difference = difference(&only(Adjustment::Hue(turns)), expected.iter().copied());
        assert!(difference < 0.01, "{turns}: {difference}");
    }
}

/// Greys have no hue and pure colours turn into each other, whatever the tie between channels.
#[test]
fn hue_of_greys_and_pure_colours() {
    let mut planes = [
        [0.4, 1.0, 0.0, 1.0],
        [0.4, 0.0, 0.0, 1.0],
        [0.4, 0.0, 0.0, 0.0],
    ]
    .map(Vec::from);
    let plan = [
        Adjustment::Hue(1.0 / 3.0),
        Adjustment::Brightness(1.0),
        Adjustment::Contrast(1.0),
        Adjustment::Saturation(1.0),
    ];
    ColourPlan {
        jitter: Some(plan),
        grey: false,
    }
    .apply(planes.each_mut());
    // grey stays, red becomes green, black stays, yellow becomes cyan
    let expected =
        [0.4, 0.4, 0.4, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0].map(|v: f32| v * 255.0);
    assert!(difference(&planes, expected) < 0.01, "{planes:?}");
}

/// Brightness, hue, contrast, saturation in this order as torchvision does on a Pillow picture, which
/// rounds at each step and holds hue and saturation in a byte each.
#[test]
fn chain_matches_pillow() {
    use Adjustment::*;
    let ours = jittered(
        [Brightness(1.3), Hue(0.08), Contrast(0.7), Saturation(1.2)],
        false,
    );
    let difference = difference(&ours, CHAIN.map(f32::from));
    assert!(difference < 6.0, "{difference}");
}

#[test]
fn order_of_the_jitter_matters() {
    use Adjustment::*;
    // The two would commute if nothing were clipped; some blue is.
    let a = jittered(
        [Brightness(1.4), Contrast(0.6), Saturation(1.0), Hue(0.0)],
        false,
    );
    let b = jittered(
        [Contrast(0.6), Brightness(1.4), Saturation(1.0), Hue(0.0)],
        false,
    );
    assert!(a[2].iter().zip(&b[2]).any(|(a, b)| (a - b).abs() > 0.02));
}

#[test]
fn grey_matches_pillow() {
    let mut planes = planes(&PICTURE);
    ColourPlan {
        jitter: None,
        grey: true,
    }
    .apply(planes.each_mut());
    assert!(difference(&planes, GREY.iter().flat_map(|&g| [f32::from(g); 3])) <= 0.51);
}

#[test]
fn solarise_matches_pillow() {
    let mut planes = planes(&PICTURE);
    planes
        .iter_mut()
        .for_each(|plane| solarise(plane, 128.0 / 255.0));
    assert!(difference(&planes, SOLARISE_128.map(f32::from)) < 1e-3);
}

/// More pixels than a block, and no multiple of the vector width: the same result as pixel by pixel.
#[test]
fn blocks_do_not_show() {
    use Adjustment::*;
    let whole = picture(61, 37);
    let plan = [Brightness(0.9), Saturation(1.1), Hue(-0.07), Contrast(1.0)];
    let mut together = planes(whole.as_raw());
    ColourPlan {
        jitter: Some(plan),
        grey: false,
    }
    .apply(together.each_mut());
    for (i, pixel) in whole.as_raw().chunks_exact(3).enumerate() {
        let mut alone = planes(pixel);
        ColourPlan {
            jitter: Some(plan),
            grey: false,
        }
        .apply(alone.each_mut());
        assert_eq!(
            [0, 1, 2].map(|c| alone[c][0]),
            [0, 1, 2].map(|c| together[c][i]),
            "pixel {i}"
        );
    }
}

#[test]
fn blur_matches_torchvisions_formula() {
    let red: Vec<f32> = picture(12, 10)
        .as_raw()
        .iter()
        .step_by(3)
        .map(|&v| f32::from(v))
        .collect();
    for (sigma, expected) in [(0.7, &BLUR_0_7), (2.0, &BLUR_2_0)] {
        let mut plane = red.clone();
        blur(&mut plane, 12, sigma, 9, &mut Buffers::default());
        for (a, b) in plane.iter().zip(expected) {
            assert!((a - b).abs() < 0.05, "sigma {sigma}: {a} {b}");
        }
    }
    let mut plane = red.clone();
    blur(&mut plane, 12, 0.1, 9, &mut Buffers::default());
    assert_eq!(plane, red, "a sigma of a tenth of a pixel is no blur");
}

/// The crop is cut out first: pixels beyond it are not seen, as in torchvision.
#[test]
fn bicubic_matches_pillow() {
    let large = picture(60, 44);
    let mut resampler = Resampler::default();
    for (crop, expected) in [
        (
            PixelBox {
                x: 7,
                y: 5,
                w: 41,
                h: 33,
            },
            &BICUBIC_DOWN,
        ),
        (
            PixelBox {
                x: 20,
                y: 11,
                w: 5,
                h: 7,
            },
            &BICUBIC_UP,
        ),
    ] {
        let region = Located::whole(&large, Window::WHOLE).crop(crop).unwrap();
        let canvas = region.resize(9, 8, Filter::Bicubic, &mut resampler, Default::default());
        let planes = canvas.canvas().planes().map(<[f32]>::to_vec);
        let difference = difference(&planes, expected.iter().map(|&v| f32::from(v)));
        assert!(difference < 1.01, "{crop:?}: {difference}");
    }
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
