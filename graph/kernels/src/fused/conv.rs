//! A 3 x 3 convolution with padding 1, its bias, and a norm with its activation.

use super::Norm;
use crate::check_len;
use crate::conv::{Shape, Weights};
use crate::linear::add_to;
use std::sync::Arc;

/// A convolution on NHWC rows, and what follows it. The weights may be shared: a head has the same ones at every level,
/// with norms of their own.
#[derive(Clone, Debug)]
pub struct Conv {
    weights: Arc<Weights>,
    bias: Vec<f32>,
    norm: Option<Norm>,
}

impl Conv {
    /// Of weights, a bias `[out]` and a norm over `out` channels.
    ///
    /// # Panics
    /// If their channels differ.
    pub fn new(weights: Arc<Weights>, bias: &[f32], norm: Option<Norm>) -> Self {
        check_len("fused conv", "bias", bias, weights.out());
        if let Some(norm) = &norm {
            check_len("fused conv", "bias", bias, norm.width());
        }
        Self {
            weights,
            bias: bias.to_vec(),
            norm,
        }
    }

    /// Channels of `x`.
    pub fn inp(&self) -> usize {
        self.weights.inp()
    }

    /// Channels of `y`.
    pub fn out(&self) -> usize {
        self.weights.out()
    }

    /// `x` [height * width, inp] to `y` [height * width, out].
    ///
    /// # Panics
    /// If a slice's length does not fit.
    pub fn forward(&self, x: &[f32], height: usize, width: usize, y: &mut [f32]) {
        let shape = Shape {
            batch: 1,
            height,
            width,
            inp: self.inp(),
            out: self.out(),
        };
        let finish = |_, rows: &mut [f32]| {
            for y in rows.chunks_exact_mut(self.bias.len()) {
                add_to(y, &self.bias);
            }
            if let Some(norm) = &self.norm {
                norm.rows(rows);
            }
        };
        self.weights.apply(x, &shape, y, false, Some(&finish));
    }
}
