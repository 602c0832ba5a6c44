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
    precision: Precision,
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
            precision,
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

    /// So many rows, or where the product's tiles are better filled, the least number above it that fills them.
    pub(super) fn whole_tiles(&self, rows: usize) -> usize {
        match self.weight.wants_whole_tiles_of(rows) {
            true => self.weight.whole_tiles(rows),
            false => rows,
        }
    }

    /// Whether an activation follows the product.
    pub fn has_activation(&self) -> bool {
        self.activation.is_some()
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
            let bias = &self.bias[first..];
            let residual = residual.map(|r| &r[row * self.out() + first..]);
            match (self.activation, residual) {
                (None, Some(residual)) => add_both(y, bias, residual),
                (None, None) => add_to(y, bias),
                (Some(activation), residual) => {
                    activation::of_sum(activation, y, bias, self.precision);
                    if let Some(residual) = residual {
                        add_to(y, residual);
                    }
                }
            }
        };
        matmul_packed(x, &self.weight, y, false, Some(&finish));
    }
}

multiversion! {
    /// `y += a + b`, as far as `y` goes.
    fn add_both<A>(y: &mut [f32], a: &[f32], b: &[f32]) {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y += a + b;
        }
    }
}
