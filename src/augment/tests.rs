//! Colours, blur and resizing against Pillow, torchvision, colorsys and NumPy (tests/peers/augment_expected.py).

use super::expected::*;
use super::{Adjustment, ColourPlan};
use crate::field::{Canvas, Filter, Located, PixelBox, Resampler, View, Window};
use image::RgbImage;
use intertwine_kernels::photometric::{Buffers, Chain, Colour};

/// Nothing is done, and values stay in `[0, 1]`.
const PLAIN: Chain = Chain {
    adjustments: &[],
    colour: Colour::Exact,
    blur: None,
    solarise: None,
    mean: [0.0; 3],
    std: [1.0; 3],
};

/// The picture of augment_expected.py.
pub(in crate::augment) fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([0u32, 1, 2].map(|c| {
            let smooth = (x * (11 + 29 * c) + y * (7 + 53 * c) + c * 40) % 256;
            let noise = (x * x * 31 + y * y * 17 + x * y * 13 + c * 101) % 97;
            ((smooth * 2 + noise * 3) / 3 % 256) as u8
        }))
    })
}

/// What the chain makes of a picture: interleaved values from 0 to 255.
fn rendered(picture: &RgbImage, chain: &Chain) -> Vec<f32> {
    let whole = Located::whole(picture, Window::WHOLE);
    let (width, height) = picture.dimensions();
    let (mut resampler, mut view) = (Resampler::default(), View::default());
    whole
        .resize(
            width,
            height,
            Filter::Bicubic,
            &mut resampler,
            Canvas::default(),
        )
        .render(chain, 1, &mut Buffers::default(), &mut view);
    view.patches().iter().map(|v| v * 255.0).collect()
}

fn small() -> RgbImage {
    RgbImage::from_raw(6, 4, PICTURE.to_vec()).unwrap()
}

/// The largest difference between values.
fn difference(found: &[f32], expected: impl IntoIterator<Item = f32>) -> f32 {
    found
        .iter()
        .zip(expected)
        .map(|(found, expected)| (found - expected).abs())
        .fold(0.0, f32::max)
}

/// The order of the jitter.
fn jittered(order: [Adjustment; 4], grey: bool) -> Vec<f32> {
    let plan = ColourPlan {
        jitter: Some(order),
        grey,
    };
    let mut list = ColourPlan::LIST;
    let adjustments = plan.adjustments(&mut list);
    rendered(
        &small(),
        &Chain {
            adjustments,
            ..PLAIN
        },
    )
}

fn only(adjustment: Adjustment) -> Vec<f32> {
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
    let pixels = [102, 102, 102, 255, 0, 0, 0, 0, 0, 255, 255, 0];
    let picture = RgbImage::from_raw(4, 1, pixels.to_vec()).unwrap();
    let adjustments = [Adjustment::Hue(1.0 / 3.0)];
    let found = rendered(
        &picture,
        &Chain {
            adjustments: &adjustments,
            ..PLAIN
        },
    );
    // grey stays, red becomes green, black stays, yellow becomes cyan
    let expected = [102, 102, 102, 0, 255, 0, 0, 0, 0, 0, 255, 255].map(|v: u8| f32::from(v));
    assert!(difference(&found, expected) < 0.01, "{found:?}");
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
    assert!(a.iter().zip(&b).any(|(a, b)| (a - b).abs() > 5.0));
}

#[test]
fn grey_matches_pillow() {
    let adjustments = [Adjustment::Saturation(0.0)];
    let found = rendered(
        &small(),
        &Chain {
            adjustments: &adjustments,
            ..PLAIN
        },
    );
    assert!(difference(&found, GREY.iter().flat_map(|&g| [f32::from(g); 3])) <= 0.51);
}

#[test]
fn solarise_matches_pillow() {
    let found = rendered(
        &small(),
        &Chain {
            solarise: Some(128.0),
            ..PLAIN
        },
    );
    assert!(difference(&found, SOLARISE_128.map(f32::from)) < 1e-3);
}

#[test]
fn blur_matches_torchvisions_formula() {
    let p = picture(12, 10);
    let red = |sigma| {
        let blurred = rendered(
            &p,
            &Chain {
                blur: Some((sigma, 9)),
                ..PLAIN
            },
        );
        blurred.into_iter().step_by(3).collect::<Vec<_>>()
    };
    for (sigma, expected) in [(0.7, &BLUR_0_7), (2.0, &BLUR_2_0)] {
        let difference = difference(&red(sigma), expected.iter().copied());
        assert!(difference < 0.05, "sigma {sigma}: {difference}");
    }
    let sharp = p.as_raw().iter().step_by(3).map(|&v| f32::from(v));
    assert!(
        difference(&red(0.1), sharp) < 1e-3,
        "a sigma of a tenth of a pixel is no blur"
    );
}

/// The crop is cut out first: pixels beyond it are not seen, as in torchvision.
#[test]
fn bicubic_matches_pillow() {
    let large = picture(60, 44);
    let crop = |x, y, w, h| PixelBox { x, y, w, h };
    let cases: [(_, _, &[u8]); 3] = [
        (crop(7, 5, 41, 33), (9, 8), &BICUBIC_DOWN),
        (crop(20, 11, 5, 7), (9, 8), &BICUBIC_UP),
        (crop(1, 2, 57, 42), (19, 17), &BICUBIC_LARGE),
    ];
    for (crop, (width, height), expected) in cases {
        let region = Located::whole(&large, Window::WHOLE).crop(crop).unwrap();
        let mut resampler = Resampler::default();
        let canvas = Canvas::default();
        let canvas = region
            .clone()
            .resize(width, height, Filter::Bicubic, &mut resampler, canvas);
        let found = canvas.canvas().to_rgb().into_raw();
        // A sum next to a half may be rounded the other way.
        let off = found.iter().zip(expected).filter(|(a, b)| a != b);
        let off: Vec<u8> = off.map(|(a, b)| a.abs_diff(*b)).collect();
        let few = off.len() * 500 <= found.len();
        assert!(few && off.iter().all(|&d| d == 1), "{crop:?}: {off:?}");
        let mirrored = region.flip().resize(
            width,
            height,
            Filter::Bicubic,
            &mut resampler,
            Canvas::default(),
        );
        let expected = image::imageops::flip_horizontal(&canvas.canvas().to_rgb());
        assert_eq!(mirrored.canvas().to_rgb(), expected, "{crop:?}");
    }
}

/// Everything after the crop, as torchvision does it on pictures of floats.
#[test]
fn whole_chain_matches_torchvision_on_floats() {
    use Adjustment::*;
    let chain = Chain {
        adjustments: &[Brightness(1.2), Hue(0.06), Contrast(0.8), Saturation(1.3)],
        blur: Some((1.1, 9)),
        solarise: Some(128.0),
        ..PLAIN
    };
    let found = rendered(&picture(12, 10), &chain);
    let difference = difference(&found, CHAIN_OF_FLOATS);
    assert!(difference < 0.05, "{difference}");
}
