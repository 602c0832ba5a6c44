//! A loss that was computed on the host together with its gradient, put on the tape.
//!
//! The detection losses assign, match and rasterise; they are plain Rust over slices that returns the
//! value and the gradient at once. This makes them a node of the graph on any device.

use crate::nn::{Backend, Scalar};
use dfdx::prelude::*;

/// The scalar `value` whose gradient with respect to `x` is `gradient` (same length as `x`).
pub fn host_loss<S: Shape, D: Backend, T: Tape<f32, D>>(
    x: Tensor<S, f32, D, T>,
    value: f32,
    gradient: Vec<f32>,
) -> Scalar<D, T> {
    let shape = *x.shape();
    let gradient = x.device().tensor_from_vec(gradient, shape);
    // <x, gradient> has the right slope; the constant makes the value right.
    let linear = (x * gradient).sum::<Rank0, S::AllAxes>();
    let (linear, tape) = linear.split_tape();
    // Computed where it lies: the host would have to wait for it.
    let offset = -linear.clone() + value;
    linear.put_tape(tape) + offset
}
