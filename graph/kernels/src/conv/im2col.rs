//! Patches of a map as rows of a matrix, and the way back.

use super::Shape;
use rayon::prelude::*;

/// `columns` [out_rows, 9 * inp]: the 3 x 3 neighbourhood of every output, zero outside the map.
pub(super) fn gather(x: &[f32], shape: &Shape, columns: &mut [f32]) {
    let &Shape {
        height,
        width,
        inp,
        stride,
        ..
    } = shape;
    let (oh, ow) = (shape.out_height(), shape.out_width());
    let line = ow * 9 * inp;
    if line == 0 {
        return;
    }
    columns
        .par_chunks_mut(line)
        .enumerate()
        .for_each(|(line, columns)| {
            let (image, oy) = (line / oh, line % oh);
            for (ox, patch) in columns.chunks_exact_mut(9 * inp).enumerate() {
                for (tap, patch) in patch.chunks_exact_mut(inp).enumerate() {
                    let (iy, ix) = (oy * stride + tap / 3, ox * stride + tap % 3);
                    // Shifted by the padding, so that the border is 0 and the map's far edge its length + 1.
                    if (1..=height).contains(&iy) && (1..=width).contains(&ix) {
                        let from = (image * height + iy - 1) * width + ix - 1;
                        patch.copy_from_slice(&x[from * inp..(from + 1) * inp]);
                    } else {
                        patch.fill(0.0);
                    }
                }
            }
        });
}

/// The transpose of [`gather`]: adds every column entry to the input it was read from.
pub(super) fn scatter_add(columns: &[f32], shape: &Shape, dx: &mut [f32]) {
    let &Shape {
        height,
        width,
        inp,
        stride,
        ..
    } = shape;
    let (oh, ow) = (shape.out_height(), shape.out_width());
    if dx.is_empty() {
        return;
    }
    // By input line, each gathering from the outputs that read it: lines are then independent.
    dx.par_chunks_mut(width * inp)
        .enumerate()
        .for_each(|(line, dx)| {
            let (image, iy) = (line / height, line % height);
            for ky in 0..3 {
                let Some(oy) = output_of(iy, ky, stride, oh) else {
                    continue;
                };
                let columns = &columns[(image * oh + oy) * ow * 9 * inp..][..ow * 9 * inp];
                for (ix, dx) in dx.chunks_exact_mut(inp).enumerate() {
                    for kx in 0..3 {
                        let Some(ox) = output_of(ix, kx, stride, ow) else {
                            continue;
                        };
                        let from = &columns[(ox * 9 + ky * 3 + kx) * inp..][..inp];
                        for (d, c) in dx.iter_mut().zip(from) {
                            *d += c;
                        }
                    }
                }
            }
        });
}

/// The output that reads input `i` at tap `k` of its three, if there is one.
fn output_of(i: usize, k: usize, stride: usize, outputs: usize) -> Option<usize> {
    let shifted = (i + 1).checked_sub(k)?;
    (shifted.is_multiple_of(stride) && shifted / stride < outputs).then_some(shifted / stride)
}
