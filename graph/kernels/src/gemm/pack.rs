//! Operands as the micro-kernels read them: panels of a fixed width, unit after unit.

use super::kernel::{self, Kernel};
use super::operand::{Entry, Operand};
use std::ops::Range;

/// Side of the blocks that are transposed in registers.
const BLOCK: usize = 16;

/// Most elements of `k` in a unit.
const MAX_DEPTH: usize = 2;

/// Packs elements `k` of some of `matrix`'s columns, [k, columns], as panels of `width` columns one after another:
/// unit u of column j of a panel goes to `panel[u * width + j]`, columns that are missing in the last become 0.
///
/// Panels of `a` are those of its transpose.
pub(super) fn panels(
    kernel: &Kernel,
    matrix: Operand,
    k: Range<usize>,
    columns: Range<usize>,
    width: usize,
    panels: &mut [u32],
) {
    let panel = kernel.entry.units(k.len()) * width;
    debug_assert_eq!(panels.len(), columns.len().div_ceil(width) * panel);
    if matrix.col == 1 {
        let rows = kernel::Rows {
            data: &matrix.data[k.start * matrix.row + columns.start..],
            stride: matrix.row,
            k: k.len(),
            columns: columns.len(),
            width,
        };
        (kernel.interleave)(&rows, panels);
    } else {
        for (i, panel) in panels.chunks_exact_mut(panel).enumerate() {
            let first = columns.start + i * width;
            let columns = first..columns.end.min(first + width);
            contiguous_columns(
                kernel,
                matrix.transposed(),
                k.clone(),
                columns,
                width,
                panel,
            );
        }
    }
}

/// `matrix` is [columns, k] here, so that its rows are contiguous.
fn contiguous_columns(
    kernel: &Kernel,
    matrix: Operand,
    k: Range<usize>,
    columns: Range<usize>,
    width: usize,
    panel: &mut [u32],
) {
    let deep = BLOCK * kernel.entry.depth();
    let mut rows = [0.0f32; BLOCK * BLOCK * MAX_DEPTH];
    let mut turned = [0u32; BLOCK * BLOCK];
    for first in (0..width).step_by(BLOCK) {
        let wide = BLOCK.min(width - first);
        let there = columns.len().saturating_sub(first).min(wide);
        for (at, start) in k.clone().step_by(deep).enumerate() {
            let k = start..k.end.min(start + deep);
            let to = &mut panel[at * BLOCK * width + first..];
            if k.len() == deep && there == BLOCK {
                let from = &matrix.data[(columns.start + first) * matrix.row + k.start..];
                (kernel.transpose16)(from, matrix.row, to, width);
                continue;
            }
            // An edge: through a block of zeros.
            rows.fill(0.0);
            for (i, row) in rows.chunks_exact_mut(deep).take(there).enumerate() {
                let x = matrix.row_part(columns.start + first + i, k.clone());
                row[..x.len()].copy_from_slice(x);
            }
            (kernel.transpose16)(&rows, deep, &mut turned, BLOCK);
            let units = kernel.entry.units(k.len());
            for (u, row) in turned.chunks_exact(BLOCK).take(units).enumerate() {
                to[u * width..][..wide].copy_from_slice(&row[..wide]);
            }
        }
    }
}

/// Whether lines that many elements apart spread over the sets of a first-level cache: at multiples of 4 KiB all fall
/// into one, and evict each other before the next tile reads them.
fn readable_in_steps_of(stride: usize) -> bool {
    !stride.is_multiple_of(1024)
}

/// Where a tile finds its panel of `b`.
#[derive(Clone, Copy)]
pub(super) struct Panels {
    /// The first unit of the first panel.
    pub start: *const u32,
    /// From a unit to the next.
    pub unit: usize,
    /// From the first unit of a panel to that of the next.
    pub panel: usize,
}

// SAFETY: only read.
unsafe impl Sync for Panels {}

/// Rows of `a` for which a narrow kernel's panels of `b` are read often enough to be packed.
const WORTH_PACKING: usize = 48;

/// The panels of `b`, [k, n], if the kernel can read them where they are, for `m` rows of `a`.
pub(super) fn panels_in_place(kernel: &Kernel, b: Operand, m: usize, n: usize) -> Option<Panels> {
    let there = kernel.entry == Entry::F32
        && !(kernel.narrow && m >= WORTH_PACKING)
        && b.col == 1
        && n.is_multiple_of(kernel::COLUMNS_READ)
        && readable_in_steps_of(b.row);
    there.then(|| Panels {
        start: b.data.as_ptr().cast(),
        unit: b.row,
        panel: kernel.nr,
    })
}

/// Where a tile finds its rows of `a`.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    /// The first unit of the first row.
    pub start: *const u32,
    /// From a row to the next, in units.
    pub row: usize,
    /// From a unit to the next.
    pub unit: usize,
    /// From the first row of a tile to that of the next.
    pub tile: usize,
}

/// Whether a tile can read the rows of `a` where they are.
pub(super) fn rows_in_place(kernel: &Kernel, a: Operand) -> bool {
    kernel.entry == Entry::F32 && (a.col == 1 || !kernel.narrow && readable_in_steps_of(a.col))
}

/// Whether the rows of `a` are better packed for all tasks at once: a narrow kernel's tasks must pack them, and an `a`
/// that is stored the other way round may have more of `k` than a cache holds.
pub(super) fn shared(kernel: &Kernel, a: Operand) -> bool {
    kernel.narrow && a.col != 1
}

/// Makes rows `rows`, elements `k` of `a` readable for the kernel: in place where they already are, else in `buffer`.
pub(super) fn rows(
    kernel: &Kernel,
    a: Operand,
    rows: Range<usize>,
    k: Range<usize>,
    buffer: &mut Vec<u32>,
) -> Rows {
    let units = kernel.entry.units(k.len());
    if rows_in_place(kernel, a) {
        return Rows {
            start: a.data[rows.start * a.row + k.start * a.col..]
                .as_ptr()
                .cast(),
            row: a.row,
            unit: a.col,
            tile: kernel.mr * a.row,
        };
    }
    if let (Some(turn16), true) = (kernel.turn16, a.col != 1) {
        return turned_rows(kernel, turn16, a, rows, k, buffer);
    }
    if a.col != 1 {
        let panels = rows.len().div_ceil(kernel.mr);
        let packed = resized(buffer, panels * units * kernel.mr);
        self::panels(kernel, a.transposed(), k, rows, kernel.mr, packed);
        return Rows {
            start: packed.as_ptr(),
            row: 1,
            unit: kernel.mr,
            tile: units * kernel.mr,
        };
    }
    let converted = resized(buffer, rows.len() * units);
    for (row, units) in rows.zip(converted.chunks_exact_mut(units)) {
        (kernel.to_units)(a.row_part(row, k.clone()), units);
    }
    Rows {
        start: converted.as_ptr(),
        row: units,
        unit: 1,
        tile: kernel.mr * units,
    }
}

/// As [`rows`] for rows of `row_k` elements that are in the kernel's units.
pub(super) fn unit_rows(
    kernel: &Kernel,
    a: &[u32],
    row_k: usize,
    rows: &Range<usize>,
    k: &Range<usize>,
) -> Rows {
    let row = kernel.entry.units(row_k);
    Rows {
        start: a[rows.start * row + kernel.entry.units(k.start)..rows.end * row].as_ptr(),
        row,
        unit: 1,
        tile: kernel.mr * row,
    }
}

/// As [`rows`] from row `first` on, a multiple of a tile's rows, for an `a` that is packed.
pub(super) fn panel_rows(kernel: &Kernel, a: Panels, first: usize, k: &Range<usize>) -> Rows {
    let start = first / kernel.mr * a.panel + kernel.entry.units(k.start) * a.unit;
    Rows {
        start: a.start.wrapping_add(start),
        row: 1,
        unit: a.unit,
        tile: a.panel,
    }
}

/// As [`rows`] for an `a` whose columns are contiguous: packed as panels, whose blocks are then transposed.
fn turned_rows(
    kernel: &Kernel,
    turn16: kernel::Turn16,
    a: Operand,
    rows: Range<usize>,
    k: Range<usize>,
    buffer: &mut Vec<u32>,
) -> Rows {
    let units = kernel.entry.units(k.len());
    let row = units.next_multiple_of(BLOCK);
    let all = rows.len().next_multiple_of(BLOCK) * row;
    let (turned, panel) = resized(buffer, all + BLOCK * row).split_at_mut(all);
    for (first, turned) in rows
        .clone()
        .step_by(BLOCK)
        .zip(turned.chunks_exact_mut(BLOCK * row))
    {
        let columns = first..rows.end.min(first + BLOCK);
        let filled = &mut panel[..BLOCK * units];
        panels(kernel, a.transposed(), k.clone(), columns, BLOCK, filled);
        for u in (0..units).step_by(BLOCK) {
            turn16(&panel[u * BLOCK..], &mut turned[u..], row);
        }
    }
    Rows {
        start: turned.as_ptr(),
        row,
        unit: 1,
        tile: kernel.mr * row,
    }
}

/// Units of a cache line. A register that lies across two costs two loads.
const LINE: usize = 16;

/// `n` elements of a buffer that grows when it must, from the start of a cache line on; what they hold is unspecified.
pub(super) fn resized(buffer: &mut Vec<u32>, n: usize) -> &mut [u32] {
    if buffer.len() < n + LINE {
        buffer.resize(n + LINE, 0);
    }
    let start = buffer.as_ptr().align_offset(4 * LINE).min(LINE);
    &mut buffer[start..start + n]
}
