//! A pre-norm transformer block (Dosovitskiy et al., 2021) as one operation, forward and backward.
//!
//! `m = x + s1 g1 proj(attention(qkv(norm1(x))))`, `y = m + s2 g2 fc2(gelu(fc1(norm2(m))))`, with LayerScale `g` per
//! channel and stochastic depth `s` per row, each 1 where absent.
//!
//! Biases, GELU and residual sums are computed on pieces of rows as the products finish them. Kept for the backward
//! pass are 9 values a token and channel; norms and GELU are computed again there, and, if nothing is kept
//! (activation checkpointing, Chen et al., 2016), everything.
//!
//! # Layout
//! - here: the first half, up to what the tokens attend to, and the whole.
//! - [`finish`]: the second half, each row by itself.
//! - [`some_rows`]: a block of which only some rows are wanted, as in the last one.

mod finish;
pub mod some_rows;
#[cfg(test)]
mod tests;

use crate::attention::{self, Group};
use crate::buffers::Buffer;
use crate::gemm::{matmul, matmul_then, Layout, Precision};
use crate::linear::{add_to, backward_params};
use crate::parallel::PIECE;
use crate::{check_len, layer_norm, rows_of};
use finish::{Finish, Kept};
use rayon::prelude::*;

/// A value for each parameter of a block: the parameter, or its gradient. Weights are [out, inp].
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)] // named as in timm
pub struct Parameters<T> {
    pub norm1_weight: T,
    pub norm1_bias: T,
    pub qkv_weight: T,
    pub qkv_bias: T,
    pub proj_weight: T,
    pub proj_bias: T,
    /// `g1`.
    pub gain1: Option<T>,
    pub norm2_weight: T,
    pub norm2_bias: T,
    pub fc1_weight: T,
    pub fc1_bias: T,
    pub fc2_weight: T,
    pub fc2_bias: T,
    /// `g2`.
    pub gain2: Option<T>,
}

impl<T> Parameters<T> {
    /// A value made from each of these.
    pub fn each<'a, U>(&'a self, mut f: impl FnMut(&'a T) -> U) -> Parameters<U> {
        Parameters {
            norm1_weight: f(&self.norm1_weight),
            norm1_bias: f(&self.norm1_bias),
            qkv_weight: f(&self.qkv_weight),
            qkv_bias: f(&self.qkv_bias),
            proj_weight: f(&self.proj_weight),
            proj_bias: f(&self.proj_bias),
            gain1: self.gain1.as_ref().map(&mut f),
            norm2_weight: f(&self.norm2_weight),
            norm2_bias: f(&self.norm2_bias),
            fc1_weight: f(&self.fc1_weight),
            fc1_bias: f(&self.fc1_bias),
            fc2_weight: f(&self.fc2_weight),
            fc2_bias: f(&self.fc2_bias),
            gain2: self.gain2.as_ref().map(&mut f),
        }
    }
}

/// What a block computes besides its parameters.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// The sequences, one after another.
    pub groups: &'a [Group],
    /// Attention heads.
    pub heads: usize,
    /// Width of a token.
    pub d: usize,
    /// Width within the perceptron.
    pub hidden: usize,
    /// Added to the variance in the norms.
    pub eps: f32,
    /// Of the matrix products.
    pub precision: Precision,
    /// `s1` and `s2` `[rows]`.
    pub row_scales: [Option<&'a [f32]>; 2],
}

/// What the backward pass needs of the forward pass.
#[derive(Debug)]
pub struct Saved {
    qkv: Buffer,
    lse: Buffer,
    attended: Buffer,
    kept: Kept,
}

/// `y` [rows, d] from `x` [rows, d].
///
/// # Panics
/// If a slice's length does not fit the shape.
pub fn forward(x: &[f32], p: &Parameters<&[f32]>, shape: &Shape, y: &mut [f32]) -> Saved {
    check_len("block", "y", y, x.len());
    run(x, p, shape, Some(y))
}

/// Turns `dy` [rows, d] into the gradient of `x` and adds the gradients of the parameters.
/// What was not `saved` is computed again.
///
/// # Panics
/// If a slice's length does not fit the shape, or a gain has no gradient.
pub fn backward(
    x: &[f32],
    p: &Parameters<&[f32]>,
    shape: &Shape,
    saved: Option<Saved>,
    dy: &mut [f32],
    g: &mut Parameters<Vec<f32>>,
) {
    let rows = shape.check(x, p);
    check_len("block", "dy", dy, x.len());
    let saved = saved.unwrap_or_else(|| run(x, p, shape, None));
    let (d, precision) = (shape.d, shape.precision);
    let finish = Finish::of(p, shape, shape.row_scales);
    let mut dnormed = finish.backward(&saved.attended, &saved.kept, dy, g);

    let mut dqkv = zeros(rows * 3 * d);
    attention::backward(
        &saved.qkv,
        &saved.attended,
        &saved.lse,
        &dnormed,
        shape.groups,
        shape.heads,
        d,
        &mut dqkv,
        precision,
    );
    let norm = Normed::of(x, p, shape);
    let (dw, db) = (&mut g.qkv_weight, &mut g.qkv_bias);
    backward_params(&dqkv, &norm.y, dw, Some(db), d, 3 * d, precision);
    let (w, n) = (p.qkv_weight, Layout::N);
    matmul(
        rows,
        3 * d,
        d,
        &dqkv,
        n,
        w,
        n,
        &mut dnormed,
        false,
        precision,
    );
    norm.backward(x, p, &dnormed, dy, g);
}

/// The forward pass; without `y` it ends before the last product.
fn run(x: &[f32], p: &Parameters<&[f32]>, shape: &Shape, y: Option<&mut [f32]>) -> Saved {
    let rows = shape.check(x, p);
    let (d, precision) = (shape.d, shape.precision);
    let normed = Normed::of(x, p, shape).y;
    let mut qkv = Buffer::take(rows * 3 * d);
    project(&normed, p.qkv_weight, p.qkv_bias, d, &mut qkv, precision);
    drop(normed);
    let (mut attended, mut lse) = (Buffer::take(rows * d), Buffer::take(rows * shape.heads));
    let (groups, heads) = (shape.groups, shape.heads);
    attention::forward(&qkv, groups, heads, d, &mut attended, &mut lse, precision);
    let kept = Finish::of(p, shape, shape.row_scales).forward(x, &attended, y);
    Saved {
        qkv,
        lse,
        attended,
        kept,
    }
}

/// `norm1(x)`, and what its backward pass needs.
struct Normed {
    y: Buffer,
    mean: Buffer,
    rstd: Buffer,
}

impl Normed {
    fn of(x: &[f32], p: &Parameters<&[f32]>, shape: &Shape) -> Self {
        let (gain, bias) = (p.norm1_weight, p.norm1_bias);
        Self::by(x, gain, bias, shape.eps)
    }

    fn by(x: &[f32], gain: &[f32], bias: &[f32], eps: f32) -> Self {
        let rows = x.len() / gain.len();
        let mut new = Self {
            y: Buffer::take(x.len()),
            mean: Buffer::take(rows),
            rstd: Buffer::take(rows),
        };
        layer_norm::forward(x, gain, bias, eps, &mut new.y, &mut new.mean, &mut new.rstd);
        new
    }

    /// Adds the gradients of `x` and of the norm's parameters.
    fn backward(
        &self,
        x: &[f32],
        p: &Parameters<&[f32]>,
        dnormed: &[f32],
        dx: &mut [f32],
        g: &mut Parameters<Vec<f32>>,
    ) {
        let (gain, mean, rstd) = (p.norm1_weight, &self.mean, &self.rstd);
        let (dgain, dbias) = (&mut g.norm1_weight, &mut g.norm1_bias);
        layer_norm::backward(x, gain, mean, rstd, dnormed, dx, dgain, dbias);
    }
}

/// `y = x w^T + bias`.
fn project(x: &[f32], w: &[f32], bias: &[f32], d: usize, y: &mut [f32], precision: Precision) {
    let (rows, n, t) = (x.len() / d, Layout::N, Layout::T);
    let add = |_, first: usize, y: &mut [f32]| add_to(y, &bias[first..]);
    let add = Some(&add as crate::gemm::Epilogue);
    matmul_then(rows, d, bias.len(), x, n, w, t, y, false, precision, add);
}

/// A buffer to add to.
fn zeros(len: usize) -> Buffer {
    let mut buffer = Buffer::take(len);
    buffer
        .par_chunks_mut(PIECE)
        .for_each(|piece| piece.fill(0.0));
    buffer
}

impl Shape<'_> {
    /// The number of rows; panics unless everything fits. The kernels check their own slices.
    #[track_caller]
    fn check(&self, x: &[f32], p: &Parameters<&[f32]>) -> usize {
        let rows = rows_of("block", "x", x, self.d);
        for (name, bias, len) in [
            ("qkv_bias", p.qkv_bias, 3 * self.d),
            ("proj_bias", p.proj_bias, self.d),
            ("fc1_bias", p.fc1_bias, self.hidden),
            ("fc2_bias", p.fc2_bias, self.d),
            ("gain1", p.gain1.unwrap_or(p.fc2_bias), self.d),
            ("gain2", p.gain2.unwrap_or(p.fc2_bias), self.d),
        ] {
            check_len("block", name, bias, len);
        }
        for scale in self.row_scales.into_iter().flatten() {
            check_len("block", "row_scales", scale, rows);
        }
        rows
    }
}
