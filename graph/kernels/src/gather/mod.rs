//! Sparse row sampling: whole rows, and weighted sums of four rows (bilinear reading of a field).
//!
//! `y_i = x[index_i]`, and `y_i = sum_k weight_ik table[index_ik]`. The backward passes scatter: several rows of the
//! gradient may fall on one row, so the contributions are first sorted by target and each target row sums its own,
//! in the order of `i`.

#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use crate::parallel::{rows_per_piece, PIECE};
use crate::{check_len, rows_of, size};
use rayon::prelude::*;

/// `y[i] = sum_k weight[i][k] * table[index[i][k]]`; `table` [any, d], `y` [index.len(), d].
///
/// # Panics
/// If a slice's length does not fit the shape or an index is out of range.
pub fn taps_forward(
    table: &[f32],
    index: &[[u32; 4]],
    weight: &[[f32; 4]],
    d: usize,
    y: &mut [f32],
) {
    check_index(index.as_flattened(), rows_of("gather", "table", table, d));
    check_len("gather", "weight", weight, index.len());
    check_len("gather", "y", y, size([index.len(), d]));
    let piece = rows_per_piece(d, PIECE);
    (
        y.par_chunks_mut(piece * d),
        index.par_chunks(piece),
        weight.par_chunks(piece),
    )
        .into_par_iter()
        .for_each(|(y, index, weight)| taps(table, index, weight, d, y));
}

/// Adds the gradient of `table` to `dtable` [any, d]: `dtable[index[i][k]] += weight[i][k] * dy[i]`.
///
/// # Panics
/// If a slice's length does not fit the shape or an index is out of range.
pub fn taps_backward(
    dy: &[f32],
    index: &[[u32; 4]],
    weight: &[[f32; 4]],
    d: usize,
    dtable: &mut [f32],
) {
    check_len("gather", "dy", dy, size([index.len(), d]));
    check_len("gather", "weight", weight, index.len());
    let weight = weight.as_flattened();
    scatter(index.as_flattened(), d, dtable, |from| {
        (&dy[(from / 4) * d..][..d], weight[from])
    });
}

/// `y[i] = x[index[i]]`; `x` [any, d], `y` [index.len(), d].
///
/// # Panics
/// If a slice's length does not fit the shape or an index is out of range.
pub fn rows_forward(x: &[f32], index: &[u32], d: usize, y: &mut [f32]) {
    check_index(index, rows_of("gather", "x", x, d));
    check_len("gather", "y", y, size([index.len(), d]));
    let piece = rows_per_piece(d, PIECE);
    y.par_chunks_mut(piece * d)
        .zip(index.par_chunks(piece))
        .for_each(|(y, index)| {
            for (y, from) in y.chunks_exact_mut(d).zip(index) {
                y.copy_from_slice(&x[*from as usize * d..][..d]);
            }
        });
}

/// Adds the gradient of `x` to `dx` [any, d]: `dx[index[i]] += dy[i]`.
///
/// # Panics
/// If a slice's length does not fit the shape or an index is out of range.
pub fn rows_backward(dy: &[f32], index: &[u32], d: usize, dx: &mut [f32]) {
    check_len("gather", "dy", dy, size([index.len(), d]));
    scatter(index, d, dx, |from| (&dy[from * d..][..d], 1.0));
}

#[track_caller]
fn check_index(index: &[u32], rows: usize) {
    if let Some(i) = index.iter().find(|i| **i as usize >= rows) {
        panic!("gather: index {i} is out of range for {rows} rows");
    }
}

/// `out[index[from]] += weight * row` for every `from`, where `(row, weight) = source(from)`.
fn scatter<'a>(
    index: &[u32],
    d: usize,
    out: &mut [f32],
    source: impl Fn(usize) -> (&'a [f32], f32) + Sync,
) {
    let rows = rows_of("gather", "the gradient", out, d);
    check_index(index, rows);
    let piece = rows_per_piece(d, PIECE);
    if rows <= piece {
        for (from, to) in index.iter().enumerate() {
            let (row, weight) = source(from);
            add_scaled(row, weight, &mut out[*to as usize * d..][..d]);
        }
        return;
    }
    // A counting sort, stable: the sources of target t are sorted[start[t]..start[t + 1]], ascending.
    let mut start = vec![0u32; rows + 1];
    for to in index {
        start[*to as usize + 1] += 1;
    }
    for t in 0..rows {
        start[t + 1] += start[t];
    }
    let mut next = start.clone();
    let mut sorted = vec![0u32; index.len()];
    for (from, to) in index.iter().enumerate() {
        let slot = &mut next[*to as usize];
        sorted[*slot as usize] = from as u32;
        *slot += 1;
    }
    out.par_chunks_mut(piece * d)
        .enumerate()
        .for_each(|(i, out)| {
            for (j, out) in out.chunks_exact_mut(d).enumerate() {
                let target = i * piece + j;
                for from in &sorted[start[target] as usize..start[target + 1] as usize] {
                    let (row, weight) = source(*from as usize);
                    add_scaled(row, weight, out);
                }
            }
        });
}

multiversion! {
    fn taps<A>(table: &[f32], index: &[[u32; 4]], weight: &[[f32; 4]], d: usize, y: &mut [f32]) {
        for ((y, index), [w0, w1, w2, w3]) in y.chunks_exact_mut(d).zip(index).zip(weight) {
            let [t0, t1, t2, t3] = index.map(|i| &table[i as usize * d..][..d]);
            for c in 0..d {
                y[c] = A::mul_add(*w3, t3[c], A::mul_add(*w2, t2[c], A::mul_add(*w1, t1[c], w0 * t0[c])));
            }
        }
    }

    fn add_scaled<A>(x: &[f32], scale: f32, y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = A::mul_add(scale, *x, *y);
        }
    }
}
