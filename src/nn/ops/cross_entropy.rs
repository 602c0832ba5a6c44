//! Cross-entropy against soft targets: `sum_r weight_r * -sum_k target_{t(r),k} log softmax(z_r / temperature)_k`,
//! the form of the image, content and position losses (METHOD section 3).
//!
//! Several student rows may share a target row (all local crops of a picture predict the same teacher
//! output), so targets are referred to by index and never copied. No gradient reaches the targets.

use super::{slice, take_grad};
use crate::nn::{Backend, Rows, Scalar};
use dfdx::prelude::*;
use intertwine_kernels::softmax_ce as kernel;

/// What the student's rows should predict.
#[derive(Clone, Debug)]
pub struct SoftTarget<C: Dim, D: Backend> {
    /// Probabilities, one teacher row each; a row may sum to other than 1.
    pub probabilities: Rows<C, D>,
    /// The target row of each student row.
    pub row: Vec<u32>,
    /// The weight of each student row.
    pub weight: Vec<f32>,
}

/// In stock operations.
pub fn composed<C: Dim, D: Backend, T: Tape<f32, D>>(
    logits: Rows<C, D, T>,
    target: &SoftTarget<C, D>,
    temperature: f32,
) -> Scalar<D, T> {
    let shape = *logits.shape();
    let weight = logits
        .device()
        .tensor_from_vec(target.weight.clone(), (shape.0,));
    let target = super::gather::rows_composed(target.probabilities.clone(), &target.row);
    let target = target * weight.broadcast_like::<_, Axis<1>>(&shape);
    -((logits * (1.0 / temperature)).log_softmax::<Axis<1>>() * target).sum::<Rank0, _>()
}

/// On the CPU kernels: the gradient is computed with the loss, in one pass over the logits.
pub fn fused<C: Dim, T: Tape<f32, Cpu>>(
    logits: Rows<C, Cpu, T>,
    target: &SoftTarget<C, Cpu>,
    temperature: f32,
) -> Scalar<Cpu, T> {
    let (z, mut tape) = logits.split_tape();
    let k = z.shape().1.size();
    let mut dz = if T::OWNS_TAPE {
        vec![0.0; z.shape().num_elements()]
    } else {
        Vec::new()
    };
    let loss = kernel::soft_cross_entropy(
        slice(&z),
        slice(&target.probabilities),
        &target.row,
        &target.weight,
        temperature,
        k,
        T::OWNS_TAPE.then_some(&mut dz[..]),
    );
    let loss = z.device().tensor(loss as f32);
    if T::OWNS_TAPE {
        let kept = loss.clone();
        tape.add_backward_op(move |g| {
            let upstream = take_grad(g, &kept)?[0];
            intertwine_kernels::optim::axpy(g.get_or_alloc_mut(&z)?, upstream, &dz);
            Ok(())
        });
    }
    loss.put_tape(tape)
}
