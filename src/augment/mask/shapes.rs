//! The shapes that masked patches form.

use crate::field::Grid;
use intertwine_flow::random::ChaCha8Rng;
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// The shape that the masked patches of a view form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskShape {
    /// Rectangles of random size, aspect and place until enough is covered (BEiT, iBOT, DINOv2).
    Blocks,
    /// A horizontal and a vertical band through one random patch; the paper's "cross-wise".
    Cross,
    /// One rectangle; the paper's "box-wise".
    Box,
    /// Patches anywhere.
    Random,
}

/// The smallest block, in patches, and the range of its height over its width: iBOT's and DINOv2's.
const MIN_BLOCK: f64 = 4.0;
const MIN_ASPECT: f64 = 0.3;

impl MaskShape {
    /// Marks `count` patches that are not `hidden` yet, or all that are left, and returns them in
    /// ascending order.
    pub(super) fn draw(
        self,
        grid: Grid,
        count: usize,
        hidden: &mut [bool],
        rng: &mut ChaCha8Rng,
    ) -> Vec<u32> {
        debug_assert_eq!(hidden.len(), grid.len());
        let before = hidden.to_vec();
        let count = count.min(before.iter().filter(|&&h| !h).count());
        if count > 0 {
            match self {
                MaskShape::Blocks => blocks(grid, count, hidden, rng),
                MaskShape::Cross => nearest(grid, count, hidden, rng, f64::min),
                MaskShape::Box => nearest(grid, count, hidden, rng, f64::max),
                MaskShape::Random => scatter(count, hidden, rng),
            }
        }
        (0u32..)
            .zip(hidden.iter().zip(before))
            .filter_map(|(i, (&now, then))| (now && !then).then_some(i))
            .collect()
    }
}

/// Marks the `count` free patches nearest to a random centre. With columns and rows measured in units
/// of the width and height of the shape, the points at a `norm` of at most 1 form a rectangle when the
/// norm is the larger coordinate, and a cross of two bands when it is the smaller. The outermost line
/// is filled from the centre outwards, so that the count is exact; a cross too small for
/// two whole lines has shorter arms.
fn nearest(
    grid: Grid,
    count: usize,
    hidden: &mut [bool],
    rng: &mut ChaCha8Rng,
    norm: fn(f64, f64) -> f64,
) {
    let centre = (
        rng.random_range(0..grid.height),
        rng.random_range(0..grid.width),
    );
    let aspect = log_uniform(MIN_ASPECT, 1.0 / MIN_ASPECT, rng).sqrt();
    // Where two patches are equally far, the nearer in a straight line goes first, and a coin decides
    // between mirror images.
    let coin: u64 = rng.random();
    let key = |i: usize| {
        let y = (i / grid.width).abs_diff(centre.0) as f64 * aspect;
        let x = (i % grid.width).abs_diff(centre.1) as f64 / aspect;
        (norm(x, y), x.hypot(y), (i as u64).wrapping_mul(coin | 1))
    };
    let mut order: Vec<_> = (0..grid.len())
        .filter(|&i| !hidden[i])
        .map(|i| (key(i), i))
        .collect();
    order.sort_unstable_by(|(a, _), (b, _)| {
        a.0.total_cmp(&b.0)
            .then(a.1.total_cmp(&b.1))
            .then(a.2.cmp(&b.2))
    });
    for &(_, i) in &order[..count] {
        hidden[i] = true;
    }
}

/// Marks `count` free patches by rectangles, and the few that no rectangle fitted by chance, as DINOv3
/// completes its masks.
fn blocks(grid: Grid, count: usize, hidden: &mut [bool], rng: &mut ChaCha8Rng) {
    let mut left = count;
    let mut failures = 0;
    while left > 0 && failures < 10 {
        let area = if left as f64 > MIN_BLOCK {
            rng.random_range(MIN_BLOCK..=left as f64)
        } else {
            left as f64
        };
        let aspect = log_uniform(MIN_ASPECT, 1.0 / MIN_ASPECT, rng);
        let height = (area * aspect).sqrt().round() as usize;
        let width = (area / aspect).sqrt().round() as usize;
        let fits = (1..=grid.height).contains(&height) && (1..=grid.width).contains(&width);
        let marked = if fits {
            let top = rng.random_range(0..=grid.height - height);
            let first = rng.random_range(0..=grid.width - width);
            let patches = || {
                (top..top + height)
                    .flat_map(move |y| (first..first + width).map(move |x| y * grid.width + x))
            };
            let free = patches().filter(|&i| !hidden[i]).count();
            if free <= left {
                patches().for_each(|i| hidden[i] = true);
                free
            } else {
                0
            }
        } else {
            0
        };
        left -= marked;
        failures = if marked == 0 { failures + 1 } else { 0 };
    }
    scatter(left, hidden, rng);
}

/// Marks `count` free patches, any of them.
fn scatter(count: usize, hidden: &mut [bool], rng: &mut ChaCha8Rng) {
    let mut free = hidden.iter().filter(|&&h| !h).count();
    let mut left = count;
    // Selection sampling (Knuth, The Art of Computer Programming, 3.4.2, algorithm S).
    for h in hidden.iter_mut().filter(|h| !**h) {
        if rng.random_range(0..free) < left {
            *h = true;
            left -= 1;
        }
        free -= 1;
    }
}

fn log_uniform(low: f64, high: f64, rng: &mut ChaCha8Rng) -> f64 {
    rng.random_range(low.ln()..=high.ln()).exp()
}
