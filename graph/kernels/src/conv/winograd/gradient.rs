//! The gradient of the filters: the same 16 products, of transformed gradients with transformed maps, where the sum over
//! neighbourhoods takes 36. `dg = G^T [sum over tiles (A dY A^T) * (B^T d B)] G`.

use super::tiles::Tiles;
use super::transforms::{input, of_gradient, to_taps};
use super::{Winograd, ELEMENTS};
use crate::buffers::Buffer;
use crate::conv::Shape;
use crate::cpu;
use crate::gemm::{strided, Operand, Precision};
use crate::lanes::LANES;
use crate::parallel::{for_each_chunk, for_each_task, Scattered, PIECE};

/// Tiles whose transformed values are in memory at once: enough for long products, few enough for the caches.
const BLOCK: usize = 256;

impl Winograd {
    /// Whether the gradient is faster so, for maps of so many channels.
    pub(in crate::conv) fn suits_gradient(shape: &Shape) -> bool {
        Self::suits(shape.inp) && Self::suits(shape.out)
    }

    /// `dw += `the gradient of the filters, [out, 9 * inp].
    pub(in crate::conv) fn add_gradient(
        x: &[f32],
        dy: &[f32],
        shape: &Shape,
        dw: &mut [f32],
        precision: Precision,
    ) {
        let (tiles, path) = (Tiles::of(shape), cpu::path());
        let (inp, out, columns) = (shape.inp, shape.out, tiles.columns);
        let lines = tiles.all_lines();
        if lines * columns == 0 {
            return;
        }
        let block = (BLOCK / columns).clamp(1, lines);
        let zeros = Buffer::zeroed(inp.max(out));
        let mut maps = Buffer::take(block * columns * row(inp));
        let mut gradients = Buffer::take(block * columns * row(out));
        let mut sums = Buffer::zeroed(ELEMENTS * out * inp);
        for first in (0..lines).step_by(block) {
            let count = block.min(lines - first) * columns;
            let at = |tile: usize| (first + tile / columns, tile % columns);
            let maps = &mut maps[..count * row(inp)];
            for_each_chunk(maps, row(inp), PIECE, |tile, to| {
                let (line, column) = at(tile);
                let from = tiles.neighbourhood(x, line, column, &zeros[..inp]);
                input(path, &from, &mut to[..ELEMENTS * inp]);
            });
            let gradients = &mut gradients[..count * row(out)];
            for_each_chunk(gradients, row(out), PIECE, |tile, to| {
                let (line, column) = at(tile);
                let from = tiles.locations(dy, out, line, column, &zeros[..out]);
                of_gradient(path, &from, &mut to[..ELEMENTS * out]);
            });
            let (maps, gradients, sums) = (&*maps, &*gradients, Scattered::new(&mut sums));
            for_each_task(ELEMENTS, true, |element| {
                let dy = rows(gradients, element, out).transposed();
                let x = rows(maps, element, inp);
                let sum = sums.from(element * out * inp);
                // SAFETY: this task alone has this element's sums.
                unsafe { strided(out, count, inp, dy, x, &sum, inp, true, precision) };
            });
        }
        for (row, dw) in dw.chunks_exact_mut(9 * inp).enumerate() {
            to_taps(path, &sums[row * inp..], out * inp, dw);
        }
    }
}

/// From a transformed tile to the next: its elements are written side by side, and each is read as a row of a matrix. Rows
/// that are powers of two apart would evict each other from the caches.
fn row(channels: usize) -> usize {
    ELEMENTS * channels + LANES
}

/// One element of all tiles: [tiles, channels].
fn rows(tiles: &[f32], element: usize, channels: usize) -> Operand<'_> {
    Operand {
        data: &tiles[element * channels..],
        row: row(channels),
        col: 1,
    }
}
