//! `y = x / max(|x|, eps)` for each row, as `torch.nn.functional.normalize`.

use super::{slice, take_grad};
use crate::nn::{Backend, Rows};
use dfdx::prelude::*;
use intertwine_kernels::l2_norm as kernel;

/// In stock operations.
pub fn composed<C: Dim, D: Backend, T: Tape<f32, D>>(x: Rows<C, D, T>, eps: f32) -> Rows<C, D, T> {
    let shape = *x.shape();
    let (x, tape) = x.split_tape();
    let (squares, tape) = x
        .clone()
        .put_tape(tape)
        .square()
        .sum::<(usize,), Axis<1>>()
        .split_tape();
    // max(|x|, eps) without the infinite slope of sqrt at 0.
    let norm = squares.put_tape(tape).clamp(eps * eps, f32::MAX).sqrt();
    let scale: Rows<C, D, T> = norm.recip().broadcast_like(&shape);
    scale * x
}

/// On the CPU kernels.
pub fn fused<C: Dim, T: Tape<f32, Cpu>>(x: Rows<C, Cpu, T>, eps: f32) -> Rows<C, Cpu, T> {
    let (x, mut tape) = x.split_tape();
    let d = x.shape().1.size();
    let (mut y, mut norm) = (vec![0.0; x.shape().num_elements()], vec![0.0; x.shape().0]);
    kernel::forward(slice(&x), eps, d, &mut y, &mut norm);
    let y = x.device().tensor_from_vec(y, *x.shape());
    if T::OWNS_TAPE {
        let kept = y.clone();
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            kernel::backward(slice(&kept), &norm, &dy, eps, d, g.get_or_alloc_mut(&x)?);
            Ok(())
        });
    }
    y.put_tape(tape)
}
