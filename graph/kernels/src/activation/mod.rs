//! Exact GELU (Hendrycks, Gimpel, 2016) and SiLU, element by element.
//!
//! GELU: `y = x Phi(x)`, `dx = dy (Phi(x) + x phi(x))`, with the normal distribution `Phi` and its density `phi`.
//! SiLU: `y = x s(x)`, `dx = dy s(x) (1 + x (1 - s(x)))`, with the logistic function `s`.
//!
//! `Phi` is formula 7.1.26 of Abramowitz and Stegun for `erf`, `|error| <= 1.5e-7`. Its exponential at `x / sqrt 2`
//! is `e^(-x^2 / 2)`, which is also what the density needs: one exponential serves both.

#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use crate::check_len;
use crate::gemm::Precision;
use crate::simd::{exp, exp2_for_bf16, Arithmetic};
use rayon::prelude::*;

/// The function applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x Phi(x)`, by `erf` and not by its tanh approximation; absolute error below 1e-6.
    Gelu,
    /// `x / (1 + e^-x)`, also known as swish.
    Silu,
}

/// Elements handed to a thread at once: the exponential makes an element ten times dearer than a sum.
const PIECE: usize = crate::parallel::PIECE / 2;

/// `y = f(x)`.
///
/// # Panics
/// If the slices' lengths differ.
pub fn forward(kind: Activation, x: &[f32], y: &mut [f32]) {
    check_len("activation", "y", y, x.len());
    let piece = match kind {
        Activation::Gelu => gelu,
        Activation::Silu => silu,
    };
    x.par_chunks(PIECE)
        .zip(y.par_chunks_mut(PIECE))
        .for_each(|(x, y)| piece(x, y));
}

/// `x = f(x)`, on this thread.
pub(crate) fn in_place(kind: Activation, x: &mut [f32]) {
    match kind {
        Activation::Gelu => gelu_in_place(x),
        Activation::Silu => silu_in_place(x),
    }
}

/// `x = f(x + b)`, as far as `x` goes, on this thread; to the precision of what will read it.
pub(crate) fn of_sum(kind: Activation, x: &mut [f32], b: &[f32], reader: Precision) {
    match (kind, reader) {
        (Activation::Gelu, Precision::F32) => gelu_of_sum(x, b),
        (Activation::Gelu, Precision::Bf16) => gelu_of_sum_for_bf16(x, b),
        (Activation::Silu, _) => silu_of_sum(x, b),
    }
}

/// `dx += dy f'(x)`.
///
/// # Panics
/// If the slices' lengths differ.
pub fn backward(kind: Activation, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    check_len("activation", "dy", dy, x.len());
    check_len("activation", "dx", dx, x.len());
    let piece = match kind {
        Activation::Gelu => gelu_backward,
        Activation::Silu => silu_backward,
    };
    (
        x.par_chunks(PIECE),
        dy.par_chunks(PIECE),
        dx.par_chunks_mut(PIECE),
    )
        .into_par_iter()
        .for_each(|(x, dy, dx)| piece(x, dy, dx));
}

/// The normal distribution and its density at `x`.
#[inline(always)]
fn normal<A: Arithmetic>(x: f32) -> (f32, f32) {
    let gauss = exp::<A>(x * x * -0.5);
    // Abramowitz and Stegun write p = 0.3275911 for erf(z); here z = |x| / sqrt 2, and the coefficients are halved
    // because Phi(-|x|) = erfc(z) / 2.
    let t = 1.0 / A::mul_add(x.abs(), 0.231_641_89, 1.0);
    let mut p = 0.530_702_7;
    p = A::mul_add(p, t, -0.726_576_03);
    p = A::mul_add(p, t, 0.710_706_9);
    p = A::mul_add(p, t, -0.142_248_37);
    p = A::mul_add(p, t, 0.127_414_8);
    let tail = p * t * gauss;
    let phi = if x < 0.0 { tail } else { 1.0 - tail };
    (phi, gauss * 0.398_942_3)
}

/// As [`normal`], to an absolute error of 7e-5: formula 7.1.25 of Abramowitz and Stegun.
#[inline(always)]
fn normal_for_bf16<A: Arithmetic>(x: f32) -> f32 {
    let gauss = exp2_for_bf16::<A>(x * x * (-0.5 * std::f32::consts::LOG2_E));
    // As above: their p is 0.47047, their coefficients twice these.
    let t = 1.0 / A::mul_add(x.abs(), 0.332_672_5, 1.0);
    let p = A::mul_add(0.373_927_8, t, -0.047_939_9);
    let p = A::mul_add(p, t, 0.174_012_1);
    let tail = p * t * gauss;
    if x < 0.0 {
        tail
    } else {
        1.0 - tail
    }
}

#[inline(always)]
fn logistic<A: Arithmetic>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<A>(-x))
}

multiversion! {
    /// `y = gelu(x)`.
    pub(crate) fn gelu<A>(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x * normal::<A>(*x).0;
        }
    }

    /// `x = gelu(x)`.
    fn gelu_in_place<A>(x: &mut [f32]) {
        for x in x.iter_mut() {
            *x *= normal::<A>(*x).0;
        }
    }

    /// `x = silu(x)`.
    fn silu_in_place<A>(x: &mut [f32]) {
        for x in x.iter_mut() {
            *x *= logistic::<A>(*x);
        }
    }

    fn gelu_of_sum<A>(x: &mut [f32], b: &[f32]) {
        for (x, b) in x.iter_mut().zip(b) {
            let sum = *x + b;
            *x = sum * normal::<A>(sum).0;
        }
    }

    fn gelu_of_sum_for_bf16<A>(x: &mut [f32], b: &[f32]) {
        for (x, b) in x.iter_mut().zip(b) {
            let sum = *x + b;
            *x = sum * normal_for_bf16::<A>(sum);
        }
    }

    fn silu_of_sum<A>(x: &mut [f32], b: &[f32]) {
        for (x, b) in x.iter_mut().zip(b) {
            let sum = *x + b;
            *x = sum * logistic::<A>(sum);
        }
    }

    fn gelu_backward<A>(x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
            let (distribution, density) = normal::<A>(*x);
            *dx = A::mul_add(*dy, A::mul_add(*x, density, distribution), *dx);
        }
    }

    /// `dy *= gelu'(x)`.
    pub(crate) fn gelu_times_slope<A>(x: &[f32], dy: &mut [f32]) {
        for (dy, x) in dy.iter_mut().zip(x) {
            let (distribution, density) = normal::<A>(*x);
            *dy *= A::mul_add(*x, density, distribution);
        }
    }

    fn silu<A>(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x * logistic::<A>(*x);
        }
    }

    fn silu_backward<A>(x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
            let s = logistic::<A>(*x);
            *dx = A::mul_add(*dy, s * A::mul_add(*x, 1.0 - s, 1.0), *dx);
        }
    }
}
