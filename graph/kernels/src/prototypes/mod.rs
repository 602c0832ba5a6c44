//! Soft cross-entropy against prototypes: `loss = sum_r weight_r * -sum_k t_rk log softmax(z_r / temperature)_k` with
//! `z = x w^T` (DINO's last layer and loss, Caron et al., 2021), and its gradients, without ever keeping `z`.
//!
//! K is much larger than the features are wide, so the logits of all rows and their gradient would be the largest
//! arrays of a training step. They are made for a block of rows at a time and used up at once.

#[cfg(test)]
mod tests;

use crate::buffers::Buffer;
use crate::gemm::{matmul, Layout, Precision};
use crate::linear;
use crate::softmax_ce::soft_cross_entropy;
use crate::{check_len, rows_of, size};

/// Rows whose logits are in memory at once: enough for the products to run at full speed.
const ROWS: usize = 192;

/// What the rows should predict; see [`soft_cross_entropy`].
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// [any, k].
    pub probabilities: &'a [f32],
    /// The row of `probabilities` for each row of `x`.
    pub row: &'a [u32],
    /// The weight of each row of `x`.
    pub weight: &'a [f32],
}

/// The loss of each row of `x` [rows, inp] against prototypes `w` [k, inp]; adds the gradients of their weighted sum with
/// respect to `x` and `w` where wanted.
///
/// # Panics
/// If a slice's length does not fit the shape, a target row does not exist or the temperature is not positive.
#[allow(clippy::too_many_arguments)]
pub fn losses(
    x: &[f32],
    w: &[f32],
    targets: Targets,
    temperature: f32,
    inp: usize,
    k: usize,
    precision: Precision,
    mut gradients: Option<(&mut [f32], &mut [f32])>,
) -> Vec<f64> {
    let rows = rows_of("prototypes", "x", x, inp);
    check_len("prototypes", "w", w, size([k, inp]));
    check_len("prototypes", "row", targets.row, rows);
    check_len("prototypes", "weight", targets.weight, rows);
    if let Some((dx, _)) = &gradients {
        check_len("prototypes", "dx", dx, x.len());
    }
    let block = ROWS.min(rows);
    let mut logits = Buffer::take(block * k);
    let mut slopes = Buffer::take(if gradients.is_some() { block * k } else { 0 });
    let mut losses = Vec::with_capacity(rows);
    for first in (0..rows).step_by(ROWS) {
        let last = rows.min(first + ROWS);
        let count = last - first;
        let x = &x[first * inp..last * inp];
        let z = &mut logits[..count * k];
        linear::forward(x, w, None, z, inp, k, precision);
        let row = &targets.row[first..last];
        let weight = &targets.weight[first..last];
        let probabilities = targets.probabilities;
        let Some((dx, dw)) = &mut gradients else {
            let of_block = soft_cross_entropy(z, probabilities, row, weight, temperature, k, None);
            losses.extend(of_block);
            continue;
        };
        let dz = &mut slopes[..count * k];
        dz.fill(0.0);
        let of_block = soft_cross_entropy(z, probabilities, row, weight, temperature, k, Some(dz));
        losses.extend(of_block);
        let (n, dx) = (Layout::N, &mut dx[first * inp..last * inp]);
        matmul(count, k, inp, dz, n, w, n, dx, true, precision);
        linear::backward_params(dz, x, dw, None, inp, k, precision);
    }
    losses
}
