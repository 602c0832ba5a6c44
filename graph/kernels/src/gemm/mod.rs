//! General matrix product on row-major slices, `c = op(a) op(b)`.
//!
//! # Layout
//! - [`kernel`]: tiles in registers, one file an instruction set.
//! - [`pack`]: operands in the order in which the tiles read them.
//! - [`packed`]: operands packed once and used often.
//! - [`blocks`]: the product cut for caches and threads.
//! - [`sliding`]: the product of every 3 x 3 neighbourhood of a map, which is read in place.

mod blocks;
mod kernel;
mod operand;
mod pack;
mod packed;
#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
mod sliding;
#[cfg(test)]
mod tests;

use crate::cpu;
use crate::parallel::Scattered;
use crate::{check_len, size};
pub(crate) use blocks::Epilogue;
use blocks::{Left, Product, Right};
#[cfg(target_arch = "x86_64")]
pub(crate) use kernel::amx;
pub(crate) use operand::Operand;
pub use packed::Packed;
pub(crate) use packed::{matmul_packed, with_units, Shared};
pub(crate) use sliding::{sliding, Rows as FinishedRows};

/// How an operand is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As it enters the product.
    N,
    /// Transposed.
    T,
}

/// How the inputs of a product are rounded; sums are `f32` in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Not at all.
    #[default]
    F32,
    /// To the nearest `bf16` (8 bits of precision, the range of `f32`): twice as fast where the CPU has it, and
    /// the same rounding at the speed of `f32` where not.
    Bf16,
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
    precision: Precision,
) {
    matmul_then(m, k, n, a, la, b, lb, c, accumulate, precision, None);
}

/// As [`matmul`]; each piece of a row of `c` is handed to `epilogue` as soon as it is finished, still in the cache.
#[allow(clippy::too_many_arguments)]
pub(crate) fn matmul_then(
    m: usize,
    k: usize,
    n: usize,
    a: &[f32],
    la: Layout,
    b: &[f32],
    lb: Layout,
    c: &mut [f32],
    accumulate: bool,
    precision: Precision,
    epilogue: Option<Epilogue>,
) {
    check_len("matmul", "a", a, size([m, k]));
    check_len("matmul", "b", b, size([k, n]));
    check_len("matmul", "c", c, size([m, n]));
    let product = Product {
        m,
        k,
        n,
        a: Left::Matrix(Operand::new(a, la, m, k)),
        b: Right::Matrix(Operand::new(b, lb, k, n)),
        c_row: n,
        accumulate,
        epilogue,
        parallel: true,
    };
    let kernel = kernel::choose_for(cpu::path(), precision, n, la == Layout::N);
    // SAFETY: c is borrowed mutably and has m rows of n elements; the path is one that this CPU can run.
    unsafe { product.run(kernel, &Scattered::new(c)) }
}

/// `c (+)= a b` on this thread alone, for matrices within larger ones; row i of `c` [m, n] is at `c.at(i * c_row)`.
///
/// # Safety
/// The elements of these rows are initialised if `accumulate` and nothing else accesses them during the call.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn strided(
    m: usize,
    k: usize,
    n: usize,
    a: Operand,
    b: Operand,
    c: &Scattered,
    c_row: usize,
    accumulate: bool,
    precision: Precision,
) {
    a.check(m, k);
    b.check(k, n);
    let product = Product {
        m,
        k,
        n,
        a: Left::Matrix(a),
        b: Right::Matrix(b),
        c_row,
        accumulate,
        epilogue: None,
        parallel: false,
    };
    let kernel = kernel::choose_for(cpu::path(), precision, n, a.col == 1);
    // SAFETY: the caller's promise; the path is one that this CPU can run.
    unsafe { product.run(kernel, c) }
}
