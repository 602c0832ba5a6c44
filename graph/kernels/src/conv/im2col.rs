//! Neighbourhoods of a map as rows of a matrix, a block of lines at a time.

use super::Shape;
use crate::parallel::{for_each_chunk, PIECE};
use std::ops::Range;

/// Elements of a block of columns: 2 MiB, which stays in the caches between the copy and the product, where all
/// columns together would be nine times the map.
const BLOCK: usize = 512 * 1024;

/// Calls `f(lines, rows, columns)` for one block after another: lines counted through the batch, the rows of `y` that
/// they hold, and a buffer of a row of 9 * inp columns for each.
pub(super) fn for_each_block(
    shape: &Shape,
    mut f: impl FnMut(Range<usize>, Range<usize>, &mut [f32]),
) {
    let (lines, width) = (shape.batch * shape.height, shape.width);
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

/// `columns` [lines * width, 9 * inp]: the 3 x 3 neighbourhood of every location, zero outside the map.
pub(super) fn gather(x: &[f32], shape: &Shape, lines: Range<usize>, columns: &mut [f32]) {
    let &Shape {
        height, width, inp, ..
    } = shape;
    let line = width * 9 * inp;
    for_each_chunk(columns, line, PIECE, |i, columns| {
        let at = lines.start + i;
        let (image, y) = (at / height, at % height);
        for (x_at, patch) in columns.chunks_exact_mut(9 * inp).enumerate() {
            for (tap, patch) in patch.chunks_exact_mut(inp).enumerate() {
                // Shifted by the padding: the map is at 1..=height and 1..=width.
                let (iy, ix) = (y + tap / 3, x_at + tap % 3);
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
