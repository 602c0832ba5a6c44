//! The operations on an NVIDIA GPU: kernels of ours, and products by cuBLAS.
//!
//! Each operation gives what its form in `ops` gives, up to rounding (`tests`, which need a GPU). A failure of the GPU
//! in a forward pass panics, as dfdx's own operators do: there is no way on.

mod attention;
mod gather;
pub mod gpu;
mod linear;
mod loss;
mod optim;
mod rows;
#[cfg(test)]
mod tests;
mod view;

use dfdx::prelude::*;

use self::gpu::{Gpu, NoGpu, Work};
use super::backend::{Activation, AdamW, Backend, Groups, Maps, Matrix, Rows, Scalar, Vector};
use super::ops;

/// The GPU as a device of dfdx.
///
/// # Errors
/// If there is none that can be used.
pub fn device() -> Result<Cuda, NoGpu> {
    Gpu::get()?;
    Ok(Cuda::default())
}

/// The GPU of a device that there is.
fn gpu() -> &'static Gpu {
    match Gpu::get() {
        Ok(gpu) => gpu,
        Err(reason) => panic!("{reason}"),
    }
}

/// The work on so many values, and their number as kernels take it.
fn each(values: usize) -> (Work, i64) {
    (Work::Each(values as i64), values as i64)
}

impl Backend for Cuda {
    fn has_bf16(&self) -> bool {
        gpu().has_bf16
    }
    fn linear<I: Dim, O: Dim, T: Tape<f32, Self>>(
        x: Rows<I, Self, T>,
        w: &Matrix<O, I, Self>,
        b: Option<&Vector<O, Self>>,
    ) -> Rows<O, Self, T> {
        let (x, tape) = x.split_tape();
        linear::linear(x, true, w, b, tape)
    }
    fn linear_of_data<I: Dim, O: Dim, T: Tape<f32, Self>>(
        x: Rows<I, Self>,
        w: &Matrix<O, I, Self>,
        b: Option<&Vector<O, Self>>,
        tape: T,
    ) -> Rows<O, Self, T> {
        linear::linear(x, false, w, b, tape)
    }
    fn layer_norm<C: Dim, T: Tape<f32, Self>>(
        x: Rows<C, Self, T>,
        gain: &Vector<C, Self>,
        bias: &Vector<C, Self>,
        eps: f32,
    ) -> Rows<C, Self, T> {
        rows::layer_norm(x, gain, bias, eps)
    }
    fn activation<C: Dim, T: Tape<f32, Self>>(
        x: Rows<C, Self, T>,
        kind: Activation,
    ) -> Rows<C, Self, T> {
        rows::activation(x, kind)
    }
    fn attention<Q: Dim, C: Dim, T: Tape<f32, Self>>(
        qkv: Rows<Q, Self, T>,
        groups: &Groups,
        heads: usize,
        width: C,
    ) -> Rows<C, Self, T> {
        attention::attention(qkv, groups, heads, width)
    }
    fn residual<C: Dim, T: Tape<f32, Self>>(
        x: Rows<C, Self>,
        branch: Rows<C, Self, T>,
        gain: Option<&Vector<C, Self>>,
        row_scale: Option<&[f32]>,
    ) -> Rows<C, Self, T> {
        rows::residual(x, branch, gain, row_scale)
    }
    fn gather_rows<C: Dim, T: Tape<f32, Self>>(
        x: Rows<C, Self, T>,
        index: &[u32],
    ) -> Rows<C, Self, T> {
        gather::rows(x, index)
    }
    fn gather_taps<C: Dim, T: Tape<f32, Self>>(
        table: Rows<C, Self, T>,
        index: &[[u32; 4]],
        weight: &[[f32; 4]],
    ) -> Rows<C, Self, T> {
        gather::taps(table, index, weight)
    }
    fn assemble<C: Dim, T: Tape<f32, Self>>(
        content: Rows<C, Self, T>,
        position: Rows<C, Self>,
        tokens: ops::assemble::SpecialTokens<'_, C, Self>,
        plan: &ops::assemble::Plan,
    ) -> Rows<C, Self, T> {
        gather::assemble(content, position, tokens, plan)
    }
    fn l2_normalize<C: Dim, T: Tape<f32, Self>>(x: Rows<C, Self, T>, eps: f32) -> Rows<C, Self, T> {
        rows::l2_normalize(x, eps)
    }
    fn prototype_cross_entropy<C: Dim, K: Dim, T: Tape<f32, Self>>(
        x: Rows<C, Self, T>,
        prototypes: &Matrix<K, C, Self>,
        target: &ops::cross_entropy::SoftTarget<K, Self>,
        temperature: f32,
    ) -> (Scalar<Self, T>, Vec<f64>) {
        loss::prototype_cross_entropy(x, prototypes, target, temperature)
    }
    fn conv3x3<I: Dim, O: Dim, T: Tape<f32, Self>>(
        x: Rows<I, Self, T>,
        w: &Matrix<O, usize, Self>,
        b: Option<&Vector<O, Self>>,
        maps: Maps,
    ) -> Rows<O, Self, T> {
        linear::conv3x3(x, w, b, maps)
    }
    fn adamw<S: Shape>(
        p: &mut Tensor<S, f32, Self>,
        grad: &mut Gradients<f32, Self>,
        moments: &mut super::optim::Moments<Self>,
        teacher: Option<(&mut Tensor<S, f32, Self>, f32)>,
        step: &AdamW,
    ) {
        optim::adamw(p, grad, moments, teacher, step);
    }
    fn grad_sum_of_squares<S: Shape>(
        p: &Tensor<S, f32, Self>,
        grad: &mut Gradients<f32, Self>,
    ) -> f64 {
        optim::sum_of_squares(p, grad)
    }
}
