//! CPU kernels for vision transformers on plain `f32` slices, forward and backward.
//!
//! Training calls them from its tape, the edge runtime from its rewritten plan; neither a tensor library
//! nor a model format is known here.
//!
//! # Conventions
//! - Everything is row-major and contiguous. The last axis is `d` (or `inp`, `out`, `k`, `c`) wide and the
//!   number of rows follows from the slices' lengths.
//! - **Every backward function adds into its gradient outputs**, so a tensor with two uses needs no extra pass.
//! - Shapes are checked on entry. A mismatch is a mistake in the calling program, not in its input, so it
//!   panics, saying which slice had which length and which was expected.
//! - Results are bit-identical for any number of rayon threads: work is cut, and sums are ordered, by shape alone.
//!   Small problems are one piece and never leave the calling thread.
//! - The instruction set is chosen once at run time (see [`cpu`]): matrix products have kernels of their own for each,
//!   element loops are compiled for each (see `simd`).
//!
//! # Layout
//! One folder per kernel: `mod.rs` holds the formula with its source, the shapes and the parallel form,
//! `reference.rs` the obvious `f64` scalar form that the tests hold it against.

pub mod cpu;
#[macro_use]
mod lanes;
mod parallel;
#[macro_use]
mod simd;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(any(test, fuzzing))]
mod testing;

pub mod activation;
pub mod attention;
pub mod block;
pub mod buffers;
pub mod conv;
pub mod fused;
pub mod gather;
pub mod gemm;
pub mod koleo;
pub mod l2_norm;
pub mod layer_norm;
pub mod linear;
pub mod max_pool;
pub mod optim;
pub mod peak;
pub mod photometric;
pub mod planes;
pub mod prototypes;
pub mod residual;
pub mod resize;
pub mod softmax_ce;

pub use parallel::alone;

/// Panics unless `slice` (called `name`) has `expected` elements.
#[track_caller]
fn check_len<T>(kernel: &str, name: &str, slice: &[T], expected: usize) {
    assert!(
        slice.len() == expected,
        "{kernel}: {name} has {} elements, expected {expected}",
        slice.len()
    );
}

/// The elements of a shape; panics where there are more than can be counted, for then a product of the sizes would wrap
/// around and a check against it hold for a slice that is far too short.
#[track_caller]
fn size<const N: usize>(shape: [usize; N]) -> usize {
    let product = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
    product.unwrap_or_else(|| panic!("a shape of {shape:?} has more elements than memory"))
}

/// The number of rows in a slice of rows `width` wide; panics unless it divides evenly.
#[track_caller]
fn rows_of<T>(kernel: &str, name: &str, slice: &[T], width: usize) -> usize {
    assert!(width > 0, "{kernel}: the rows of {name} are 0 wide");
    assert!(
        slice.len().is_multiple_of(width),
        "{kernel}: {name} has {} elements, expected a multiple of the row width {width}",
        slice.len()
    );
    slice.len() / width
}
