//! AdamW in one pass over memory, the teacher with it.

use cudarc::driver::CudaSlice;
use dfdx::prelude::*;
use intertwine_kernels::optim::AdamW;

use super::gpu::{launch, place, Work};
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
    let len = p.shape().num_elements();
    assert!(
        moments.first.shape().0 == len && moments.second.shape().0 == len,
        "averages of {len} values"
    );
    let (work, n) = each(len);
    let (step_size, inverse_root) = h.scales();
    let keep = 1.0 - h.lr * h.weight_decay;
    let (teacher, momentum) = match teacher {
        Some((teacher, momentum)) => {
            assert_eq!(teacher.shape(), p.shape(), "the teacher's parameter");
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

/// A sum of squares that stays on the GPU until it is asked for: waiting once for each parameter would take longer than
/// the sums.
#[derive(Default)]
pub struct Squares {
    /// Parts that are not added up yet.
    parts: Option<CudaSlice<f64>>,
    used: usize,
    /// What was added up before there was no more room.
    sum: f64,
}

/// Parts of one parameter, and room for those of many.
const MOST_PARTS: usize = 256;
const ROOM: usize = 1 << 16;

impl Squares {
    /// Adds those of a parameter's gradient.
    pub fn add<S: Shape>(&mut self, p: &Tensor<S, f32, Cuda>, g: &mut Gradients<f32, Cuda>) {
        self.try_add(p, g).expect("a sum of squares on the GPU");
    }

    fn try_add<S: Shape>(
        &mut self,
        p: &Tensor<S, f32, Cuda>,
        g: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let gpu = gpu();
        let n = p.shape().num_elements();
        let blocks = n.div_ceil(256 * 16).clamp(1, MOST_PARTS);
        if self.used + blocks > ROOM {
            self.gather()?;
        }
        let parts = match self.parts.take() {
            Some(parts) => parts,
            None => gpu.room(ROOM)?,
        };
        let parts = self.parts.insert(parts);
        let (x, to) = (
            grad(g, p)?,
            place(parts) + (self.used * size_of::<f64>()) as u64,
        );
        // SAFETY: the gradient has `n` values, and there is room for a part of each block.
        unsafe {
            launch!(
                gpu,
                "squares",
                Work::RowBlocks(blocks as u32),
                x,
                n as i64,
                to
            )
        }?;
        self.used += blocks;
        Ok(())
    }

    fn gather(&mut self) -> Result<(), CudaError> {
        if let Some(parts) = &self.parts {
            self.sum += gpu()
                .download(&parts.slice(..self.used))?
                .iter()
                .sum::<f64>();
        }
        self.used = 0;
        Ok(())
    }

    /// What they add up to.
    pub fn total(mut self) -> f64 {
        self.gather().expect("a sum of squares on the GPU");
        self.sum
    }
}
