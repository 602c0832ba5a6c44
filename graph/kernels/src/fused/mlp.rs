//! Two linear layers in a row: the feed-forward part of a transformer's block.

use super::Linear;
use crate::buffers::resized;
use crate::parallel::for_each_chunk;
use crate::{alone, check_len, rows_of, size};
use std::cell::Cell;

/// Most rows that are in between at once: of four times 384 values they fill half of a second-level cache of 1 MiB.
const MOST_ROWS: usize = 96;

/// Pieces into which the rows are cut if they suffice, so that threads end together.
const PIECES: usize = 16;

/// Two layers, the second of which reads the first's rows while they are in the cache.
#[derive(Debug)]
pub struct Mlp {
    first: Linear,
    second: Linear,
}

impl Mlp {
    /// Of two layers.
    ///
    /// # Panics
    /// If the second does not read rows of the length that the first writes.
    pub fn new(first: Linear, second: Linear) -> Self {
        assert_eq!(first.out(), second.inp(), "fused mlp: rows in between");
        Self { first, second }
    }

    /// `x` [rows, inp] to `y` [rows, out]; `residual`, if there is one, has the shape of `y`.
    ///
    /// # Panics
    /// If a slice's length does not fit.
    pub fn forward(&self, x: &[f32], residual: Option<&[f32]>, y: &mut [f32]) {
        let (inp, width, out) = (self.first.inp(), self.first.out(), self.second.out());
        let rows = rows_of("fused mlp", "y", y, out);
        check_len("fused mlp", "x", x, size([rows, inp]));
        if let Some(residual) = residual {
            check_len("fused mlp", "residual", residual, y.len());
        }
        let pieces = if crate::parallel::is_alone() {
            1
        } else {
            PIECES
        };
        // Where rows that fill no tile are computed in another way, the same rows must share a tile however many pieces there
        // are, or their last bits would differ.
        let most = rows.div_ceil(pieces).clamp(1, MOST_ROWS);
        let most = self.first.whole_tiles(most);
        for_each_chunk(y, most * out, 1, |i, y| {
            let (first, count) = (i * most, y.len() / out);
            let mut between = BETWEEN.take();
            let hidden = resized(&mut between, count * width);
            alone(|| {
                self.first
                    .forward(&x[first * inp..(first + count) * inp], None, hidden);
                let residual = residual.map(|r| &r[first * out..(first + count) * out]);
                self.second.forward(hidden, residual, y);
            });
            BETWEEN.set(between);
        });
    }
}

thread_local! {
    // Taken while in use.
    static BETWEEN: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}
