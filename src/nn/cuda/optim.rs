//! AdamW in one pass over memory, the teacher with it.

use dfdx::prelude::*;
use intertwine_kernels::optim::AdamW;

use super::gpu::{launch, Work};
use super::view::{address, grad};
use super::{each, gpu};
use crate::nn::optim::Moments;

/// As [`adamw_fused`](crate::nn::optim::adamw_fused).
pub fn adamw<S: Shape>(
    p: &mut Tensor<S, f32, Cuda>,
    g: &mut Gradients<f32, Cuda>,
    moments: &mut Moments<Cuda>,
    teacher: Option<(&mut Tensor<S, f32, Cuda>, f32)>,
    h: &AdamW,
) {
    let gpu = gpu();
    let (work, n) = each(p.shape().num_elements());
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(h.step as f64);
    let step_size = (f64::from(h.lr) / correction(h.beta1)) as f32;
    let inverse_root = (1.0 / correction(h.beta2).sqrt()) as f32;
    let keep = 1.0 - h.lr * h.weight_decay;
    let (teacher, momentum) = match teacher {
        Some((teacher, momentum)) => {
            // A fresh teacher is a copy of its student, and copies share their buffer until dfdx writes to one of them;
            // what a kernel writes it does not know of. No other copies of parameters outlive a backward pass.
            if address(teacher) == address(p) {
                let values = teacher.clone();
                teacher.axpy(1.0, &values, 0.0);
            }
            (address(teacher), momentum)
        }
        None => (0, 0.0),
    };
    let mut run = || {
        let grad = grad(g, p)?;
        let (p, m, v) = (
            address(p),
            address(&moments.first),
            address(&moments.second),
        );
        // SAFETY: all have `n` values, and nothing else shares the buffers that are written.
        unsafe {
            launch!(
                gpu,
                "adamw",
                work,
                p,
                grad,
                m,
                v,
                teacher,
                momentum,
                h.beta1,
                h.beta2,
                h.eps,
                keep,
                step_size,
                inverse_root,
                h.grad_scale,
                n
            )
        }
    };
    run().expect("a step on the GPU");
}

/// As [`sum_of_squares_fused`](crate::nn::optim::sum_of_squares_fused).
pub fn sum_of_squares<S: Shape>(p: &Tensor<S, f32, Cuda>, g: &mut Gradients<f32, Cuda>) -> f64 {
    let gpu = gpu();
    let n = p.shape().num_elements();
    let blocks = n.div_ceil(256 * 16).clamp(1, 256);
    let mut run = || {
        let partial = gpu.room::<f64>(blocks)?;
        let at = grad(g, p)?;
        // SAFETY: the gradient has `n` values, and each block its place.
        unsafe {
            launch!(
                gpu,
                "squares",
                Work::RowBlocks(blocks as u32),
                at,
                n as i64,
                &partial
            )
        }?;
        gpu.download(&partial)
    };
    let partial: Result<Vec<f64>, CudaError> = run();
    partial.map_or(f64::NAN, |p| p.iter().sum())
}
