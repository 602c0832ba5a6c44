//! The micro-kernels: one tile of the product in registers.
//!
//! A tile is computed from 32-bit *units*: an `f32`, or two `bf16` that belong to consecutive `k`. A kernel walks the
//! units of `rows` rows of `a` and of one panel of `b`, multiplies every pair and adds the products in `f32`.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use super::operand::Entry;
use super::Precision;
use crate::cpu::Path;

/// A tile reads the columns of `b` up to the next multiple of this, also those that it has not.
pub(super) const COLUMNS_READ: usize = 16;

/// One tile's work. `a(r, u)` is at `a + r * a_row + u * a_unit`, `b(u, j)` at `b + u * b_unit + j`, `c(r, j)` at
/// `c + r * c_row + j`.
pub(super) struct Tile {
    pub units: usize,
    pub a: *const u32,
    pub a_row: usize,
    pub a_unit: usize,
    pub b: *const u32,
    pub b_unit: usize,
    pub c: *mut f32,
    pub c_row: usize,
    /// 1 ..= `mr`.
    pub rows: usize,
    /// 1 ..= `nr`.
    pub cols: usize,
    /// Whether to add to `c` or to overwrite it.
    pub accumulate: bool,
}

/// A part of a matrix [k, columns] and the width of the panels to pack it in: element (i, j) is `data[i * stride + j]`,
/// column j goes to column `j % width` of panel `j / width`.
pub(super) struct Rows<'a> {
    pub data: &'a [f32],
    pub stride: usize,
    pub k: usize,
    pub columns: usize,
    pub width: usize,
}

/// Transposes 16 x 16 units: `(panel, rows, stride)`.
pub(super) type Turn16 = fn(&[u32], &mut [u32], usize);

/// A micro-kernel and the packing that belongs to it.
pub(super) struct Kernel {
    /// Rows of a tile.
    pub mr: usize,
    /// Columns of a tile and of a panel of `b`.
    pub nr: usize,
    /// What a unit is.
    pub entry: Entry,
    /// Computes a tile.
    ///
    /// # Safety
    /// The pointers reach what [`Tile`] says, the columns of `b` up to the next multiple of [`COLUMNS_READ`]; the CPU has the
    /// kernel's path.
    pub tile: unsafe fn(&Tile),
    /// Rows of `k` to units: `to_units(x, units)`, `units` being `entry.units(x.len())` long.
    pub to_units: fn(&[f32], &mut [u32]),
    /// Rows of `k` that lie side by side to panels.
    pub interleave: fn(&Rows, &mut [u32]),
    /// 16 rows of 16 units of `k` each to 16 columns of a panel: `(rows, stride, panel, width)`.
    pub transpose16: fn(&[f32], usize, &mut [u32], usize),
    /// For tiles that read 16 units of a row of `a` at once: 16 columns of a panel of that width to rows.
    pub turn16: Option<Turn16>,
    /// Whether tiles of fewer rows do without the instructions that make it fast.
    pub whole_tiles: bool,
    /// For products of columns that its panels fit and this kernel's do not.
    pub wide: Option<&'static Kernel>,
    /// Whether its tiles are so small that an operand read in place is but a line of the cache here and a line there,
    /// which evict each other and are not foreseen.
    pub narrow: bool,
    /// Called before a thread computes tiles.
    pub enter: fn(),
    /// Called after.
    pub leave: fn(),
}

/// The kernel of a path for a precision.
pub(super) fn choose(path: Path, precision: Precision) -> &'static Kernel {
    match (path, precision) {
        #[cfg(target_arch = "x86_64")]
        (Path::Amx, Precision::Bf16) => &amx::TILES,
        #[cfg(target_arch = "x86_64")]
        (Path::Bf16, Precision::Bf16) => &avx512::PAIRS,
        #[cfg(target_arch = "x86_64")]
        (Path::Amx | Path::Bf16 | Path::Avx512, Precision::F32) => &avx512::F32,
        #[cfg(target_arch = "x86_64")]
        (Path::Avx512, Precision::Bf16) => &avx512::ROUNDED,
        #[cfg(target_arch = "x86_64")]
        (Path::Avx2, Precision::F32) => &avx2::F32,
        #[cfg(target_arch = "x86_64")]
        (Path::Avx2, Precision::Bf16) => &avx2::ROUNDED,
        #[cfg(target_arch = "aarch64")]
        (Path::Neon, Precision::F32) => &neon::F32,
        #[cfg(target_arch = "aarch64")]
        (Path::Neon, Precision::Bf16) => &neon::ROUNDED,
        (_, Precision::F32) => &portable::F32,
        (_, Precision::Bf16) => &portable::ROUNDED,
    }
}

/// As [`choose`] for a product of `n` columns whose rows of `a` are contiguous or not.
pub(super) fn choose_for(
    path: Path,
    precision: Precision,
    n: usize,
    contiguous: bool,
) -> &'static Kernel {
    let kernel = choose(path, precision);
    match kernel.wide {
        Some(wide) if contiguous && n.is_multiple_of(wide.nr) && !n.is_multiple_of(kernel.nr) => {
            wide
        }
        _ => kernel,
    }
}

/// The instance of a function for a number of rows that is known at run time, one of those listed.
macro_rules! for_rows {
    ($rows:expr, [$($n:literal)+], $R:ident => $instance:expr) => {
        match $rows {
            $($n => {
                const $R: usize = $n;
                $instance
            })+
            more => unreachable!("a tile of {more} rows"),
        }
    };
}
use for_rows;
