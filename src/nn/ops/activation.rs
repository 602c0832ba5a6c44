//! Exact GELU, `x * Phi(x)` (Hendrycks & Gimpel 2016), and SiLU, `x * sigmoid(x)`.
//!
//! dfdx 0.13 has both, but the gradient of its `accurate_gelu` lacks a factor: at x = 1 it gives 1.1835
//! instead of 1.0833. The composed form therefore takes Phi from `accurate_gelu`'s forward value and
//! writes the derivative, Phi(x) + x phi(x), into the tape by multiplication.

use super::{slice, take_grad};
use crate::nn::backend::Activation;
use crate::nn::{Backend, Rows};
use dfdx::prelude::*;
use intertwine_kernels::activation as kernel;

/// In stock operations.
pub fn composed<C: Dim, D: Backend, T: Tape<f32, D>>(
    x: Rows<C, D, T>,
    kind: Activation,
) -> Rows<C, D, T> {
    match kind {
        Activation::Silu => {
            let (x, tape) = x.split_tape();
            x.clone().put_tape(tape).sigmoid() * x
        }
        Activation::Gelu => {
            let (x, tape) = x.split_tape();
            let y = x.clone().accurate_gelu();
            // 1 / sqrt(2 pi)
            let density = (x.clone().square() * -0.5).exp() * 0.398_942_3;
            let cumulative = {
                // y / x loses all digits at 0, where Phi is 1/2.
                let near_zero = x.clone().abs().lt(1e-3);
                near_zero.choose((x.clone() * 0.398_942_3) + 0.5, y.clone() / x.clone())
            };
            let slope = cumulative + density * x.clone();
            // A term of value zero that carries the gradient: slope * (x - stop_gradient(x)).
            let fixed = x.device().tensor_from_vec(D::to_host(&x), *x.shape());
            (x.put_tape(tape) - fixed) * slope + y
        }
    }
}

/// On the CPU kernels.
pub fn fused<C: Dim, T: Tape<f32, Cpu>>(x: Rows<C, Cpu, T>, kind: Activation) -> Rows<C, Cpu, T> {
    let (x, mut tape) = x.split_tape();
    let mut y = vec![0.0; x.shape().num_elements()];
    kernel::forward(kind, slice(&x), &mut y);
    let y = x.device().tensor_from_vec(y, *x.shape());
    if T::OWNS_TAPE {
        let kept = y.clone();
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            kernel::backward(kind, slice(&x), &dy, g.get_or_alloc_mut(&x)?);
            Ok(())
        });
    }
    y.put_tape(tape)
}
