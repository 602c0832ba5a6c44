//! Layer normalisation over the last axis (Ba, Kiros, Hinton, 2016).
//!
//! `y = (x - mean) * rstd * gamma + beta`, `rstd = 1 / sqrt(var + eps)`, with the biased variance, as PyTorch.
//! With `xhat = (x - mean) * rstd` and `g = dy * gamma`:
//! `dx = rstd * (g - mean(g) - xhat * mean(g * xhat))`, `dgamma = sum dy * xhat`, `dbeta = sum dy`.

#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use crate::parallel::{rows_per_piece, PIECE};
use crate::simd::{add_lanes, dot, sum, LANES};
use crate::{check_len, rows_of, size};
use rayon::prelude::*;

/// `x`, `y` [rows, d]; `gamma`, `beta` `[d]`; `mean`, `rstd` `[rows]` are kept for [`backward`].
///
/// # Panics
/// If a slice's length does not fit the shape.
pub fn forward(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    y: &mut [f32],
    mean: &mut [f32],
    rstd: &mut [f32],
) {
    let d = gamma.len();
    let rows = rows_of("layer_norm", "x", x, d);
    check_len("layer_norm", "beta", beta, d);
    check_len("layer_norm", "y", y, size([rows, d]));
    check_len("layer_norm", "mean", mean, rows);
    check_len("layer_norm", "rstd", rstd, rows);
    let piece = rows_per_piece(d, PIECE);
    (
        x.par_chunks(piece * d),
        y.par_chunks_mut(piece * d),
        mean.par_chunks_mut(piece),
        rstd.par_chunks_mut(piece),
    )
        .into_par_iter()
        .for_each(|(x, y, mean, rstd)| forward_rows(x, gamma, beta, eps, y, mean, rstd));
}

/// Adds the gradients of `x` [rows, d], `gamma` `[d]` and `beta` `[d]`.
///
/// # Panics
/// If a slice's length does not fit the shape.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    x: &[f32],
    gamma: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let d = gamma.len();
    let rows = rows_of("layer_norm", "x", x, d);
    check_len("layer_norm", "mean", mean, rows);
    check_len("layer_norm", "rstd", rstd, rows);
    check_len("layer_norm", "dy", dy, size([rows, d]));
    check_len("layer_norm", "dx", dx, size([rows, d]));
    check_len("layer_norm", "dgamma", dgamma, d);
    check_len("layer_norm", "dbeta", dbeta, d);
    let piece = rows_per_piece(d, PIECE);
    let mut partials = vec![0.0f32; rows.div_ceil(piece) * 2 * d];
    (
        x.par_chunks(piece * d),
        mean.par_chunks(piece),
        rstd.par_chunks(piece),
        dy.par_chunks(piece * d),
        dx.par_chunks_mut(piece * d),
        partials.par_chunks_mut(2 * d),
    )
        .into_par_iter()
        .for_each(|(x, mean, rstd, dy, dx, partial)| {
            let (dgamma, dbeta) = partial.split_at_mut(d);
            backward_rows(x, gamma, mean, rstd, dy, dx, dgamma, dbeta);
        });
    for partial in partials.chunks_exact(2 * d) {
        for (total, p) in dgamma.iter_mut().chain(dbeta.iter_mut()).zip(partial) {
            *total += p;
        }
    }
}

multiversion! {
    fn forward_rows<A>(
        x: &[f32],
        gamma: &[f32],
        beta: &[f32],
        eps: f32,
        y: &mut [f32],
        mean: &mut [f32],
        rstd: &mut [f32],
    ) {
        let d = gamma.len();
        let rows = x.chunks_exact(d).zip(y.chunks_exact_mut(d));
        for ((x, y), (mean, rstd)) in rows.zip(mean.iter_mut().zip(rstd)) {
            *mean = sum(x) / d as f32;
            // The centred values pass through y: two passes over a row in the first-level cache cost less than the
            // cancellation of E[x^2] - E[x]^2.
            for (y, x) in y.iter_mut().zip(x) {
                *y = x - *mean;
            }
            *rstd = 1.0 / (dot::<A>(y, y) / d as f32 + eps).sqrt();
            for ((y, g), b) in y.iter_mut().zip(gamma).zip(beta) {
                *y = A::mul_add(*y * *rstd, *g, *b);
            }
        }
    }

    /// Rows to their norms, in place.
    pub(crate) fn normalise_rows<A>(x: &mut [f32], gamma: &[f32], beta: &[f32], eps: f32) {
        let d = gamma.len();
        for x in x.chunks_exact_mut(d) {
            let mean = sum(x) / d as f32;
            for x in x.iter_mut() {
                *x -= mean;
            }
            let rstd = 1.0 / (dot::<A>(x, x) / d as f32 + eps).sqrt();
            for ((x, g), b) in x.iter_mut().zip(gamma).zip(beta) {
                *x = A::mul_add(*x * rstd, *g, *b);
            }
        }
    }

    fn backward_rows<A>(
        x: &[f32],
        gamma: &[f32],
        mean: &[f32],
        rstd: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        dgamma: &mut [f32],
        dbeta: &mut [f32],
    ) {
        let d = gamma.len();
        let rows = x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(dx.chunks_exact_mut(d));
        for (((x, dy), dx), (mean, rstd)) in rows.zip(mean.iter().zip(rstd)) {
            let mut sum_g = [0.0f32; LANES];
            let mut sum_gx = [0.0f32; LANES];
            let mut at = 0;
            while at < d {
                // Only the last block of a row is shorter than LANES.
                let block = LANES.min(d - at);
                let (x, dy, gamma) = (&x[at..at + block], &dy[at..at + block], &gamma[at..at + block]);
                let (dgamma, dbeta) = (&mut dgamma[at..at + block], &mut dbeta[at..at + block]);
                for i in 0..block {
                    let xhat = (x[i] - mean) * rstd;
                    let g = dy[i] * gamma[i];
                    sum_g[i] += g;
                    sum_gx[i] = A::mul_add(g, xhat, sum_gx[i]);
                    dgamma[i] = A::mul_add(dy[i], xhat, dgamma[i]);
                    dbeta[i] += dy[i];
                }
                at += block;
            }
            let mean_g = add_lanes(sum_g) / d as f32;
            let mean_gx = add_lanes(sum_gx) / d as f32;
            for (((dx, x), dy), gamma) in dx.iter_mut().zip(x).zip(dy).zip(gamma) {
                let xhat = (x - mean) * rstd;
                *dx = A::mul_add(*rstd, dy * gamma - A::mul_add(xhat, mean_gx, mean_g), *dx);
            }
        }
    }
}
