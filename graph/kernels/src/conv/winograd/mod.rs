//! Winograd's minimal filtering F(2 x 2, 3 x 3): a 3 x 3 convolution in 16 products where the sum over neighbourhoods
//! takes 36 (Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*, 2016, section 4.1).
//!
//! Every 2 x 2 *tile* of `y` comes from 4 x 4 locations `d` of `x`: `Y = A^T [(G g G^T) * (B^T d B)] A`, where `*` is
//! element by element and sums over the channels. So each of the 16 elements is a matrix product of its own, of all
//! tiles with all filters. All factors of `A` and `B` are 1, 0 or -1, so that in `f32` the error stays that of the sum
//! itself; what `bf16` rounds are the transformed values.

mod gradient;
mod tiles;
mod transforms;

use super::weights::Filters;
use super::Shape;
use crate::buffers::resized;
use crate::cpu;
use crate::gemm::{FinishedRows, Packed, Precision};
use crate::lanes::LANES;
use crate::parallel::{for_each_task, Scattered};
use crate::{check_len, size};
use std::cell::RefCell;
use std::ops::Range;
use tiles::Tiles;
use transforms::{filter, input, output};

/// Elements of a transformed tile.
const ELEMENTS: usize = 16;

/// Most tiles of a task: their transformed values, before and after the products, should stay in the second-level cache.
const MOST_TILES: usize = 48;

/// Fewest tiles of a task, which reads all weights once.
const LEAST_TILES: usize = 18;

/// Tasks into which the tiles are cut if they suffice.
const TASKS: usize = 8;

/// Multiplications below which a convolution stays on its thread.
const WORK_PER_PIECE: usize = 1 << 18;

/// Fewest channels for which the transforms are cheaper than the products that they save.
const LEAST_CHANNELS: usize = 32;

/// Transformed and packed filters.
#[derive(Debug)]
pub(super) struct Winograd {
    /// [inp, out] each.
    elements: Vec<Packed>,
}

impl Winograd {
    /// Whether it is the faster way for maps of so many channels.
    pub(super) fn suits(inp: usize) -> bool {
        inp >= LEAST_CHANNELS && inp.is_multiple_of(LANES)
    }

    /// Of `filters`, whose columns are (ky, kx, channel).
    pub(super) fn new(filters: &Filters, precision: Precision) -> Self {
        let size = filters.rows * filters.channels;
        let mut transformed = vec![0.0f32; ELEMENTS * size];
        let path = cpu::path();
        for row in 0..filters.rows {
            let taps = std::array::from_fn(|tap| filters.tap(row, tap));
            filter(
                path,
                &taps,
                &mut transformed[row * filters.channels..],
                size,
            );
        }
        let elements = (transformed.chunks_exact(size))
            .map(|e| Packed::new(e, filters.layout, filters.inp(), filters.out(), precision))
            .collect();
        Self { elements }
    }

    pub(super) fn inp(&self) -> usize {
        self.elements[0].k()
    }

    pub(super) fn out(&self) -> usize {
        self.elements[0].n()
    }

    /// Length of a row of products: whole registers.
    fn product(&self) -> usize {
        self.out().next_multiple_of(LANES)
    }

    /// `y (+)= conv(x, w)`; finished rows of `y` are handed to `then`.
    pub(super) fn apply(
        &self,
        x: &[f32],
        shape: &Shape,
        y: &mut [f32],
        accumulate: bool,
        then: Option<FinishedRows>,
    ) {
        check_len("conv", "x", x, size([shape.rows(), shape.inp]));
        check_len("conv", "y", y, size([shape.rows(), shape.out]));
        if y.is_empty() {
            return;
        }
        let tiles = Tiles::of(shape);
        let lines = tiles.all_lines();
        let most = (lines * tiles.columns / TASKS).clamp(LEAST_TILES, MOST_TILES);
        let most = (most / tiles.columns).clamp(1, lines);
        let tasks = lines.div_ceil(most);
        let y = Scattered::new(y);
        let task = |i: usize| {
            let lines = i * lines / tasks..(i + 1) * lines / tasks;
            BUFFERS.with_borrow_mut(|buffers| {
                self.multiply(x, &tiles, lines.clone(), buffers);
                // SAFETY: tasks have different lines of tiles, so different rows of y, which is borrowed mutably.
                unsafe { self.put(&tiles, lines, &buffers.products, &y, accumulate, then) }
            });
        };
        let work = lines * tiles.columns * ELEMENTS * self.inp() * self.out();
        for_each_task(tasks, work > WORK_PER_PIECE, task);
    }

    /// Some lines of tiles, transformed and multiplied, to `buffers.products`.
    fn multiply(&self, x: &[f32], tiles: &Tiles, lines: Range<usize>, buffers: &mut Buffers) {
        let (inp, packed, path) = (self.inp(), &self.elements[0], cpu::path());
        let (row, rows) = (
            packed.row_units(),
            packed.whole_tiles(lines.len() * tiles.columns),
        );
        let zeros = resized(&mut buffers.outside, inp);
        zeros.fill(0.0);
        let zeros = &*zeros;
        let tile = resized(&mut buffers.tile, ELEMENTS * inp);
        let units = resized(&mut buffers.units, ELEMENTS * rows * row);
        let numbered = lines.flat_map(|line| (0..tiles.columns).map(move |column| (line, column)));
        for (i, (line, column)) in numbered.enumerate() {
            input(path, &tiles.neighbourhood(x, line, column, zeros), tile);
            for (element, tile) in tile.chunks_exact(inp).enumerate() {
                packed.to_units(tile, &mut units[(element * rows + i) * row..][..row]);
            }
        }
        let products = resized(&mut buffers.products, ELEMENTS * rows * self.product());
        let elements = units
            .chunks_exact(rows * row)
            .zip(products.chunks_exact_mut(rows * self.product()));
        for (packed, (units, products)) in self.elements.iter().zip(elements) {
            packed.multiply_units(units, products, self.product());
        }
    }

    /// The products of some lines of tiles, transformed back, to their rows of `y`.
    ///
    /// # Safety
    /// Nothing else accesses these rows.
    unsafe fn put(
        &self,
        tiles: &Tiles,
        lines: Range<usize>,
        products: &[f32],
        y: &Scattered,
        accumulate: bool,
        then: Option<FinishedRows>,
    ) {
        let (out, width, path) = (self.out(), tiles.shape.width, cpu::path());
        let rows = self.elements[0].whole_tiles(lines.len() * tiles.columns);
        let product = self.product();
        let mut tile = 0;
        for line in lines {
            let (first, height) = tiles.rows(line);
            // SAFETY: the caller's promise.
            let y = unsafe { y.piece(first * out, height * width * out) };
            let (upper, lower) = y.split_at_mut(width * out);
            let mut lower = lower.chunks_mut(2 * out);
            for upper in upper.chunks_mut(2 * out) {
                let elements = std::array::from_fn(|element| {
                    &products[(element * rows + tile) * product..][..product]
                });
                let (y0, y1) = upper.split_at_mut(out);
                let lower = lower.next().unwrap_or_default();
                let (y2, y3) = lower.split_at_mut(out.min(lower.len()));
                output(path, &elements, &mut [y0, y1, y2, y3], accumulate);
                tile += 1;
            }
            if let Some(then) = then {
                then(first, y);
            }
        }
    }
}

/// What a thread needs for a task, kept between calls.
#[derive(Default)]
struct Buffers {
    /// A location beyond the borders.
    outside: Vec<f32>,
    /// One transformed tile: [elements, inp].
    tile: Vec<f32>,
    /// The tiles of a task: [elements, tiles, inp], in the kernel's units.
    units: Vec<u32>,
    /// [elements, tiles, out], rows of whole registers.
    products: Vec<f32>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}
