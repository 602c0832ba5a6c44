use super::reference::Picture;
use super::*;

const PLAIN: Chain = Chain {
    adjustments: &[],
    colour: Colour::Exact,
    blur: None,
    solarise: None,
    mean: [0.0; 3],
    std: [1.0; 3],
};

fn paths() -> impl Iterator<Item = Path> {
    Path::ALL.into_iter().filter(|p| p.is_supported())
}

/// Repeatable bytes with greys, pure colours and two equal channels, in rows of padded channels; the padding is such
/// that whoever reads it is found out.
fn picture(width: usize, height: usize) -> (Vec<u8>, Picture) {
    let noise = crate::testing::values(3 * width * height, 3);
    let byte = |v: f32| ((v + 1.0) * 127.9) as u8;
    let mut bytes = vec![255; height * 3 * pitch(width)];
    let mut picture = Vec::new();
    for (i, v) in noise.chunks_exact(3).enumerate() {
        let [r, g, b] = [byte(v[0]), byte(v[1]), byte(v[2])];
        let pixel = match i % 7 {
            0 => [r, r, r],
            1 => [r, 0, 0],
            2 => [r, g, g],
            3 => [r, r, b],
            4 => [255, g, 255],
            _ => [r, g, b],
        };
        for (c, v) in pixel.into_iter().enumerate() {
            bytes[(i / width * 3 + c) * pitch(width) + i % width] = v;
        }
        picture.push(pixel.map(f64::from));
    }
    (bytes, picture)
}

/// The picture that patches show, times 255.
fn assembled(patches: &[f32], width: usize, patch: usize) -> Picture {
    let pixels = patches.len() / 3;
    (0..pixels)
        .map(|i| {
            let (x, y) = (i % width, i / width);
            let row = y / patch * (width / patch) + x / patch;
            [0, 1, 2].map(|c| {
                255.0 * f64::from(patches[((row * 3 + c) * patch + y % patch) * patch + x % patch])
            })
        })
        .collect()
}

fn render(path: Path, bytes: &[u8], size: (usize, usize), chain: &Chain, patch: usize) -> Picture {
    let mut out = vec![f32::NAN; 3 * size.0 * size.1];
    patches_on(
        path,
        bytes,
        size,
        chain,
        patch,
        &mut Buffers::default(),
        &mut out,
    );
    assembled(&out, size.0, patch)
}

#[track_caller]
fn assert_near(what: &str, found: &Picture, expected: &Picture, tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        for c in 0..3 {
            let error = (found[c] - expected[c]).abs();
            assert!(
                error <= tolerance,
                "{what}, pixel {i}: {found:?}, expected {expected:?}"
            );
        }
    }
}

/// Widths that are no multiple of a vector, patches that are and are not.
const SIZES: [(usize, usize, usize); 5] = [
    (48, 32, 16),
    (42, 28, 14),
    (24, 40, 8),
    (35, 21, 7),
    (13, 17, 1),
];

#[test]
fn a_plain_view_is_its_bytes() {
    for path in paths() {
        for (width, height, patch) in SIZES {
            let (bytes, expected) = picture(width, height);
            let found = render(path, &bytes, (width, height), &PLAIN, patch);
            assert_near(path.name(), &found, &expected, 1e-4);
        }
    }
}

#[test]
fn adjustments_in_any_order_are_the_reference() {
    use Adjustment::*;
    let orders: [&[Adjustment]; 7] = [
        &[Brightness(1.4), Contrast(0.6), Saturation(1.2), Hue(0.1)],
        &[Hue(-0.07), Saturation(0.8), Contrast(1.4), Brightness(0.7)],
        &[
            Contrast(1.3),
            Hue(0.5),
            Brightness(1.2),
            Saturation(1.2),
            Saturation(0.0),
        ],
        &[Saturation(1.9), Hue(-0.5), Contrast(0.3)],
        &[Hue(0.02)],
        &[Contrast(0.0)],
        &[Saturation(0.0)],
    ];
    for path in paths() {
        for adjustments in orders {
            for (width, height, patch) in SIZES {
                let (bytes, mut expected) = picture(width, height);
                for &adjustment in adjustments {
                    reference::adjust(&mut expected, adjustment);
                }
                let chain = Chain {
                    adjustments,
                    ..PLAIN
                };
                let found = render(path, &bytes, (width, height), &chain, patch);
                assert_near(
                    &format!("{path:?} {adjustments:?}"),
                    &found,
                    &expected,
                    2e-3,
                );
            }
        }
    }
}

#[test]
fn blur_of_any_radius_is_the_reference() {
    for path in paths() {
        for (width, height, patch) in SIZES {
            for (sigma, taps) in [
                (0.3, 9),
                (0.5, 9),
                (0.7, 9),
                (2.0, 3),
                (2.0, 9),
                (1.9, 11),
                (2.0, 13),
            ] {
                let (bytes, plain) = picture(width, height);
                let expected = reference::blur(&plain, width, sigma, taps);
                let chain = Chain {
                    blur: Some((sigma, taps)),
                    ..PLAIN
                };
                let found = render(path, &bytes, (width, height), &chain, patch);
                assert_near(&format!("{path:?} {sigma} {taps}"), &found, &expected, 0.03);
            }
        }
    }
}

#[test]
fn everything_at_once_is_in_order_colour_blur_solarise_normalise() {
    let adjustments = [Adjustment::Contrast(1.2), Adjustment::Hue(0.05)];
    let chain = Chain {
        adjustments: &adjustments,
        blur: Some((1.0, 9)),
        solarise: Some(128.0),
        mean: [0.5, 0.4, 0.3],
        std: [0.2, 0.25, 0.5],
        ..PLAIN
    };
    let (bytes, mut expected) = picture(48, 32);
    for adjustment in adjustments {
        reference::adjust(&mut expected, adjustment);
    }
    let blurred = reference::blur(&expected, 48, 1.0, 9);
    // Next to the threshold rounding decides.
    let decided = |v: f64| (v - 128.0).abs() > 0.03;
    for path in paths() {
        let found = render(path, &bytes, (48, 32), &chain, 16);
        let mut compared = 0;
        for (found, blurred) in found.iter().zip(&blurred) {
            for c in (0..3).filter(|&c| decided(blurred[c])) {
                let v = if blurred[c] < 128.0 {
                    blurred[c]
                } else {
                    255.0 - blurred[c]
                };
                let (mean, std) = (f64::from(chain.mean[c]), f64::from(chain.std[c]));
                assert!(
                    (found[c] - (v - 255.0 * mean) / std).abs() < 0.2,
                    "{path:?}"
                );
                compared += 1;
            }
        }
        assert!(compared > 3 * 48 * 32 * 9 / 10);
    }
}

/// A middling picture: nothing is clamped, so brightness, contrast and saturation are the same folded.
#[test]
fn folded_adjustments_are_exact_where_nothing_is_clamped_and_no_hue_turns() {
    use Adjustment::*;
    let adjustments = [
        Saturation(1.2),
        Contrast(0.7),
        Brightness(1.1),
        Saturation(0.0),
    ];
    let (mut bytes, mut expected) = picture(42, 28);
    bytes.iter_mut().for_each(|v| *v = 100 + *v / 8);
    expected = expected
        .into_iter()
        .map(|p| p.map(|v| 100.0 + (v / 8.0).floor()))
        .collect();
    for count in 1..=4 {
        reference::adjust(&mut expected, adjustments[count - 1]);
        let chain = Chain {
            adjustments: &adjustments[..count],
            colour: Colour::Folded,
            ..PLAIN
        };
        for path in paths() {
            let found = render(path, &bytes, (42, 28), &chain, 14);
            assert_near("folded", &found, &expected, 1e-3);
        }
    }
}

/// The YIQ rotation keeps greys, and turns a third of a circle from red to green, green to blue, blue to red; chroma is
/// not HSV's, so only the order of the channels is.
#[test]
fn a_folded_hue_turns_the_right_way() {
    let chain = Chain {
        adjustments: &[Adjustment::Hue(1.0 / 3.0)],
        colour: Colour::Folded,
        ..PLAIN
    };
    let pixels = [[90, 90, 90], [120, 90, 90], [90, 120, 90], [90, 90, 120]];
    let mut bytes = vec![0; 3 * pitch(4)];
    for (x, pixel) in pixels.into_iter().enumerate() {
        for c in 0..3 {
            bytes[c * pitch(4) + x] = pixel[c];
        }
    }
    let found = render(cpu::path(), &bytes, (4, 1), &chain, 1);
    assert!(found[0].iter().all(|v| (v - 90.0).abs() < 0.2), "{found:?}");
    for (pixel, channel) in found[1..].iter().zip([1, 2, 0]) {
        let others = [0, 1, 2].into_iter().filter(|&c| c != channel);
        assert!(
            others.into_iter().all(|c| pixel[c] + 10.0 < pixel[channel]),
            "{found:?}"
        );
    }
}

#[test]
#[should_panic(expected = "do not divide into patches")]
fn a_side_that_is_no_multiple_of_the_patch_is_a_bug() {
    let (bytes, _) = picture(24, 24);
    render(cpu::path(), &bytes, (24, 24), &PLAIN, 7);
}
