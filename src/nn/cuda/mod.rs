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
mod product;
mod rows;
#[cfg(test)]
mod tests;
mod view;

use std::borrow::Cow;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

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
    let dev = Cuda::try_build(0, 0).map_err(|e| NoGpu::new("starting dfdx", &e))?;
    // The kernels of dfdx were compiled with the program, for GPUs from some age on.
    let mut one: Scalar<Cuda> = dev.zeros();
    one.try_axpy(1.0, &one.clone(), 1.0).map_err(|e| {
        NoGpu::new(
            "running a kernel of dfdx (is the program built for a newer GPU?)",
            &e,
        )
    })?;
    Ok(dev)
}

/// The GPU's memory is full.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the GPU's memory is full. What was saved is kept: the same run goes on with `--resume` where more of it is free, or on the CPU. A new run with fewer pictures at once (a larger optim.accumulate, or a smaller optim.batch) needs less, a ladder with fewer --jobs")]
pub struct MemoryFull;

/// Does something on the GPU in which its memory may run out: dfdx's operators panic then.
///
/// # Errors
/// If it did. Other panics go on.
pub fn within_memory<T>(work: impl FnOnce() -> T) -> Result<T, MemoryFull> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let said = panic.downcast_ref::<String>();
        // The driver's word, and cuBLAS's.
        let words = ["OUT_OF_MEMORY", "ALLOC_FAILED"];
        match said.is_some_and(|said| words.iter().any(|word| said.contains(word))) {
            true => MemoryFull,
            false => resume_unwind(panic),
        }
    })
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
    type Squares = optim::Squares;
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
    fn add_grad_squares<S: Shape>(
        p: &Tensor<S, f32, Self>,
        grad: &mut Gradients<f32, Self>,
        sum: &mut Self::Squares,
    ) {
        sum.add(p, grad);
    }
    fn sum_of_squares(sum: Self::Squares) -> f64 {
        sum.total()
    }
    fn tensor_from<S: Shape>(dev: &Self, values: Cow<'_, [f32]>, shape: S) -> Tensor<S, f32, Self> {
        assert_eq!(values.len(), shape.num_elements(), "values of {shape:?}");
        let t = dev.zeros_like(&shape);
        // SAFETY: the tensor is new and has as many values.
        unsafe { gpu().fill(view::address(&t), &values) }.expect("copying to the GPU");
        t
    }
}
