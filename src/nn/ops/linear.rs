//! `y = x w^T + b`: the linear layer, with the weight as PyTorch stores it, `[out, in]`.

use super::{put_grad, slice, take_grad};
use crate::nn::{autocast, Backend, Matrix, Rows, Vector};
use dfdx::prelude::*;
use intertwine_kernels::linear as kernel;

/// In stock operations.
pub fn composed<I: Dim, O: Dim, D: Backend, T: Tape<f32, D>>(
    x: Rows<I, D, T>,
    w: &Matrix<O, I, D>,
    b: Option<&Vector<O, D>>,
) -> Rows<O, D, T> {
    let w = w.retaped::<T>().permute::<(I, O), Axes2<1, 0>>();
    let y = x.matmul(w);
    match b {
        Some(b) => {
            let shape = *y.shape();
            y + b.retaped::<T>().broadcast_like(&shape)
        }
        None => y,
    }
}

/// On the CPU kernels.
pub fn fused<I: Dim, O: Dim, T: Tape<f32, Cpu>>(
    x: Rows<I, Cpu, T>,
    w: &Matrix<O, I, Cpu>,
    b: Option<&Vector<O, Cpu>>,
) -> Rows<O, Cpu, T> {
    let (x, tape) = x.split_tape();
    on_kernels(x, true, w, b, tape)
}

/// On the CPU kernels, without the gradient of `x`.
pub fn of_data_fused<I: Dim, O: Dim, T: Tape<f32, Cpu>>(
    x: Rows<I, Cpu>,
    w: &Matrix<O, I, Cpu>,
    b: Option<&Vector<O, Cpu>>,
    tape: T,
) -> Rows<O, Cpu, T> {
    on_kernels(x, false, w, b, tape)
}

fn on_kernels<I: Dim, O: Dim, T: Tape<f32, Cpu>>(
    x: Rows<I, Cpu>,
    x_has_gradient: bool,
    w: &Matrix<O, I, Cpu>,
    b: Option<&Vector<O, Cpu>>,
    mut tape: T,
) -> Rows<O, Cpu, T> {
    let (rows, inp) = (x.shape().0, x.shape().1.size());
    let width = w.shape().0;
    let out = width.size();
    let precision = autocast::precision();
    let mut y = vec![0.0; rows * out];
    kernel::forward(
        slice(&x),
        slice(w),
        b.map(slice),
        &mut y,
        inp,
        out,
        precision,
    );
    let y = x.device().tensor_from_vec(y, (rows, width));
    if T::OWNS_TAPE {
        let (w, b, kept) = (w.clone(), b.cloned(), y.clone());
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            let mut dw = take_grad(g, &w)?;
            let mut db = b.as_ref().map(|b| take_grad(g, b)).transpose()?;
            let (x_values, bias) = (slice(&x), db.as_deref_mut());
            kernel::backward_params(&dy, x_values, &mut dw, bias, inp, out, precision);
            put_grad(g, &w, dw)?;
            if let (Some(b), Some(db)) = (&b, db) {
                put_grad(g, b, db)?;
            }
            if x_has_gradient {
                let dx = g.get_or_alloc_mut(&x)?;
                kernel::backward_input(&dy, slice(&w), dx, inp, out, precision);
            }
            Ok(())
        });
    }
    y.put_tape(tape)
}
