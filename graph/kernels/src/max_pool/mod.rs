//! 2 x 2 max pooling with stride 2 on NHWC rows; an odd last row or column is left out, as in PyTorch.

#[cfg(test)]
mod tests;

use crate::parallel::PIECE;
use crate::{check_len, size};
use rayon::prelude::*;

/// `x` [b*h*w, c] to `y` [b*(h/2)*(w/2), c]; `argmax` holds 0..4, (dy, dx) as `2 dy + dx`, the first among equals.
///
/// # Panics
/// If a slice's length does not fit the shape.
pub fn forward(
    x: &[f32],
    y: &mut [f32],
    argmax: &mut [u8],
    b: usize,
    h: usize,
    w: usize,
    c: usize,
) {
    let outputs = b * (h / 2) * (w / 2) * c;
    check_len("max_pool", "x", x, size([b, h, w, c]));
    check_len("max_pool", "y", y, outputs);
    check_len("max_pool", "argmax", argmax, outputs);
    if outputs == 0 {
        return;
    }
    let line = (w / 2) * c;
    let lines = (PIECE / line).max(1);
    (
        y.par_chunks_mut(line * lines),
        argmax.par_chunks_mut(line * lines),
    )
        .into_par_iter()
        .enumerate()
        .for_each(|(piece, (y, argmax))| {
            for (i, (y, argmax)) in y
                .chunks_exact_mut(line)
                .zip(argmax.chunks_exact_mut(line))
                .enumerate()
            {
                let (image, top) = input_lines(piece * lines + i, h);
                forward_line(
                    &x[(image * h + top) * w * c..][..2 * w * c],
                    y,
                    argmax,
                    w,
                    c,
                );
            }
        });
}

/// Adds each gradient of `dy` to the element of `dx` [b*h*w, c] that was the largest.
///
/// # Panics
/// If a slice's length does not fit the shape.
pub fn backward(dy: &[f32], argmax: &[u8], dx: &mut [f32], b: usize, h: usize, w: usize, c: usize) {
    let (oh, ow) = (h / 2, w / 2);
    check_len("max_pool", "dx", dx, size([b, h, w, c]));
    check_len("max_pool", "dy", dy, size([b, oh, ow, c]));
    check_len("max_pool", "argmax", argmax, size([b, oh, ow, c]));
    if dy.is_empty() {
        return;
    }
    dx.par_chunks_mut(h * w * c)
        .zip(dy.par_chunks(oh * ow * c))
        .zip(argmax.par_chunks(oh * ow * c))
        .with_min_len((PIECE / (h * w * c)).max(1))
        .for_each(|((dx, dy), argmax)| {
            for (cell, (dy, argmax)) in dy.chunks_exact(c).zip(argmax.chunks_exact(c)).enumerate() {
                let corner = (2 * (cell / ow) * w + 2 * (cell % ow)) * c;
                for channel in 0..c {
                    let at = usize::from(argmax[channel]);
                    dx[corner + ((at / 2) * w + at % 2) * c + channel] += dy[channel];
                }
            }
        });
}

/// The image of an output line and the upper of the two input lines under it.
fn input_lines(output_line: usize, h: usize) -> (usize, usize) {
    (output_line / (h / 2), output_line % (h / 2) * 2)
}

multiversion! {
    fn forward_line<A>(x: &[f32], y: &mut [f32], argmax: &mut [u8], w: usize, c: usize) {
        let (top, bottom) = x.split_at(w * c);
        let windows = top.chunks_exact(2 * c).zip(bottom.chunks_exact(2 * c));
        for ((y, argmax), (top, bottom)) in y.chunks_exact_mut(c).zip(argmax.chunks_exact_mut(c)).zip(windows) {
            let (a, b) = top.split_at(c);
            let (p, q) = bottom.split_at(c);
            for i in 0..c {
                let (mut best, mut at) = (a[i], 0);
                for (candidate, k) in [(b[i], 1), (p[i], 2), (q[i], 3)] {
                    let larger = candidate > best;
                    best = if larger { candidate } else { best };
                    at = if larger { k } else { at };
                }
                y[i] = best;
                argmax[i] = at;
            }
        }
    }
}
