//! General matrix product on row-major slices, `c = op(a) op(b)`.
//!
//! The work is done by the `gemm` crate, whose AVX-512 kernels reach the speed of PyTorch's. It cuts the product
//! into tiles by shape; threads only share the tiles out, so their number never changes a result.

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
    let (a_row, a_col) = strides(la, m, k);
    let (b_row, b_col) = strides(lb, k, n);
    // gemm wants columns to be contiguous, ours are rows: compute c^T = op(b)^T op(a)^T.
    // SAFETY: the lengths checked above cover every element that the shapes and strides reach, c is not aliased
    // because it is borrowed mutably, and get_gemm_fn only returns a function this CPU can run.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            n,
            m,
            k,
            c.as_mut_ptr(),
            n as isize,
            1,
            accumulate,
            b.as_ptr(),
            b_row,
            b_col,
            a.as_ptr(),
            a_row,
            a_col,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::Rayon(0),
        );
    }
}

/// The distances between rows and between columns of an operand that enters the product as [rows, cols].
fn strides(layout: Layout, rows: usize, cols: usize) -> (isize, isize) {
    match layout {
        Layout::N => (cols as isize, 1),
        Layout::T => (1, rows as isize),
    }
}
