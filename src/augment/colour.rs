//! Colour jitter, grey and solarisation on planes of f32 in `[0, 1]`, by torchvision's formulas.
//!
//! torchvision on pictures of bytes rounds after each adjustment (and Pillow's hue rounds hue and
//! saturation as well); here nothing is rounded, as torchvision does on pictures of floats. Grey is
//! `0.299 R + 0.587 G + 0.114 B` throughout.
//!
//! The whole chain is applied to one block of pixels after another while the block lies in the L1 cache.
//! Contrast needs the mean of the picture as it is when its turn comes, so the chain breaks there into
//! two passes.

use super::JitterConfig;
use crate::field::vectorised;
use intertwine_flow::random::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::RngExt;

/// One adjustment of colour, each with its factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Adjustment {
    /// Multiplies by the factor.
    Brightness(f32),
    /// Blends with the mean grey of the picture; 0 is that grey, 1 changes nothing.
    Contrast(f32),
    /// Blends with the pixel's grey; 0 is grey, 1 changes nothing.
    Saturation(f32),
    /// Turns the hue, in full turns, keeping value and saturation of HSV.
    Hue(f32),
}

/// What is done to the colours of a view, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ColourPlan {
    /// The order of the jitter, if it takes place.
    pub jitter: Option<[Adjustment; 4]>,
    /// Whether the view becomes grey in the end.
    pub grey: bool,
}

/// Pixels of a block: three planes of 2 KiB.
const BLOCK: usize = 512;

impl ColourPlan {
    /// Draws factors and order as torchvision's `ColorJitter` and `RandomGrayscale` do.
    pub(crate) fn draw(jitter: &JitterConfig, grey: f64, rng: &mut ChaCha8Rng) -> Self {
        let adjustments = rng.random_bool(jitter.probability).then(|| {
            let mut factor =
                |strength: f64| rng.random_range((1.0 - strength).max(0.0)..=1.0 + strength) as f32;
            let (brightness, contrast) = (factor(jitter.brightness), factor(jitter.contrast));
            let saturation = factor(jitter.saturation);
            let hue = rng.random_range(-jitter.hue..=jitter.hue) as f32;
            let mut order = [
                Adjustment::Brightness(brightness),
                Adjustment::Contrast(contrast),
                Adjustment::Saturation(saturation),
                Adjustment::Hue(hue),
            ];
            order.shuffle(rng);
            order
        });
        ColourPlan {
            jitter: adjustments,
            grey: rng.random_bool(grey),
        }
    }

    /// Applies the plan to planes of one length.
    pub(crate) fn apply(&self, planes: [&mut Vec<f32>; 3]) {
        let adjustments = self.jitter.as_ref().map_or(&[][..], |a| &a[..]);
        let [red, green, blue] = planes.map(Vec::as_mut_slice);
        let contrast = adjustments
            .iter()
            .position(|a| matches!(a, Adjustment::Contrast(_)));
        vectorised(
            #[inline(always)]
            || {
                let mut rest = adjustments;
                let mut mean = 0.0;
                if let Some(at) = contrast {
                    let (before, after) = adjustments.split_at(at);
                    mean = blocks(red, green, blue, before, 0.0, false, true);
                    rest = after;
                }
                if !rest.is_empty() || self.grey {
                    blocks(red, green, blue, rest, mean, self.grey, false);
                }
            },
        );
    }
}

/// Inverts values from `threshold` (in `[0, 1]`) on.
pub(crate) fn solarise(plane: &mut [f32], threshold: f32) {
    vectorised(
        #[inline(always)]
        || {
            for v in plane.iter_mut() {
                *v = if *v >= threshold { 1.0 - *v } else { *v };
            }
        },
    );
}

/// Applies `adjustments` block by block; the mean grey of the result if `measure`, else 0.
#[inline(always)]
fn blocks(
    red: &mut [f32],
    green: &mut [f32],
    blue: &mut [f32],
    adjustments: &[Adjustment],
    mean: f32,
    to_grey: bool,
    measure: bool,
) -> f32 {
    let pixels = red.len();
    let mut sum = 0.0;
    let channels = red
        .chunks_mut(BLOCK)
        .zip(green.chunks_mut(BLOCK))
        .zip(blue.chunks_mut(BLOCK));
    for ((r, g), b) in channels {
        for adjustment in adjustments {
            match *adjustment {
                Adjustment::Brightness(factor) => {
                    for plane in [&mut *r, &mut *g, &mut *b] {
                        blend(plane, factor, 0.0);
                    }
                }
                Adjustment::Contrast(factor) => {
                    for plane in [&mut *r, &mut *g, &mut *b] {
                        blend(plane, factor, (1.0 - factor) * mean);
                    }
                }
                Adjustment::Saturation(factor) => saturate(r, g, b, factor),
                Adjustment::Hue(turns) => turn_hue(r, g, b, 6.0 * turns),
            }
        }
        if to_grey {
            saturate(r, g, b, 0.0);
        }
        if measure {
            sum += grey_sum(r, g, b);
        }
    }
    if measure {
        (sum / pixels as f64) as f32
    } else {
        0.0
    }
}

#[inline(always)]
fn grey(r: f32, g: f32, b: f32) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

/// Sums in 16 fixed lanes, so that the result is the same on every CPU.
#[inline(always)]
fn grey_sum(r: &[f32], g: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 16;
    let mut lanes = [0.0f32; LANES];
    let ((r, r_rest), (g, g_rest), (b, b_rest)) = (
        r.as_chunks::<LANES>(),
        g.as_chunks::<LANES>(),
        b.as_chunks::<LANES>(),
    );
    for ((r, g), b) in r.iter().zip(g).zip(b) {
        for (lane, ((&r, &g), &b)) in lanes.iter_mut().zip(r.iter().zip(g).zip(b)) {
            *lane += grey(r, g, b);
        }
    }
    let rest = r_rest
        .iter()
        .zip(g_rest)
        .zip(b_rest)
        .map(|((&r, &g), &b)| grey(r, g, b));
    lanes.into_iter().chain(rest).map(f64::from).sum()
}

#[inline(always)]
fn blend(plane: &mut [f32], factor: f32, offset: f32) {
    for v in plane.iter_mut() {
        *v = (*v * factor + offset).clamp(0.0, 1.0);
    }
}

#[inline(always)]
fn saturate(r: &mut [f32], g: &mut [f32], b: &mut [f32], factor: f32) {
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let offset = (1.0 - factor) * grey(*r, *g, *b);
        *r = (*r * factor + offset).clamp(0.0, 1.0);
        *g = (*g * factor + offset).clamp(0.0, 1.0);
        *b = (*b * factor + offset).clamp(0.0, 1.0);
    }
}

/// Turns the hue by `sixths` of a turn.
///
/// HSV's hue in sixths of a turn is piecewise linear in the channels, and so is the way back: at hue
/// `h` the channel that peaks at `p` is `max - chroma * clamp(min(k, 4 - k), 0, 1)` with
/// `k = (5 - p + h) mod 6` (the usual closed form of the six cases). No branch is left.
#[inline(always)]
fn turn_hue(r: &mut [f32], g: &mut [f32], b: &mut [f32], sixths: f32) {
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let max = r.max(*g).max(*b);
        let min = r.min(*g).min(*b);
        let chroma = max - min;
        let scale = if chroma > 0.0 { 1.0 / chroma } else { 0.0 };
        let hue = if max == *r {
            (*g - *b) * scale
        } else if max == *g {
            2.0 + (*b - *r) * scale
        } else {
            4.0 + (*r - *g) * scale
        } + sixths;
        let channel = |n: f32| {
            let k = n + hue;
            let k = k - 6.0 * (k * (1.0 / 6.0)).floor();
            max - chroma * k.min(4.0 - k).clamp(0.0, 1.0)
        };
        (*r, *g, *b) = (channel(5.0), channel(3.0), channel(1.0));
    }
}
