//! Gaussian blur: torchvision's `GaussianBlur(kernel, sigma)`, which DINOv2 uses.
//!
//! The Gaussian is cut off after `kernel / 2` pixels and normalised, and the picture is mirrored at its
//! borders without repeating the border. Pillow's `GaussianBlur` approximates the Gaussian by three box
//! filters instead and repeats the border.

use crate::field::vectorised;

/// The longest kernel: three sigma on each side of sigma = 2.
pub(crate) const MAX_TAPS: usize = 2 * MAX_RADIUS + 1;
const MAX_RADIUS: usize = 6;

/// What [`blur`] needs, kept between pictures.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// The blurred plane, swapped with the original.
    plane: Vec<f32>,
    /// A row blurred from above and below, with its mirrored margins.
    row: Vec<f32>,
}

/// Blurs a plane of rows of `width` values with a kernel of `taps` (odd, at most [`MAX_TAPS`]).
///
/// Both sides of the plane are longer than `taps / 2`.
pub(crate) fn blur(
    plane: &mut Vec<f32>,
    width: usize,
    sigma: f64,
    taps: usize,
    buffers: &mut Buffers,
) {
    let mut half = [0.0; MAX_RADIUS + 1];
    let radius = half_kernel(sigma, taps / 2, &mut half);
    buffers.plane.resize(plane.len(), 0.0);
    buffers.row.resize(width + 2 * radius, 0.0);
    let (out, row) = (buffers.plane.as_mut_slice(), buffers.row.as_mut_slice());
    vectorised(
        #[inline(always)]
        || match radius {
            0 => out.copy_from_slice(plane),
            1 => rows::<1>(plane, out, row, width, &half),
            2 => rows::<2>(plane, out, row, width, &half),
            3 => rows::<3>(plane, out, row, width, &half),
            4 => rows::<4>(plane, out, row, width, &half),
            5 => rows::<5>(plane, out, row, width, &half),
            _ => rows::<6>(plane, out, row, width, &half),
        },
    );
    std::mem::swap(plane, &mut buffers.plane);
}

/// The kernel from its centre outwards, and its radius without the taps too small to be seen: those
/// left out weigh less than 1/50 of a grey level together.
fn half_kernel(sigma: f64, radius: usize, half: &mut [f32; MAX_RADIUS + 1]) -> usize {
    let radius = radius.min(MAX_RADIUS);
    let weight = |x: usize| (-0.5 * (x as f64 / sigma).powi(2)).exp();
    let total = weight(0) + 2.0 * (1..=radius).map(weight).sum::<f64>();
    let mut kept = 0;
    for (x, tap) in half.iter_mut().enumerate().take(radius + 1) {
        *tap = (weight(x) / total) as f32;
        if *tap > 2e-5 {
            kept = x;
        }
    }
    kept
}

#[inline(always)]
fn rows<const R: usize>(
    plane: &[f32],
    out: &mut [f32],
    row: &mut [f32],
    width: usize,
    half: &[f32; MAX_RADIUS + 1],
) {
    let height = plane.len() / width;
    let line = |y: usize| &plane[y * width..][..width];
    for (y, out) in out.chunks_exact_mut(width).enumerate() {
        let above = std::array::from_fn(|i| line(y.abs_diff(i + 1)));
        let below = std::array::from_fn(|i| line(mirrored(y + i + 1, height)));
        weigh::<R>(&mut row[R..R + width], line(y), above, below, half);
        for i in 0..R {
            row[R - 1 - i] = row[R + 1 + i];
            row[R + width + i] = row[R + width - 2 - i];
        }
        let from = |start: usize| &row[start..][..width];
        let left = std::array::from_fn(|i| from(R - 1 - i));
        let right = std::array::from_fn(|i| from(R + 1 + i));
        weigh::<R>(out, from(R), left, right, half);
    }
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

/// The weighted sum of a line and of the `R` lines on either side of it, nearest first.
#[inline(always)]
fn weigh<const R: usize>(
    out: &mut [f32],
    centre: &[f32],
    before: [&[f32]; R],
    after: [&[f32]; R],
    half: &[f32; MAX_RADIUS + 1],
) {
    // Of one length, so that no index is checked in the loop.
    let length = out.len();
    let centre = &centre[..length];
    let before = before.map(|line| &line[..length]);
    let after = after.map(|line| &line[..length]);
    for x in 0..length {
        let mut sum = half[0] * centre[x];
        for i in 0..R {
            sum += half[i + 1] * (before[i][x] + after[i][x]);
        }
        out[x] = sum;
    }
}
