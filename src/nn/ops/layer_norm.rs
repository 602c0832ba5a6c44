//! `y = (x - mean) / sqrt(var + eps) * gain + bias` over each row (Ba et al. 2016, biased variance as in
//! PyTorch).

use super::{put_grad, slice, take_grad};
use crate::nn::{Backend, Rows, Vector};
use dfdx::prelude::*;
use intertwine_kernels::layer_norm as kernel;

/// In stock operations.
pub fn composed<C: Dim, D: Backend, T: Tape<f32, D>>(
    x: Rows<C, D, T>,
    gain: &Vector<C, D>,
    bias: &Vector<C, D>,
    eps: f32,
) -> Rows<C, D, T> {
    let shape = *x.shape();
    let x = x.normalize::<Axis<1>>(eps);
    x * gain.retaped::<T>().broadcast_like(&shape) + bias.retaped::<T>().broadcast_like(&shape)
}

/// On the CPU kernels.
pub fn fused<C: Dim, T: Tape<f32, Cpu>>(
    x: Rows<C, Cpu, T>,
    gain: &Vector<C, Cpu>,
    bias: &Vector<C, Cpu>,
    eps: f32,
) -> Rows<C, Cpu, T> {
    let (x, mut tape) = x.split_tape();
    let rows = x.shape().0;
    let mut y = vec![0.0; x.shape().num_elements()];
    let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
    kernel::forward(
        slice(&x),
        slice(gain),
        slice(bias),
        eps,
        &mut y,
        &mut mean,
        &mut rstd,
    );
    let y = x.device().tensor_from_vec(y, *x.shape());
    if T::OWNS_TAPE {
        let (gain, bias, kept) = (gain.clone(), bias.clone(), y.clone());
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            let (mut dgain, mut dbias) = (take_grad(g, &gain)?, take_grad(g, &bias)?);
            let dx = g.get_or_alloc_mut(&x)?;
            kernel::backward(
                slice(&x),
                slice(&gain),
                &mean,
                &rstd,
                &dy,
                dx,
                &mut dgain,
                &mut dbias,
            );
            put_grad(g, &gain, dgain)?;
            put_grad(g, &bias, dbias)
        });
    }
    y.put_tape(tape)
}
