//! Cross-entropy of features against soft targets over prototypes: `sum_r weight_r * -sum_k target_{t(r),k} log
//! softmax(x_r . prototype_k / temperature)`, the form of the image, content and position losses (METHOD section 3).
//!
//! Several student rows may share a target row (all local crops of a picture predict the same teacher
//! output), so targets are referred to by index and never copied. No gradient reaches the targets.

use super::{put_grad, slice, take_grad};
use crate::nn::{autocast, Backend, Matrix, Rows, Scalar};
use dfdx::prelude::*;
use intertwine_kernels::optim::axpy;
use intertwine_kernels::prototypes as kernel;

/// What the student's rows should predict.
#[derive(Clone, Debug)]
pub struct SoftTarget<K: Dim, D: Backend> {
    /// Probabilities, one teacher row each; a row may sum to other than 1.
    pub probabilities: Rows<K, D>,
    /// The target row of each student row.
    pub row: Vec<u32>,
    /// The weight of each student row.
    pub weight: Vec<f32>,
}

/// The weighted sum, and the loss of each row by itself. In stock operations.
pub fn composed<C: Dim, K: Dim, D: Backend, T: Tape<f32, D>>(
    x: Rows<C, D, T>,
    prototypes: &Matrix<K, C, D>,
    target: &SoftTarget<K, D>,
    temperature: f32,
) -> (Scalar<D, T>, Vec<f64>) {
    let logits = super::linear::composed(x, prototypes, None);
    let shape = *logits.shape();
    let weight = logits
        .device()
        .tensor_from_vec(target.weight.clone(), (shape.0,));
    let target = super::gather::rows_composed(target.probabilities.clone(), &target.row);
    let products = (logits * (1.0 / temperature)).log_softmax::<Axis<1>>() * target;
    let (losses, tape) = (-products.sum::<(usize,), Axis<1>>()).split_tape();
    let each = D::to_host(&losses).iter().map(|l| f64::from(*l)).collect();
    let total = (losses.put_tape(tape) * weight).sum::<Rank0, _>();
    (total, each)
}

/// As [`composed`], on the CPU kernels: the gradients are computed with the loss, so that no logits are kept.
pub fn fused<C: Dim, K: Dim, T: Tape<f32, Cpu>>(
    x: Rows<C, Cpu, T>,
    prototypes: &Matrix<K, C, Cpu>,
    target: &SoftTarget<K, Cpu>,
    temperature: f32,
) -> (Scalar<Cpu, T>, Vec<f64>) {
    let (x, mut tape) = x.split_tape();
    let (inp, k) = (x.shape().1.size(), prototypes.shape().0.size());
    let zeros = |n: usize| vec![0.0f32; if T::OWNS_TAPE { n } else { 0 }];
    let (mut dx, mut dw) = (zeros(x.shape().num_elements()), zeros(k * inp));
    let targets = kernel::Targets {
        probabilities: slice(&target.probabilities),
        row: &target.row,
        weight: &target.weight,
    };
    let losses = kernel::losses(
        slice(&x),
        slice(prototypes),
        targets,
        temperature,
        inp,
        k,
        autocast::precision(),
        T::OWNS_TAPE.then_some((&mut dx[..], &mut dw[..])),
    );
    let weighted = losses.iter().zip(&target.weight);
    let loss: f64 = weighted.map(|(l, w)| l * f64::from(*w)).sum();
    let loss = x.device().tensor(loss as f32);
    if T::OWNS_TAPE {
        let (kept, prototypes) = (loss.clone(), prototypes.clone());
        tape.add_backward_op(move |g| {
            let upstream = take_grad(g, &kept)?[0];
            axpy(g.get_or_alloc_mut(&x)?, upstream, &dx);
            let mut sum = take_grad(g, &prototypes)?;
            axpy(&mut sum, upstream, &dw);
            put_grad(g, &prototypes, sum)
        });
    }
    (loss.put_tape(tape), losses)
}
