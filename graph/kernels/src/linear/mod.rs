//! Fully connected layer, `y = x w^T + b`.
//!
//! `x` is [rows, inp], `w` is [out, inp] (PyTorch's and timm's layout), `b` is `[out]`, `y` is [rows, out].
//! With `dy` the gradient of `y`: `dx = dy w`, `dw = dy^T x`, `db = sum over rows of dy`.

#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use crate::gemm::{matmul, matmul_then, Layout, Precision};
use crate::parallel::{rows_per_piece, sum_pieces, PIECE};
use crate::{check_len, rows_of, size};

/// `y = x w^T + b`.
///
/// # Panics
/// If a slice's length does not fit the shape.
pub fn forward(
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    y: &mut [f32],
    inp: usize,
    out: usize,
    precision: Precision,
) {
    let rows = rows_of("linear", "x", x, inp);
    check_len("linear", "w", w, size([out, inp]));
    check_len("linear", "y", y, size([rows, out]));
    let (la, lb) = (Layout::N, Layout::T);
    match b {
        Some(b) => {
            check_len("linear", "b", b, out);
            let add = |_, first: usize, y: &mut [f32]| add_to(y, &b[first..]);
            matmul_then(
                rows,
                inp,
                out,
                x,
                la,
                w,
                lb,
                y,
                false,
                precision,
                Some(&add),
            );
        }
        None => matmul(rows, inp, out, x, la, w, lb, y, false, precision),
    }
}

/// `dx += dy w`.
///
/// # Panics
/// If a slice's length does not fit the shape.
pub fn backward_input(
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
    inp: usize,
    out: usize,
    precision: Precision,
) {
    let rows = rows_of("linear", "dy", dy, out);
    check_len("linear", "w", w, size([out, inp]));
    check_len("linear", "dx", dx, size([rows, inp]));
    matmul(
        rows,
        out,
        inp,
        dy,
        Layout::N,
        w,
        Layout::N,
        dx,
        true,
        precision,
    );
}

/// `dw += dy^T x` and `db += sum over rows of dy`.
///
/// # Panics
/// If a slice's length does not fit the shape.
pub fn backward_params(
    dy: &[f32],
    x: &[f32],
    dw: &mut [f32],
    db: Option<&mut [f32]>,
    inp: usize,
    out: usize,
    precision: Precision,
) {
    let rows = rows_of("linear", "dy", dy, out);
    check_len("linear", "x", x, size([rows, inp]));
    check_len("linear", "dw", dw, size([out, inp]));
    matmul(
        out,
        rows,
        inp,
        dy,
        Layout::T,
        x,
        Layout::N,
        dw,
        true,
        precision,
    );
    if let Some(db) = db {
        check_len("linear", "db", db, out);
        add_column_sums(dy, out, db);
    }
}

/// `sums[j] += sum over rows i of x[i, j]`.
pub(crate) fn add_column_sums(x: &[f32], d: usize, sums: &mut [f32]) {
    let piece = rows_per_piece(d, PIECE) * d;
    sum_pieces(x.len().div_ceil(piece), d, sums, |i, partial| {
        add_rows(&x[i * piece..x.len().min((i + 1) * piece)], partial);
    });
}

multiversion! {
    /// `y += b`, as far as `y` goes.
    pub(crate) fn add_to<A>(y: &mut [f32], b: &[f32]) {
        for (y, b) in y.iter_mut().zip(b) {
            *y += b;
        }
    }

    fn add_rows<A>(x: &[f32], sums: &mut [f32]) {
        for row in x.chunks_exact(sums.len()) {
            for (s, v) in sums.iter_mut().zip(row) {
                *s += v;
            }
        }
    }
}
