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
    let (x, mut tape) = x.split_tape();
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
            match &b {
                Some(b) => {
                    let mut db = take_grad(g, b)?;
                    kernel::backward_params(
                        &dy,
                        slice(&x),
                        &mut dw,
                        Some(&mut db),
                        inp,
                        out,
                        precision,
                    );
                    put_grad(g, b, db)?;
                }
                None => kernel::backward_params(&dy, slice(&x), &mut dw, None, inp, out, precision),
            }
            put_grad(g, &w, dw)?;
            kernel::backward_input(&dy, slice(&w), g.get_or_alloc_mut(&x)?, inp, out, precision);
            Ok(())
        });
    }
    y.put_tape(tape)
}
