//! Patches of a map as rows of a matrix, and the way back, a block of output lines at a time.

use super::Shape;
use crate::parallel::PIECE;
use rayon::prelude::*;
use std::ops::Range;

/// Elements of a block of columns: 2 MiB, which stays in the caches between the copy and the product, where all
/// columns together would be nine times the map.
const BLOCK: usize = 512 * 1024;

/// Calls `f(lines, outputs, columns)` for one block after another: output lines counted through the batch, the rows of
/// `y` that they hold, and a buffer of a row of 9 * inp columns for each.
pub(super) fn for_each_block(
    shape: &Shape,
    mut f: impl FnMut(Range<usize>, Range<usize>, &mut [f32]),
) {
    let (lines, width) = (shape.batch * shape.out_height(), shape.out_width());
    let line = width * 9 * shape.inp;
    if lines == 0 || line == 0 {
        return;
    }
    let block = (BLOCK / line).clamp(1, lines);
    let mut columns = vec![0.0; block * line];
    for first in (0..lines).step_by(block) {
        let last = lines.min(first + block);
        f(
            first..last,
            first * width..last * width,
            &mut columns[..(last - first) * line],
        );
    }
}

/// `columns` [lines * out_width, 9 * inp]: the 3 x 3 neighbourhood of every output, zero outside the map.
pub(super) fn gather(x: &[f32], shape: &Shape, lines: Range<usize>, columns: &mut [f32]) {
    let &Shape {
        height,
        width,
        inp,
        stride,
        ..
    } = shape;
    let (oh, line) = (shape.out_height(), shape.out_width() * 9 * inp);
    columns
        .par_chunks_mut(line)
        .zip(lines)
        .with_min_len(PIECE.div_ceil(line))
        .for_each(|(columns, line)| {
            let (image, oy) = (line / oh, line % oh);
            for (ox, patch) in columns.chunks_exact_mut(9 * inp).enumerate() {
                for (tap, patch) in patch.chunks_exact_mut(inp).enumerate() {
                    // Shifted by the padding: the map is at 1..=height and 1..=width.
                    let (iy, ix) = (oy * stride + tap / 3, ox * stride + tap % 3);
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

/// The transpose of [`gather`]: adds every column entry to the input it would be read from.
pub(super) fn scatter_add(columns: &[f32], shape: &Shape, lines: Range<usize>, dx: &mut [f32]) {
    let &Shape {
        height,
        width,
        inp,
        stride,
        ..
    } = shape;
    let (oh, ow) = (shape.out_height(), shape.out_width());
    // The inputs above the first output's centre and below the last one's are at most one line away.
    let input_of = |line: usize| line / oh * height + line % oh * stride;
    let first = input_of(lines.start).saturating_sub(1);
    let last = (input_of(lines.end - 1) + 2).min(shape.batch * height);
    // By input line, each adding up what the outputs around it hold: the lines are then independent.
    dx[first * width * inp..last * width * inp]
        .par_chunks_mut(width * inp)
        .enumerate()
        .with_min_len(PIECE.div_ceil(9 * width * inp))
        .for_each(|(line, dx)| {
            let (image, iy) = ((first + line) / height, (first + line) % height);
            for ky in 0..3 {
                let Some(oy) = output_of(iy, ky, stride, oh) else {
                    continue;
                };
                let Some(line) = (image * oh + oy)
                    .checked_sub(lines.start)
                    .filter(|l| *l < lines.len())
                else {
                    continue;
                };
                let columns = &columns[line * ow * 9 * inp..][..ow * 9 * inp];
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
