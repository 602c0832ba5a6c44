//! `y = x + row_scale * gain * branch`: the residual sum with LayerScale (Touvron et al. 2021) and the
//! stochastic depth of a sample (Huang et al. 2016; `row_scale` is 0 or 1/keep).

use super::{put_grad, slice, take_grad};
use crate::nn::{Backend, Rows, Vector};
use dfdx::prelude::*;
use intertwine_kernels::{optim::axpy, residual as kernel};

/// In stock operations.
pub fn composed<C: Dim, D: Backend, T: Tape<f32, D>>(
    x: Rows<C, D>,
    branch: Rows<C, D, T>,
    gain: Option<&Vector<C, D>>,
    row_scale: Option<&[f32]>,
) -> Rows<C, D, T> {
    let shape = *x.shape();
    let branch = match gain {
        Some(gain) => branch * gain.retaped::<T>().broadcast_like(&shape),
        None => branch,
    };
    let branch = match row_scale {
        Some(scale) => {
            let scale = x.device().tensor_from_vec(scale.to_vec(), (shape.0,));
            branch * scale.broadcast_like::<_, Axis<1>>(&shape)
        }
        None => branch,
    };
    branch + x
}

/// On the CPU kernels.
pub fn fused<C: Dim, T: Tape<f32, Cpu>>(
    x: Rows<C, Cpu>,
    branch: Rows<C, Cpu, T>,
    gain: Option<&Vector<C, Cpu>>,
    row_scale: Option<&[f32]>,
) -> Rows<C, Cpu, T> {
    let (branch, mut tape) = branch.split_tape();
    let d = x.shape().1.size();
    let mut y = vec![0.0; x.shape().num_elements()];
    kernel::forward(
        slice(&x),
        slice(&branch),
        gain.map(slice),
        row_scale,
        d,
        &mut y,
    );
    let y = x.device().tensor_from_vec(y, *x.shape());
    if T::OWNS_TAPE {
        let (kept, gain, row_scale) = (y.clone(), gain.cloned(), row_scale.map(<[f32]>::to_vec));
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            axpy(g.get_or_alloc_mut(&x)?, 1.0, &dy);
            let row_scale = row_scale.as_deref();
            match &gain {
                Some(gain) => {
                    let mut dgain = take_grad(g, gain)?;
                    let dbranch = g.get_or_alloc_mut(&branch)?;
                    let dgain_out = Some(&mut dgain[..]);
                    kernel::backward(
                        slice(&branch),
                        Some(slice(gain)),
                        row_scale,
                        &dy,
                        d,
                        dbranch,
                        dgain_out,
                    );
                    put_grad(g, gain, dgain)
                }
                None => {
                    let dbranch = g.get_or_alloc_mut(&branch)?;
                    kernel::backward(slice(&branch), None, row_scale, &dy, d, dbranch, None);
                    Ok(())
                }
            }
        });
    }
    y.put_tape(tape)
}
