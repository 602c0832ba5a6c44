//! A matrix within a slice, and how its values enter a product.

use super::Layout;

/// A matrix within a slice: element (i, j) is `data[i * row + j * col]`.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row: usize,
    pub(crate) col: usize,
}

impl<'a> Operand<'a> {
    /// A whole slice that enters the product as [rows, cols].
    pub(crate) fn new(data: &'a [f32], layout: Layout, rows: usize, cols: usize) -> Self {
        match layout {
            Layout::N => Self {
                data,
                row: cols,
                col: 1,
            },
            Layout::T => Self {
                data,
                row: 1,
                col: rows,
            },
        }
    }

    /// The same elements with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            row: self.col,
            col: self.row,
            ..self
        }
    }

    /// Its rows from `first` on.
    pub(super) fn rows_from(self, first: usize) -> Self {
        Self {
            data: &self.data[first * self.row..],
            ..self
        }
    }

    /// Panics unless every element lies within the slice and one of the axes is contiguous.
    #[track_caller]
    pub(super) fn check(&self, rows: usize, cols: usize) {
        assert!(
            rows == 0
                || cols == 0
                || (rows - 1) * self.row + (cols - 1) * self.col < self.data.len(),
            "gemm: [{rows}, {cols}] with strides ({}, {}) exceeds {} elements",
            self.row,
            self.col,
            self.data.len()
        );
        assert!(
            self.row == 1 || self.col == 1 || rows <= 1 || cols <= 1,
            "gemm: neither stride of ({}, {}) is 1",
            self.row,
            self.col
        );
    }

    /// The elements (i, j) for `j` in `cols`, of a matrix whose rows are contiguous.
    pub(super) fn row_part(&self, i: usize, cols: std::ops::Range<usize>) -> &'a [f32] {
        debug_assert_eq!(self.col, 1);
        &self.data[i * self.row + cols.start..i * self.row + cols.end]
    }
}

/// How values enter a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// As they are.
    F32,
    /// Rounded to the nearest `bf16` and kept in 32 bits: what [`Entry::Pairs`] computes, for CPUs without it.
    Rounded,
    /// Two consecutive `k` rounded to `bf16` in one 32-bit unit, the first in the low half.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    Pairs,
}

impl Entry {
    /// Elements of `k` in one 32-bit unit.
    pub(super) fn depth(self) -> usize {
        match self {
            Self::F32 | Self::Rounded => 1,
            Self::Pairs => 2,
        }
    }

    /// Units of `k` elements.
    pub(super) fn units(self, k: usize) -> usize {
        k.div_ceil(self.depth())
    }
}
