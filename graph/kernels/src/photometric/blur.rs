//! Gaussian blur: torchvision's `GaussianBlur(kernel, sigma)`, which DINOv2 uses.
//!
//! Pillow's `GaussianBlur` approximates the Gaussian by three box filters instead and repeats the border.

use super::colour::{self, Step};
use super::patches::Patches;
use super::{pitch, pixels, Buffers};
use crate::lanes::{Lanes, LANES};

/// The longest kernel: three sigma on each side of sigma = 2.
pub const MAX_TAPS: usize = 2 * MAX_RADIUS + 1;
const MAX_RADIUS: usize = 6;

/// A Gaussian from its centre outwards.
pub(super) struct Kernel {
    half: [f32; MAX_RADIUS + 1],
    radius: usize,
}

impl Kernel {
    /// Cut off after `radius` pixels and normalised. Its own radius leaves out the taps too small to be seen: they
    /// weigh less than 1/50 of a grey level together.
    pub(super) fn new(sigma: f64, radius: usize) -> Self {
        let weight = |x: usize| (-0.5 * (x as f64 / sigma).powi(2)).exp();
        let total = weight(0) + 2.0 * (1..=radius).map(weight).sum::<f64>();
        let mut kernel = Kernel {
            half: [0.0; MAX_RADIUS + 1],
            radius: 0,
        };
        for (x, tap) in kernel.half.iter_mut().enumerate().take(radius + 1) {
            *tap = (weight(x) / total) as f32;
            if *tap > 2e-5 {
                kernel.radius = x;
            }
        }
        kernel
    }

    /// Taps on either side of the centre.
    pub(super) fn radius(&self) -> usize {
        self.radius
    }
}

/// Adjusts the colours of a picture's rows, blurs them with a kernel of radius `R`, and puts them into patches.
#[inline(always)]
pub(super) fn rows<V: Lanes, const R: usize>(
    bytes: &[u8],
    width: usize,
    steps: &[Step],
    kernel: &Kernel,
    buffers: &mut Buffers,
    mut patches: Patches,
) {
    let pitch = pitch(width);
    let row = 3 * pitch;
    let height = bytes.len() / row;
    let kept = 2 * R + 1;
    buffers.ring.resize(kept * row, 0.0);
    // A margin of a whole vector on either side, the first of which holds the mirrored pixels.
    let margin = LANES;
    let length = pitch + 2 * margin;
    buffers.line.resize(3 * length, 0.0);
    let mut half = [V::splat(0.0); R];
    for (half, &tap) in half.iter_mut().zip(&kernel.half[1..]) {
        *half = V::splat(tap);
    }
    let centre = V::splat(kernel.half[0]);
    let mut ready = 0;
    for y in 0..height {
        while ready < height.min(y + R + 1) {
            let ring = &mut buffers.ring[ready % kept * row..][..row];
            adjusted::<V>(&bytes[ready * row..][..row], steps, ring);
            ready += 1;
        }
        let at = |y: usize| &buffers.ring[y % kept * row..][..row];
        let here = at(y);
        let above: [&[f32]; R] = std::array::from_fn(|i| at(y.abs_diff(i + 1)));
        let below: [&[f32]; R] = std::array::from_fn(|i| at(mirrored(y + i + 1, height)));
        // All channels down before any goes across: what was just stored cannot be loaded at once where vectors
        // overlap.
        for (c, line) in buffers.line.chunks_exact_mut(length).enumerate() {
            for x in (0..pitch).step_by(LANES) {
                let at = c * pitch + x;
                let mut sum = centre.mul(load(here, at));
                for i in 0..R {
                    let pair = load::<V>(above[i], at).add(load(below[i], at));
                    sum = half[i].mul_add(pair, sum);
                }
                store(sum, line, margin + x);
            }
            for i in 0..R {
                line[margin - 1 - i] = line[margin + 1 + i];
                line[margin + width + i] = line[margin + width - 2 - i];
            }
        }
        for (c, line) in buffers.line.chunks_exact(length).enumerate() {
            let mut place = patches.row(c, y);
            for x in (0..width).step_by(LANES) {
                let at = margin + x;
                let mut sum = centre.mul(load(line, at));
                for (i, tap) in half.iter().enumerate() {
                    let pair = load::<V>(line, at - 1 - i).add(load(line, at + 1 + i));
                    sum = tap.mul_add(pair, sum);
                }
                patches.put(&mut place, sum);
            }
        }
    }
}

/// The colours of a row of bytes, adjusted.
#[inline(always)]
fn adjusted<V: Lanes>(row: &[u8], steps: &[Step], out: &mut [f32]) {
    let pitch = out.len() / 3;
    for x in (0..pitch).step_by(LANES) {
        let [red, green, blue] = colour::apply(steps, pixels::<V>(row, x));
        store(red, out, x);
        store(green, out, pitch + x);
        store(blue, out, 2 * pitch + x);
    }
}

#[inline(always)]
fn load<V: Lanes>(line: &[f32], at: usize) -> V {
    V::load(line[at..].first_chunk().expect("rows are padded"))
}

#[inline(always)]
fn store<V: Lanes>(values: V, line: &mut [f32], at: usize) {
    values.store(line[at..].first_chunk_mut().expect("rows are padded"));
}

/// Index `at`, not before the start, mirrored at the last of `length`.
#[inline(always)]
fn mirrored(at: usize, length: usize) -> usize {
    if at < length {
        at
    } else {
        2 * (length - 1) - at
    }
}
