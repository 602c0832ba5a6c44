//! `y = f(x w + b) + residual`.

use crate::activation::{self, Activation};
use crate::gemm::{matmul_packed, Layout, Packed, Precision};
use crate::linear::add_to;
use crate::{check_len, rows_of};

/// A fully connected layer, and what follows it.
#[derive(Debug)]
pub struct Linear {
    weight: Packed,
    bias: Vec<f32>,
    activation: Option<Activation>,
}

impl Linear {
    /// Of a weight [inp, out] (`N`) or [out, inp] (`T`) and a bias `[out]`.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn new(
        weight: &[f32],
        layout: Layout,
        bias: &[f32],
        activation: Option<Activation>,
        precision: Precision,
    ) -> Self {
        let inp = rows_of("fused linear", "weight", weight, bias.len());
        Self {
            weight: Packed::new(weight, layout, inp, bias.len(), precision),
            bias: bias.to_vec(),
            activation,
        }
    }

    /// Length of a row of `x`.
    pub fn inp(&self) -> usize {
        self.weight.k()
    }

    /// Length of a row of `y`.
    pub fn out(&self) -> usize {
        self.weight.n()
    }

    /// `x` [rows, inp] to `y` [rows, out]; `residual`, if there is one, has the shape of `y`.
    ///
    /// # Panics
    /// If a slice's length does not fit.
    pub fn forward(&self, x: &[f32], residual: Option<&[f32]>, y: &mut [f32]) {
        if let Some(residual) = residual {
            check_len("fused linear", "residual", residual, y.len());
        }
        let finish = |row: usize, first: usize, y: &mut [f32]| {
            add_to(y, &self.bias[first..]);
            if let Some(activation) = self.activation {
                activation::in_place(activation, y);
            }
            if let Some(residual) = residual {
                add_to(y, &residual[row * self.out() + first..]);
            }
        };
        matmul_packed(x, &self.weight, y, false, Some(&finish));
    }
}
