//! The permutation between [b*h*w, 4*c] with channels (dy, dx, c) and the map of twice the size [b*2h*2w, c].

use crate::parallel::PIECE;
use crate::{check_len, size};
use rayon::prelude::*;

/// `y[(b, 2 i + dy, 2 j + dx), c] = x[(b, i, j), (dy, dx, c)]`.
///
/// # Panics
/// If a slice's length does not fit the shape.
pub fn pixel_shuffle(x: &[f32], y: &mut [f32], b: usize, h: usize, w: usize, c: usize) {
    check_len("pixel_shuffle", "x", x, size([b, h, w, 4, c]));
    check_len("pixel_shuffle", "y", y, x.len());
    if x.is_empty() {
        return;
    }
    // One line of x is two lines of y.
    x.par_chunks(w * 4 * c)
        .zip(y.par_chunks_mut(w * 4 * c))
        .with_min_len(PIECE.div_ceil(4 * w * c))
        .for_each(|(x, y)| {
            let (top, bottom) = y.split_at_mut(w * 2 * c);
            for ((x, top), bottom) in x
                .chunks_exact(4 * c)
                .zip(top.chunks_exact_mut(2 * c))
                .zip(bottom.chunks_exact_mut(2 * c))
            {
                top.copy_from_slice(&x[..2 * c]);
                bottom.copy_from_slice(&x[2 * c..]);
            }
        });
}

/// The backward pass of [`pixel_shuffle`]: `dx[(b, i, j), (dy, dx, c)] += dy[(b, 2 i + dy, 2 j + dx), c]`.
///
/// # Panics
/// If a slice's length does not fit the shape.
pub fn pixel_unshuffle_add(dy: &[f32], dx: &mut [f32], b: usize, h: usize, w: usize, c: usize) {
    check_len("pixel_unshuffle_add", "dy", dy, size([b, h, w, 4, c]));
    check_len("pixel_unshuffle_add", "dx", dx, dy.len());
    if dy.is_empty() {
        return;
    }
    dy.par_chunks(w * 4 * c)
        .zip(dx.par_chunks_mut(w * 4 * c))
        .with_min_len(PIECE.div_ceil(4 * w * c))
        .for_each(|(dy, dx)| {
            let (top, bottom) = dy.split_at(w * 2 * c);
            for ((dx, top), bottom) in dx
                .chunks_exact_mut(4 * c)
                .zip(top.chunks_exact(2 * c))
                .zip(bottom.chunks_exact(2 * c))
            {
                for (d, v) in dx.iter_mut().zip(top.iter().chain(bottom)) {
                    *d += v;
                }
            }
        });
}
