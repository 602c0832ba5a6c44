//! L2 normalisation of rows, `y = x / max(||x||, eps)`, as PyTorch's `normalize`.
//!
//! `dx = (dy - y (y . dy)) / ||x||`, and `dy / eps` where the norm was below `eps`.

#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use crate::parallel::{rows_per_piece, PIECE};
use crate::simd::dot;
use crate::{check_len, rows_of, size};
use rayon::prelude::*;

/// `x`, `y` [rows, d]; `norm` `[rows]` is `||x||` as it was, kept for [`backward`].
///
/// # Panics
/// If a slice's length does not fit the shape.
pub fn forward(x: &[f32], eps: f32, d: usize, y: &mut [f32], norm: &mut [f32]) {
    let rows = rows_of("l2_norm", "x", x, d);
    check_len("l2_norm", "y", y, size([rows, d]));
    check_len("l2_norm", "norm", norm, rows);
    let piece = rows_per_piece(d, PIECE);
    (
        x.par_chunks(piece * d),
        y.par_chunks_mut(piece * d),
        norm.par_chunks_mut(piece),
    )
        .into_par_iter()
        .for_each(|(x, y, norm)| forward_rows(x, eps, d, y, norm));
}

/// Adds the gradient of `x` to `dx` [rows, d], from the output `y`.
///
/// # Panics
/// If a slice's length does not fit the shape.
pub fn backward(y: &[f32], norm: &[f32], dy: &[f32], eps: f32, d: usize, dx: &mut [f32]) {
    let rows = rows_of("l2_norm", "y", y, d);
    check_len("l2_norm", "norm", norm, rows);
    check_len("l2_norm", "dy", dy, size([rows, d]));
    check_len("l2_norm", "dx", dx, size([rows, d]));
    let piece = rows_per_piece(d, PIECE);
    (
        y.par_chunks(piece * d),
        norm.par_chunks(piece),
        dy.par_chunks(piece * d),
        dx.par_chunks_mut(piece * d),
    )
        .into_par_iter()
        .for_each(|(y, norm, dy, dx)| backward_rows(y, norm, dy, eps, d, dx));
}

multiversion! {
    fn forward_rows<A>(x: &[f32], eps: f32, d: usize, y: &mut [f32], norm: &mut [f32]) {
        for ((x, y), norm) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).zip(norm) {
            *norm = dot::<A>(x, x).sqrt();
            let scale = 1.0 / if *norm < eps { eps } else { *norm };
            for (y, x) in y.iter_mut().zip(x) {
                *y = x * scale;
            }
        }
    }

    fn backward_rows<A>(y: &[f32], norm: &[f32], dy: &[f32], eps: f32, d: usize, dx: &mut [f32]) {
        let rows = y.chunks_exact(d).zip(dy.chunks_exact(d)).zip(dx.chunks_exact_mut(d));
        for (((y, dy), dx), norm) in rows.zip(norm) {
            // Below eps the divisor is a constant and the row is merely scaled.
            let (along, scale) = if *norm < eps { (0.0, 1.0 / eps) } else { (dot::<A>(y, dy), 1.0 / norm) };
            for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = A::mul_add(scale, A::mul_add(-along, *y, *dy), *dx);
            }
        }
    }
}
