//! Optimiser steps and weight averages, each one pass over memory.
//!
//! AdamW (Loshchilov, Hutter, 2019) in PyTorch's form, with `g` scaled by `grad_scale` (clipping, accumulation):
//! `p -= lr wd p`, `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
//! `p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)`.

#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use crate::check_len;
use crate::parallel::PIECE;
use rayon::prelude::*;

/// The settings of one AdamW step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub lr: f32,
    /// Decay of the mean of gradients, usually 0.9.
    pub beta1: f32,
    /// Decay of the mean of squared gradients, usually 0.999.
    pub beta2: f32,
    /// Added to the root of the mean square, usually 1e-8.
    pub eps: f32,
    /// Decoupled weight decay; the parameter shrinks by `lr * weight_decay`.
    pub weight_decay: f32,
    /// Number of this step, from 1, for the bias correction.
    pub step: u64,
    /// Factor on the gradient: the clipping coefficient, or 1 over the accumulated batches.
    pub grad_scale: f32,
}

impl AdamW {
    /// The two averages' bias corrected: what the first, and what the root of the second is multiplied by.
    ///
    /// # Panics
    /// If `step` is 0.
    pub fn scales(&self) -> (f32, f32) {
        assert!(self.step > 0, "adamw: step is 0, expected to count from 1");
        // In double precision: 1 - 0.999^t loses its digits in f32.
        let correction = |beta: f32| 1.0 - f64::from(beta).powf(self.step as f64);
        let step_size = (f64::from(self.lr) / correction(self.beta1)) as f32;
        (step_size, (1.0 / correction(self.beta2).sqrt()) as f32)
    }
}

/// A moving average of parameters: the teacher of self-distillation.
#[derive(Debug)]
pub struct Average<'a> {
    /// As many as the parameters.
    pub values: &'a mut [f32],
    /// What remains of them: `values = momentum * values + (1 - momentum) * p`.
    pub momentum: f32,
}

/// One AdamW step: updates the parameters `p` and the moments `m` and `v` from the gradient `g`, and then the moving
/// average, if there is one, while the new parameters are in the cache.
///
/// # Panics
/// If the slices' lengths differ or `step` is 0.
pub fn adamw(
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    average: Option<Average>,
    h: &AdamW,
) {
    check_len("adamw", "g", g, p.len());
    check_len("adamw", "m", m, p.len());
    check_len("adamw", "v", v, p.len());
    let len = p.len();
    let (step_size, inverse_root) = h.scales();
    let pieces = (
        p.par_chunks_mut(PIECE),
        g.par_chunks(PIECE),
        m.par_chunks_mut(PIECE),
        v.par_chunks_mut(PIECE),
    )
        .into_par_iter();
    match average {
        None => {
            pieces.for_each(|(p, g, m, v)| adamw_piece(p, g, m, v, *h, step_size, inverse_root))
        }
        Some(Average { values, momentum }) => {
            check_len("adamw", "average", values, len);
            pieces
                .zip(values.par_chunks_mut(PIECE))
                .for_each(|((p, g, m, v), average)| {
                    adamw_piece(p, g, m, v, *h, step_size, inverse_root);
                    ema_piece(average, p, momentum);
                });
        }
    }
}

/// `teacher = momentum * teacher + (1 - momentum) * student`.
///
/// # Panics
/// If the slices' lengths differ.
pub fn ema(teacher: &mut [f32], student: &[f32], momentum: f32) {
    check_len("ema", "student", student, teacher.len());
    teacher
        .par_chunks_mut(PIECE)
        .zip(student.par_chunks(PIECE))
        .for_each(|(t, s)| ema_piece(t, s, momentum));
}

/// `sum_i x_i^2`, summed in double precision in an order that depends on the length alone.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    let mut partials = vec![0.0f64; x.len().div_ceil(PIECE)];
    partials
        .par_iter_mut()
        .zip(x.par_chunks(PIECE))
        .for_each(|(partial, x)| *partial = squares(x));
    partials.iter().sum()
}

/// `y += a x`.
///
/// # Panics
/// If the slices' lengths differ.
pub fn axpy(y: &mut [f32], a: f32, x: &[f32]) {
    scale_add(y, 1.0, a, x);
}

/// `y = s y + a x`.
///
/// # Panics
/// If the slices' lengths differ.
pub fn scale_add(y: &mut [f32], s: f32, a: f32, x: &[f32]) {
    check_len("scale_add", "x", x, y.len());
    y.par_chunks_mut(PIECE)
        .zip(x.par_chunks(PIECE))
        .for_each(|(y, x)| scale_add_piece(y, s, a, x));
}

multiversion! {
    fn adamw_piece<A>(
        p: &mut [f32],
        g: &[f32],
        m: &mut [f32],
        v: &mut [f32],
        h: AdamW,
        step_size: f32,
        inverse_root: f32,
    ) {
        let keep = 1.0 - h.lr * h.weight_decay;
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * h.grad_scale;
            *m = A::mul_add(1.0 - h.beta1, g - *m, *m);
            *v = A::mul_add((1.0 - h.beta2) * g, g, h.beta2 * *v);
            *p = A::mul_add(*p, keep, -step_size * *m / A::mul_add(v.sqrt(), inverse_root, h.eps));
        }
    }

    fn ema_piece<A>(teacher: &mut [f32], student: &[f32], momentum: f32) {
        for (t, s) in teacher.iter_mut().zip(student) {
            *t = A::mul_add(1.0 - momentum, *s - *t, *t);
        }
    }

    fn squares<A>(x: &[f32]) -> f64 {
        let mut lanes = [0.0f64; crate::simd::LANES];
        let (chunks, tail) = x.as_chunks::<{ crate::simd::LANES }>();
        for chunk in chunks {
            for (l, v) in lanes.iter_mut().zip(chunk) {
                *l += f64::from(*v) * f64::from(*v);
            }
        }
        for (l, v) in lanes.iter_mut().zip(tail) {
            *l += f64::from(*v) * f64::from(*v);
        }
        lanes.iter().sum()
    }

    fn scale_add_piece<A>(y: &mut [f32], s: f32, a: f32, x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = A::mul_add(a, *x, s * *y);
        }
    }
}
