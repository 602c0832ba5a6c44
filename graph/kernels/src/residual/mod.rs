//! Residual branch with LayerScale (Touvron et al., 2021) and stochastic depth (Huang et al., 2016):
//! `y = x + row_scale * gamma * f`.
//!
//! `gamma` `[d]` is per channel, `row_scale` `[rows]` per row (0 or 1 / keep probability, equal for the rows of one item);
//! each is 1 where absent. `df = row_scale * gamma * dy`, `dgamma = sum over rows of row_scale * f * dy`; the gradient
//! of `x` is `dy` itself and the caller's to add.

#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use crate::parallel::{rows_per_piece, sum_pieces, PIECE};
use crate::{check_len, rows_of, size};
use rayon::prelude::*;

/// `x`, `f`, `y` [rows, d].
///
/// # Panics
/// If a slice's length does not fit the shape.
pub fn forward(
    x: &[f32],
    f: &[f32],
    gamma: Option<&[f32]>,
    row_scale: Option<&[f32]>,
    d: usize,
    y: &mut [f32],
) {
    let rows = rows_of("residual", "x", x, d);
    check_len("residual", "f", f, size([rows, d]));
    check_len("residual", "y", y, size([rows, d]));
    check_scales(gamma, row_scale, rows, d);
    let piece = rows_per_piece(d, PIECE);
    (
        x.par_chunks(piece * d),
        f.par_chunks(piece * d),
        y.par_chunks_mut(piece * d),
    )
        .into_par_iter()
        .enumerate()
        .for_each(|(i, (x, f, y))| {
            forward_rows(x, f, gamma, part(row_scale, i * piece, piece), d, y)
        });
}

/// Adds the gradients of `f` [rows, d] and, where wanted, of `gamma` `[d]`. `f` is only read for `dgamma`.
///
/// # Panics
/// If a slice's length does not fit the shape.
pub fn backward(
    f: &[f32],
    gamma: Option<&[f32]>,
    row_scale: Option<&[f32]>,
    dy: &[f32],
    d: usize,
    df: &mut [f32],
    dgamma: Option<&mut [f32]>,
) {
    let rows = rows_of("residual", "dy", dy, d);
    check_len("residual", "df", df, size([rows, d]));
    check_scales(gamma, row_scale, rows, d);
    let piece = rows_per_piece(d, PIECE);
    (dy.par_chunks(piece * d), df.par_chunks_mut(piece * d))
        .into_par_iter()
        .enumerate()
        .for_each(|(i, (dy, df))| {
            backward_rows(dy, gamma, part(row_scale, i * piece, piece), d, df)
        });
    if let Some(dgamma) = dgamma {
        check_len("residual", "f", f, size([rows, d]));
        check_len("residual", "dgamma", dgamma, d);
        sum_pieces(rows.div_ceil(piece), d, dgamma, |i, partial| {
            let first = i * piece;
            let elements = first * d..((first + piece) * d).min(dy.len());
            gamma_rows(
                &f[elements.clone()],
                &dy[elements],
                part(row_scale, first, piece),
                partial,
            );
        });
    }
}

fn check_scales(gamma: Option<&[f32]>, row_scale: Option<&[f32]>, rows: usize, d: usize) {
    if let Some(gamma) = gamma {
        check_len("residual", "gamma", gamma, d);
    }
    if let Some(row_scale) = row_scale {
        check_len("residual", "row_scale", row_scale, rows);
    }
}

/// The scales of up to `rows` rows from `first` on.
fn part(row_scale: Option<&[f32]>, first: usize, rows: usize) -> Option<&[f32]> {
    row_scale.map(|scale| &scale[first..scale.len().min(first + rows)])
}

multiversion! {
    fn forward_rows<A>(
        x: &[f32],
        f: &[f32],
        gamma: Option<&[f32]>,
        row_scale: Option<&[f32]>,
        d: usize,
        y: &mut [f32],
    ) {
        let rows = x.chunks_exact(d).zip(f.chunks_exact(d)).zip(y.chunks_exact_mut(d));
        for (row, ((x, f), y)) in rows.enumerate() {
            let scale = row_scale.map_or(1.0, |s| s[row]);
            match gamma {
                Some(gamma) => {
                    for (((y, x), f), g) in y.iter_mut().zip(x).zip(f).zip(gamma) {
                        *y = A::mul_add(scale * g, *f, *x);
                    }
                }
                None => {
                    for ((y, x), f) in y.iter_mut().zip(x).zip(f) {
                        *y = A::mul_add(scale, *f, *x);
                    }
                }
            }
        }
    }

    fn backward_rows<A>(dy: &[f32], gamma: Option<&[f32]>, row_scale: Option<&[f32]>, d: usize, df: &mut [f32]) {
        for (row, (dy, df)) in dy.chunks_exact(d).zip(df.chunks_exact_mut(d)).enumerate() {
            let scale = row_scale.map_or(1.0, |s| s[row]);
            match gamma {
                Some(gamma) => {
                    for ((df, dy), g) in df.iter_mut().zip(dy).zip(gamma) {
                        *df = A::mul_add(scale * g, *dy, *df);
                    }
                }
                None => {
                    for (df, dy) in df.iter_mut().zip(dy) {
                        *df = A::mul_add(scale, *dy, *df);
                    }
                }
            }
        }
    }

    fn gamma_rows<A>(f: &[f32], dy: &[f32], row_scale: Option<&[f32]>, dgamma: &mut [f32]) {
        let d = dgamma.len();
        for (row, (f, dy)) in f.chunks_exact(d).zip(dy.chunks_exact(d)).enumerate() {
            let scale = row_scale.map_or(1.0, |s| s[row]);
            for ((dg, f), dy) in dgamma.iter_mut().zip(f).zip(dy) {
                *dg = A::mul_add(scale * f, *dy, *dg);
            }
        }
    }
}
