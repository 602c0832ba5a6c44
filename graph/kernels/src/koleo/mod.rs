//! The KoLeo regulariser, which spreads features over the sphere (Sablayrolles et al., 2019; DINOv2).
//!
//! Per group of `n` rows, `loss = -1/n sum_b log(min over b' != b of ||x_b - x_b'|| + 1e-8)`; groups are summed
//! (one group per global crop). With `x_c` the nearest row to `x_b` and `r` their distance,
//! `x_b` receives `-(x_b - x_c) / (n r (r + 1e-8))` and `x_c` its opposite.
//!
//! Two identical rows have no direction to move apart in: they add `-log 1e-8` to the loss and nothing to the
//! gradient. A group of one row has no neighbour and adds nothing.

#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use crate::gemm::{matmul, Layout, Precision};
use crate::{check_len, rows_of, size};

/// Keeps the logarithm of a zero distance finite (DINOv2).
const EPS: f32 = 1e-8;

/// The loss of `x` [groups * group, d], whose rows are L2-normalised; adds its gradient to `dx`.
///
/// # Panics
/// If `x` is not a whole number of groups or `dx` is not as long as `x`.
pub fn loss(x: &[f32], group: usize, d: usize, mut dx: Option<&mut [f32]>) -> f64 {
    let rows = rows_of("koleo", "x", x, d);
    assert!(
        group > 0 && rows.is_multiple_of(group),
        "koleo: x has {rows} rows, expected a multiple of the group size {group}"
    );
    if let Some(dx) = dx.as_deref() {
        check_len("koleo", "dx", dx, size([rows, d]));
    }
    if group < 2 {
        return 0.0;
    }
    let mut similarity = vec![0.0f32; group * group];
    let mut total = 0.0;
    for start in (0..rows).step_by(group) {
        let x = &x[start * d..(start + group) * d];
        // Rows of equal length: the nearest is the one of the largest product.
        matmul(
            group,
            d,
            group,
            x,
            Layout::N,
            x,
            Layout::T,
            &mut similarity,
            false,
            Precision::F32,
        );
        for b in 0..group {
            let c = nearest(&similarity[b * group..(b + 1) * group], b);
            let (xb, xc) = (&x[b * d..(b + 1) * d], &x[c * d..(c + 1) * d]);
            let distance = distance(xb, xc);
            total -= f64::from(distance + EPS).ln() / group as f64;
            let Some(dx) = dx.as_deref_mut() else {
                continue;
            };
            if distance > 0.0 {
                let scale = -1.0 / (group as f32 * distance * (distance + EPS));
                for i in 0..d {
                    let g = scale * (xb[i] - xc[i]);
                    dx[(start + b) * d + i] += g;
                    dx[(start + c) * d + i] -= g;
                }
            }
        }
    }
    total
}

/// The index of the largest element other than `own`; the first among equals.
fn nearest(similarity: &[f32], own: usize) -> usize {
    let mut best = usize::from(own == 0);
    for (i, s) in similarity.iter().enumerate() {
        if i != own && *s > similarity[best] {
            best = i;
        }
    }
    best
}

fn distance(x: &[f32], y: &[f32]) -> f32 {
    x.iter()
        .zip(y)
        .map(|(a, b)| f64::from(a - b).powi(2))
        .sum::<f64>()
        .sqrt() as f32
}
