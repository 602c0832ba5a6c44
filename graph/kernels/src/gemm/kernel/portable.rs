//! Plain loops that the compiler vectorises for the baseline of the architecture; the packing that all kernels share.

use super::{for_rows, Kernel, Rows, Tile};
use crate::gemm::operand::Entry;
use crate::simd::{Arithmetic, Baseline};

const MR: usize = 4;
const NR: usize = 16;
const HALF: usize = 8;

pub(super) static F32: Kernel = Kernel {
    mr: MR,
    nr: NR,
    entry: Entry::F32,
    tile,
    to_units: copy,
    interleave: copy_rows,
    transpose16,
    turn16: None,
    whole_tiles: false,
    wide: None,
    narrow: false,
    enter: || (),
    leave: || (),
};

pub(super) static ROUNDED: Kernel = Kernel {
    entry: Entry::Rounded,
    to_units: round,
    interleave: round_rows,
    transpose16: transpose16_rounded,
    ..F32
};

/// # Safety
/// See [`Kernel::tile`].
unsafe fn tile(t: &Tile) {
    let run: unsafe fn(&Tile) = for_rows!(t.rows, [1 2 3 4], R => rows::<R>);
    // SAFETY: the caller's promise.
    unsafe { run(t) }
}

/// # Safety
/// See [`Kernel::tile`].
unsafe fn rows<const R: usize>(t: &Tile) {
    let mut sums = [[0.0f32; NR]; R];
    for first in (0..t.cols).step_by(HALF) {
        // SAFETY: the caller's promise; NR columns of `b` can be read.
        let half = unsafe { half::<R>(t, first) };
        for (sums, half) in sums.iter_mut().zip(half) {
            sums[first..first + HALF].copy_from_slice(&half);
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's promise for row r.
        unsafe { store(t, r, sums) };
    }
}

/// The sums of HALF columns. They and what they are made of fit the sixteen registers of four lanes that x86-64 has without
/// AVX; a whole tile does not.
///
/// # Safety
/// See [`Kernel::tile`]; HALF units of `b` can be read from `first` on.
#[inline(always)]
unsafe fn half<const R: usize>(t: &Tile, first: usize) -> [[f32; HALF]; R] {
    let mut sums = [[0.0f32; HALF]; R];
    let (mut a, mut b) = (t.a.cast::<f32>(), t.b.wrapping_add(first).cast::<f32>());
    for _ in 0..t.units {
        // SAFETY: this unit of `b` has HALF columns from `first` on; rows of `a` are `a_row` apart.
        let b_row = unsafe { *b.cast::<[f32; HALF]>() };
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: r < rows; rows of `a` are `a_row` apart.
            let a = unsafe { *a.add(r * t.a_row) };
            for (sum, b) in sums.iter_mut().zip(b_row) {
                *sum = Baseline::mul_add(a, b, *sum);
            }
        }
        (a, b) = (a.wrapping_add(t.a_unit), b.wrapping_add(t.b_unit));
    }
    sums
}

/// Writes row `r` of a tile, or adds to it.
///
/// # Safety
/// As [`Kernel::tile`] for this row; `sums` has at least the tile's columns.
#[inline(always)]
pub(super) unsafe fn store(t: &Tile, r: usize, sums: &[f32]) {
    // SAFETY: row r of c has `cols` elements that are nobody else's.
    let c = unsafe { std::slice::from_raw_parts_mut(t.c.add(r * t.c_row), t.cols) };
    for (c, sum) in c.iter_mut().zip(sums) {
        *c = if t.accumulate { *c + sum } else { *sum };
    }
}

/// Values as they are.
pub(super) fn copy(x: &[f32], units: &mut [u32]) {
    for (u, x) in units.iter_mut().zip(x) {
        *u = x.to_bits();
    }
}

/// As [`copy`]: a unit holds one `k`.
pub(super) fn copy_rows(rows: &Rows, panel: &mut [u32]) {
    copy_all(rows, panel);
}

/// Values rounded to `bf16`.
pub(super) fn round(x: &[f32], units: &mut [u32]) {
    round_all(x, units);
}

/// As [`round`]: a unit holds one `k`.
pub(super) fn round_rows(rows: &Rows, panel: &mut [u32]) {
    round_all_rows(rows, panel);
}

multiversion! {
    fn copy_all<A>(rows: &Rows, panel: &mut [u32]) {
        pack_rows(rows, panel, f32::to_bits)
    }

    fn round_all_rows<A>(rows: &Rows, panel: &mut [u32]) {
        pack_rows(rows, panel, |x| bf16_bits(x) << 16)
    }

    fn round_all<A>(x: &[f32], units: &mut [u32]) {
        for (u, x) in units.iter_mut().zip(x) {
            *u = bf16_bits(*x) << 16;
        }
    }
}

/// Panels of one `k` in a unit.
#[inline(always)]
fn pack_rows(rows: &Rows, panels: &mut [u32], to_unit: impl Fn(f32) -> u32) {
    // Of a width that the compiler knows a row takes a few moves, not a loop.
    match rows.width {
        6 => pack_rows_of::<6>(rows, panels, to_unit),
        16 => pack_rows_of::<16>(rows, panels, to_unit),
        _ => pack_parts(rows, panels, 0, to_unit),
    }
}

/// Rows that are packed into all panels before the next: what is read of a line stays in the first-level cache for the
/// panel beside.
const ROWS_AT_ONCE: usize = 16;

#[inline(always)]
fn pack_rows_of<const W: usize>(rows: &Rows, panels: &mut [u32], to_unit: impl Fn(f32) -> u32) {
    let whole = rows.columns / W;
    let (filled, rest) = panels.split_at_mut(whole * rows.k * W);
    for first in (0..rows.k).step_by(ROWS_AT_ONCE) {
        let last = rows.k.min(first + ROWS_AT_ONCE);
        for (p, panel) in filled.chunks_exact_mut(rows.k * W).enumerate() {
            let (units, _) = panel.as_chunks_mut::<W>();
            for (i, units) in (first..last).zip(&mut units[first..last]) {
                let row: &[f32; W] = rows.data[i * rows.stride + p * W..]
                    .first_chunk()
                    .expect("a whole panel has all its columns");
                *units = row.map(&to_unit);
            }
        }
    }
    pack_parts(rows, rest, whole * W, to_unit);
}

/// The panels of the columns from `start` on.
#[inline(always)]
fn pack_parts(rows: &Rows, panels: &mut [u32], start: usize, to_unit: impl Fn(f32) -> u32) {
    let firsts = (start..rows.columns).step_by(rows.width);
    for (panel, first) in panels.chunks_exact_mut(rows.k * rows.width).zip(firsts) {
        let columns = rows.width.min(rows.columns - first);
        for (i, units) in panel.chunks_exact_mut(rows.width).enumerate() {
            let row = &rows.data[i * rows.stride + first..][..columns];
            let (units, missing) = units.split_at_mut(columns);
            for (u, x) in units.iter_mut().zip(row) {
                *u = to_unit(*x);
            }
            missing.fill(0);
        }
    }
}

/// The upper half of the nearest `bf16`, ties to even; NaN stays NaN.
#[inline(always)]
pub(super) fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    if x.is_nan() {
        quiet
    } else {
        rounded
    }
}

/// One element at a time.
pub(super) fn transpose16(rows: &[f32], stride: usize, panel: &mut [u32], width: usize) {
    turn(rows, stride, panel, width, f32::to_bits);
}

/// As [`transpose16`], rounded to `bf16`.
pub(super) fn transpose16_rounded(rows: &[f32], stride: usize, panel: &mut [u32], width: usize) {
    turn(rows, stride, panel, width, |x| bf16_bits(x) << 16);
}

#[inline(always)]
fn turn(
    rows: &[f32],
    stride: usize,
    panel: &mut [u32],
    width: usize,
    to_unit: impl Fn(f32) -> u32,
) {
    for j in 0..16 {
        let row = &rows[j * stride..][..16];
        for (u, x) in row.iter().enumerate() {
            panel[u * width + j] = to_unit(*x);
        }
    }
}
