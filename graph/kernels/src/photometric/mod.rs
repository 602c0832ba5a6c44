//! From the bytes of a resized view to normalised patches: colour jitter, grey, blur, solarisation, in one pass.
//!
//! The formulas are torchvision's for pictures of floats, without rounding between them, on values from 0 to 255:
//! - brightness `clamp(f v)`; contrast `clamp(f v + (1 - f) m)` with `m` the mean grey of the picture as it is then;
//!   saturation `clamp(f v + (1 - f) grey)`; hue turned in HSV; grey is `0.299 R + 0.587 G + 0.114 B`;
//! - Gaussian blur cut off after `taps / 2` pixels and normalised, the picture mirrored at its borders without
//!   repeating the border;
//! - solarisation `v < threshold ? v : 255 - v`; then `(v / 255 - mean) / std`.
//!
//! Sixteen pixels stay in registers from their bytes to their place in the patches. Only contrast and blur need more
//! than one pixel: contrast makes a pass of its own over the bytes that keeps nothing but the mean; blur keeps as many
//! rows as it reads, so that they stay in the first-level cache.
//!
//! # Layout
//! - `colour`: the adjustments of sixteen pixels, and all of them folded into one matrix
//! - `blur`: the Gaussian and its two passes
//! - `patches`: where a pixel goes

mod blur;
mod colour;
mod patches;
#[cfg(test)]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use crate::cpu::{self, Path};
use crate::lanes::{Lanes, LANES};
use crate::resize::pitch;
use blur::Kernel;
use colour::{Step, Steps};
use patches::Patches;

pub use blur::MAX_TAPS;
pub use colour::Adjustment;

/// How exactly the adjustments of colour are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// One after the other, each clamped to 0 to 255, hue in HSV.
    #[default]
    Exact,
    /// Folded into one affine map of red, green and blue, clamped once, hue turned about the grey axis of YIQ.
    Folded,
}

/// What is done to a view.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a> {
    /// In order; contrast at most once. A saturation of 0 makes grey.
    pub adjustments: &'a [Adjustment],
    /// How.
    pub colour: Colour,
    /// Sigma in pixels and the taps of the kernel, odd, at most [`MAX_TAPS`].
    pub blur: Option<(f64, usize)>,
    /// Values from this on, of 0 to 255, are inverted.
    pub solarise: Option<f32>,
    /// Mean of red, green and blue, of values in `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue.
    pub std: [f32; 3],
}

/// Buffers of [`patches`], kept between pictures.
#[derive(Debug, Default)]
pub struct Buffers {
    /// The rows that blur reads, each red, green, blue, in turn.
    ring: Vec<f32>,
    /// A row blurred from above and below, with mirrored margins.
    line: Vec<f32>,
}

/// Renders a picture of `width` x `height` pixels, laid out as [`crate::resize::Resizer::resize`] leaves it, into
/// `out`: a row for each patch in raster order, of `3 * patch * patch` values in (channel, y, x) order.
///
/// # Panics
/// If a slice does not fit its shape, the sides are not multiples of `patch`, the picture is no larger than half the
/// blur's kernel, or the kernel is too long.
pub fn patches(
    bytes: &[u8],
    (width, height): (usize, usize),
    chain: &Chain,
    patch: usize,
    buffers: &mut Buffers,
    out: &mut [f32],
) {
    patches_on(
        cpu::path(),
        bytes,
        (width, height),
        chain,
        patch,
        buffers,
        out,
    );
}

fn patches_on(
    path: Path,
    bytes: &[u8],
    (width, height): (usize, usize),
    chain: &Chain,
    patch: usize,
    buffers: &mut Buffers,
    out: &mut [f32],
) {
    crate::check_len(
        "photometric",
        "the picture",
        bytes,
        height * 3 * pitch(width),
    );
    crate::check_len("photometric", "out", out, crate::size([height, 3, width]));
    assert!(
        patch > 0 && width.is_multiple_of(patch) && height.is_multiple_of(patch),
        "photometric: {width} x {height} pixels do not divide into patches of {patch} x {patch}"
    );
    let kernel = chain.blur.map(|(sigma, taps)| {
        assert!(
            taps % 2 == 1 && taps <= MAX_TAPS && width.min(height) > taps / 2,
            "photometric: a blur of {taps} taps of {width} x {height} pixels"
        );
        Kernel::new(sigma, taps / 2)
    });
    let steps = match chain.colour {
        Colour::Exact => Steps::exact(chain.adjustments, |before| {
            mean_grey(path, bytes, width, before)
        }),
        Colour::Folded => Steps::folded(chain.adjustments, || means(bytes, width)),
    };
    let patches = Patches::new(width, patch, chain, out);
    match kernel {
        Some(kernel) if kernel.radius() > 0 => {
            blurred(
                path,
                bytes,
                width,
                steps.as_slice(),
                &kernel,
                buffers,
                patches,
            );
        }
        _ => sharp(path, bytes, width, steps.as_slice(), patches),
    }
}

/// Mean of red, green and blue.
fn means(bytes: &[u8], width: usize) -> [f32; 3] {
    let mut sums = [0u64; 3];
    for row in bytes.chunks_exact(3 * pitch(width)) {
        for (sum, line) in sums.iter_mut().zip(row.chunks_exact(pitch(width))) {
            *sum += u64::from(line[..width].iter().map(|&v| u32::from(v)).sum::<u32>());
        }
    }
    let pixels = (bytes.len() / (3 * pitch(width)) * width) as f64;
    sums.map(|sum| (sum as f64 / pixels) as f32)
}

/// Sixteen pixels of a row of bytes, as red, green, blue.
#[inline(always)]
fn pixels<V: Lanes>(row: &[u8], x: usize) -> [V; 3] {
    let third = row.len() / 3;
    [
        bytes_at(row, x),
        bytes_at(row, third + x),
        bytes_at(row, 2 * third + x),
    ]
}

#[inline(always)]
fn bytes_at<V: Lanes>(row: &[u8], at: usize) -> V {
    V::from_bytes(row[at..].first_chunk().expect("rows are padded"))
}

on_lanes! {
    /// Mean grey after `steps`, summed in a fixed order.
    fn mean_grey<V>(bytes: &[u8], width: usize, steps: &[Step]) -> f32 {
        let index = V::load(&std::array::from_fn(|i| i as f32));
        let mut total = 0.0;
        for row in bytes.chunks_exact(3 * pitch(width)) {
            let mut sums = V::splat(0.0);
            for x in (0..width).step_by(LANES) {
                let grey = colour::grey(colour::apply(steps, pixels::<V>(row, x)));
                let left = V::splat((width - x) as f32);
                sums = sums.add(index.less_than(left, grey, V::splat(0.0)));
            }
            let mut lanes = [0.0; LANES];
            sums.store(&mut lanes);
            total += lanes.into_iter().map(f64::from).sum::<f64>();
        }
        let rows = bytes.len() / (3 * pitch(width));
        (total / (rows * width) as f64) as f32
    }

    /// Without blur.
    fn sharp<V>(bytes: &[u8], width: usize, steps: &[Step], patches: Patches) {
        let mut patches = patches;
        for (y, row) in bytes.chunks_exact(3 * pitch(width)).enumerate() {
            let mut red_at = patches.row(0, y);
            let mut green_at = patches.row(1, y);
            let mut blue_at = patches.row(2, y);
            for x in (0..width).step_by(LANES) {
                let [red, green, blue] = colour::apply(steps, pixels::<V>(row, x));
                patches.put(&mut red_at, red);
                patches.put(&mut green_at, green);
                patches.put(&mut blue_at, blue);
            }
        }
    }

    /// With blur.
    fn blurred<V>(bytes: &[u8], width: usize, steps: &[Step], kernel: &Kernel, buffers: &mut Buffers, patches: Patches) {
        match kernel.radius() {
            1 => blur::rows::<V, 1>(bytes, width, steps, kernel, buffers, patches),
            2 => blur::rows::<V, 2>(bytes, width, steps, kernel, buffers, patches),
            3 => blur::rows::<V, 3>(bytes, width, steps, kernel, buffers, patches),
            4 => blur::rows::<V, 4>(bytes, width, steps, kernel, buffers, patches),
            5 => blur::rows::<V, 5>(bytes, width, steps, kernel, buffers, patches),
            _ => blur::rows::<V, 6>(bytes, width, steps, kernel, buffers, patches),
        }
    }
}
