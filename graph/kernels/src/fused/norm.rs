//! Layer norm and an activation.

use crate::activation::{self, Activation};
use crate::layer_norm::normalise_rows;
use crate::parallel::{for_each_chunk, rows_per_piece, PIECE};
use crate::{check_len, rows_of};

/// A layer norm over the last axis, and what follows it.
#[derive(Clone, Debug)]
pub struct Norm {
    gamma: Vec<f32>,
    beta: Vec<f32>,
    eps: f32,
    activation: Option<Activation>,
}

impl Norm {
    /// Of a gain and a bias `[d]`.
    ///
    /// # Panics
    /// If their lengths differ.
    pub fn new(gamma: &[f32], beta: &[f32], eps: f32, activation: Option<Activation>) -> Self {
        check_len("fused norm", "beta", beta, gamma.len());
        Self {
            gamma: gamma.to_vec(),
            beta: beta.to_vec(),
            eps,
            activation,
        }
    }

    /// Length of a row.
    pub fn width(&self) -> usize {
        self.gamma.len()
    }

    /// `x` [rows, d] to `y` of the same shape.
    ///
    /// # Panics
    /// If a slice's length does not fit.
    pub fn forward(&self, x: &[f32], y: &mut [f32]) {
        rows_of("fused norm", "x", x, self.width());
        check_len("fused norm", "y", y, x.len());
        let piece = rows_per_piece(self.width(), PIECE) * self.width();
        for_each_chunk(y, piece, piece, |i, y| {
            y.copy_from_slice(&x[i * piece..][..y.len()]);
            self.rows(y);
        });
    }

    /// Rows in place, on this thread.
    pub(super) fn rows(&self, x: &mut [f32]) {
        normalise_rows(x, &self.gamma, &self.beta, self.eps);
        if let Some(activation) = self.activation {
            activation::in_place(activation, x);
        }
    }
}
