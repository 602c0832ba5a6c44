//! General matrix product on row-major slices, `c = op(a) op(b)`.
//!
//! The work is done by the `gemm` crate, whose AVX-512 kernels reach the speed of PyTorch's. It cuts the product
//! into tiles by shape; threads only share the tiles out, so their number never changes a result.

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::check_len;
use gemm_common::Parallelism;

/// How an operand is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As it enters the product.
    N,
    /// Transposed.
    T,
}

/// `c = op(a) op(b)`, or `c += op(a) op(b)` with `accumulate`.
///
/// `c` is [m, n]; `a` is [m, k] (`N`) or stored as [k, m] (`T`); `b` is [k, n] (`N`) or stored as [n, k] (`T`).
///
/// # Panics
/// If a slice's length does not fit the shape.
#[allow(clippy::too_many_arguments)]
pub fn matmul(
    m: usize,
    k: usize,
    n: usize,
    a: &[f32],
    la: Layout,
    b: &[f32],
    lb: Layout,
    c: &mut [f32],
    accumulate: bool,
) {
    check_len("matmul", "a", a, m * k);
    check_len("matmul", "b", b, k * n);
    check_len("matmul", "c", c, m * n);
    let a = Operand::new(a, la, m, k);
    let b = Operand::new(b, lb, k, n);
    // SAFETY: c is borrowed mutably and has m rows of n elements.
    unsafe {
        strided(
            m,
            k,
            n,
            a,
            b,
            c.as_mut_ptr(),
            n,
            accumulate,
            Parallelism::Rayon(0),
        )
    }
}

/// A matrix within a slice: element (i, j) is `data[i * row + j * col]`.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row: usize,
    pub(crate) col: usize,
}

impl<'a> Operand<'a> {
    /// A whole slice that enters the product as [rows, cols].
    fn new(data: &'a [f32], layout: Layout, rows: usize, cols: usize) -> Self {
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

    #[track_caller]
    fn check(&self, rows: usize, cols: usize) {
        assert!(
            rows == 0
                || cols == 0
                || (rows - 1) * self.row + (cols - 1) * self.col < self.data.len(),
            "gemm: [{rows}, {cols}] with strides ({}, {}) exceeds {} elements",
            self.row,
            self.col,
            self.data.len()
        );
    }
}

/// `c (+)= a b` for matrices within larger ones; element (i, j) of `c` [m, n] is at `c + i * c_row + j`.
///
/// # Safety
/// Every element of `c` must be valid for reads and writes, initialised if `accumulate`, and not accessed by
/// anything else during the call.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn strided(
    m: usize,
    k: usize,
    n: usize,
    a: Operand,
    b: Operand,
    c: *mut f32,
    c_row: usize,
    accumulate: bool,
    parallelism: Parallelism,
) {
    a.check(m, k);
    b.check(k, n);
    // SAFETY: the operands' bounds were checked, the caller answers for c, and get_gemm_fn only returns a function
    // that this CPU can run. gemm wants the elements of a column to be neighbours, ours are those of a row, so it is
    // given c^T = b^T a^T.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            n,
            m,
            k,
            c,
            c_row as isize,
            1,
            accumulate,
            b.data.as_ptr(),
            b.row as isize,
            b.col as isize,
            a.data.as_ptr(),
            a.row as isize,
            a.col as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
