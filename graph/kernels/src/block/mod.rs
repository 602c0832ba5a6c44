//! A pre-norm transformer block (Dosovitskiy et al., 2021) as one operation, forward and backward.
//!
//! `m = x + s1 g1 proj(attention(qkv(norm1(x))))`, `y = m + s2 g2 fc2(gelu(fc1(norm2(m))))`, with LayerScale `g` per
//! channel and stochastic depth `s` per row, each 1 where absent.
//!
//! Biases, GELU and residual sums are computed on pieces of rows as the products finish them. Kept for the backward
//! pass are 9 values a token and channel; norms and GELU are computed again there, and, if nothing is kept
//! (activation checkpointing, Chen et al., 2016), everything.

#[cfg(test)]
mod tests;

use crate::activation::{gelu, gelu_times_slope};
use crate::attention::{self, Group};
use crate::buffers::Buffer;
use crate::gemm::{matmul, matmul_then, Layout, Precision};
use crate::linear::{add_to, backward_params};
use crate::parallel::{Scattered, PIECE};
use crate::{check_len, layer_norm, residual, rows_of};
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
    /// `proj(..)`, where its gain has a gradient.
    branch1: Option<Buffer>,
    mid: Buffer,
    hidden: Buffer,
    /// `fc2(..)`, where its gain has a gradient.
    branch2: Option<Buffer>,
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
    let (d, hidden, precision) = (shape.d, shape.hidden, shape.precision);
    let mut normed = Buffer::take(rows * d);
    let mut dnormed = Buffer::take(rows * d);
    let (mut mean, mut rstd) = (Buffer::take(rows), Buffer::take(rows));
    {
        let branch = saved.branch2.as_deref();
        let scaled = branch_gradient(
            branch,
            p.gain2,
            shape.row_scales[1],
            dy,
            d,
            g.gain2.as_mut(),
        );
        let df = scaled.as_deref().unwrap_or(dy);
        let mut wide = Buffer::take(rows * hidden);
        gelu_of(&saved.hidden, &mut wide);
        let (dw, db) = (&mut g.fc2_weight, &mut g.fc2_bias);
        backward_params(df, &wide, dw, Some(db), hidden, d, precision);
        let slope = |row: usize, first: usize, dh: &mut [f32]| {
            gelu_times_slope(&saved.hidden[row * hidden + first..][..dh.len()], dh);
        };
        let (n, w) = (Layout::N, p.fc2_weight);
        matmul_then(
            rows,
            d,
            hidden,
            df,
            n,
            w,
            n,
            &mut wide,
            false,
            precision,
            Some(&slope),
        );
        let (gain, bias) = (p.norm2_weight, p.norm2_bias);
        layer_norm::forward(
            &saved.mid,
            gain,
            bias,
            shape.eps,
            &mut normed,
            &mut mean,
            &mut rstd,
        );
        let (dw, db) = (&mut g.fc1_weight, &mut g.fc1_bias);
        backward_params(&wide, &normed, dw, Some(db), d, hidden, precision);
        let w = p.fc1_weight;
        matmul(
            rows,
            hidden,
            d,
            &wide,
            n,
            w,
            n,
            &mut dnormed,
            false,
            precision,
        );
        let (dgain, dbias) = (&mut g.norm2_weight, &mut g.norm2_bias);
        layer_norm::backward(&saved.mid, gain, &mean, &rstd, &dnormed, dy, dgain, dbias);
    }
    let branch = saved.branch1.as_deref();
    let scaled = branch_gradient(
        branch,
        p.gain1,
        shape.row_scales[0],
        dy,
        d,
        g.gain1.as_mut(),
    );
    let df = scaled.as_deref().unwrap_or(dy);
    let (dw, db) = (&mut g.proj_weight, &mut g.proj_bias);
    backward_params(df, &saved.attended, dw, Some(db), d, d, precision);
    let n = Layout::N;
    matmul(
        rows,
        d,
        d,
        df,
        n,
        p.proj_weight,
        n,
        &mut dnormed,
        false,
        precision,
    );
    drop(scaled);
    let mut dqkv = Buffer::take(rows * 3 * d);
    dqkv.par_chunks_mut(PIECE).for_each(|piece| piece.fill(0.0));
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
    let (gain, bias) = (p.norm1_weight, p.norm1_bias);
    layer_norm::forward(x, gain, bias, shape.eps, &mut normed, &mut mean, &mut rstd);
    let (dw, db) = (&mut g.qkv_weight, &mut g.qkv_bias);
    backward_params(&dqkv, &normed, dw, Some(db), d, 3 * d, precision);
    let w = p.qkv_weight;
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
    let (dgain, dbias) = (&mut g.norm1_weight, &mut g.norm1_bias);
    layer_norm::backward(x, gain, &mean, &rstd, &dnormed, dy, dgain, dbias);
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

/// The forward pass; without `y` it ends before the last product.
fn run(x: &[f32], p: &Parameters<&[f32]>, shape: &Shape, y: Option<&mut [f32]>) -> Saved {
    let rows = shape.check(x, p);
    let (d, hidden, precision) = (shape.d, shape.hidden, shape.precision);
    let (n, t) = (Layout::N, Layout::T);
    let mut normed = Buffer::take(rows * d);
    let (mut mean, mut rstd) = (Buffer::take(rows), Buffer::take(rows));
    let (gain, bias) = (p.norm1_weight, p.norm1_bias);
    layer_norm::forward(x, gain, bias, shape.eps, &mut normed, &mut mean, &mut rstd);

    let mut qkv = Buffer::take(rows * 3 * d);
    let add = |_, first: usize, y: &mut [f32]| add_to(y, &p.qkv_bias[first..]);
    let w = p.qkv_weight;
    matmul_then(
        rows,
        d,
        3 * d,
        &normed,
        n,
        w,
        t,
        &mut qkv,
        false,
        precision,
        Some(&add),
    );

    let (mut attended, mut lse) = (Buffer::take(rows * d), Buffer::take(rows * shape.heads));
    let (groups, heads) = (shape.groups, shape.heads);
    attention::forward(&qkv, groups, heads, d, &mut attended, &mut lse, precision);

    let mut mid = Buffer::take(rows * d);
    let branch1 = Residual {
        from: x,
        bias: p.proj_bias,
        gain: p.gain1,
        row_scale: shape.row_scales[0],
    }
    .after(&attended, p.proj_weight, rows, d, &mut mid, precision);

    let (gain, bias) = (p.norm2_weight, p.norm2_bias);
    layer_norm::forward(
        &mid,
        gain,
        bias,
        shape.eps,
        &mut normed,
        &mut mean,
        &mut rstd,
    );
    let mut inner = Buffer::take(rows * hidden);
    let mut active = y.is_some().then(|| Buffer::take(rows * hidden));
    let activated = active.as_deref_mut().map(Scattered::new);
    let add = |row: usize, first: usize, h: &mut [f32]| {
        add_to(h, &p.fc1_bias[first..]);
        if let Some(active) = &activated {
            // SAFETY: each piece of a row is finished once, and this is its place in `active`.
            gelu(h, unsafe { active.piece(row * hidden + first, h.len()) });
        }
    };
    let w = p.fc1_weight;
    matmul_then(
        rows,
        d,
        hidden,
        &normed,
        n,
        w,
        t,
        &mut inner,
        false,
        precision,
        Some(&add),
    );
    let branch2 = match (y, active) {
        (Some(y), Some(active)) => Residual {
            from: &mid,
            bias: p.fc2_bias,
            gain: p.gain2,
            row_scale: shape.row_scales[1],
        }
        .after(&active, p.fc2_weight, rows, hidden, y, precision),
        // The gradient of its gain needs the branch even when y is not wanted.
        _ => p.gain2.map(|_| {
            let mut active = Buffer::take(rows * hidden);
            gelu_of(&inner, &mut active);
            let mut branch = Buffer::take(rows * d);
            let bias = Some(p.fc2_bias);
            crate::linear::forward(
                &active,
                p.fc2_weight,
                bias,
                &mut branch,
                hidden,
                d,
                precision,
            );
            branch
        }),
    };
    Saved {
        qkv,
        lse,
        attended,
        branch1,
        mid,
        hidden: inner,
        branch2,
    }
}

/// The end of a branch.
struct Residual<'a> {
    from: &'a [f32],
    bias: &'a [f32],
    gain: Option<&'a [f32]>,
    row_scale: Option<&'a [f32]>,
}

impl Residual<'_> {
    /// `y = from + row_scale * gain * (x w^T + bias)`; gives `x w^T + bias` where the gain's gradient will need it.
    fn after(
        &self,
        x: &[f32],
        w: &[f32],
        rows: usize,
        inp: usize,
        y: &mut [f32],
        precision: Precision,
    ) -> Option<Buffer> {
        let d = self.bias.len();
        let mut branch = self.gain.map(|_| Buffer::take(rows * d));
        let kept = branch.as_deref_mut().map(Scattered::new);
        let add = |row: usize, first: usize, y: &mut [f32]| {
            let columns = first..first + y.len();
            add_to(y, &self.bias[first..]);
            if let Some(kept) = &kept {
                // SAFETY: each piece of a row is finished once, and this is its place in `branch`.
                unsafe { kept.piece(row * d + first, y.len()) }.copy_from_slice(y);
            }
            let scale = self.row_scale.map_or(1.0, |s| s[row]);
            let gain = self.gain.map(|g| &g[columns.clone()]);
            scale_and_add(y, gain, scale, &self.from[row * d..][columns]);
        };
        let (n, t) = (Layout::N, Layout::T);
        matmul_then(rows, inp, d, x, n, w, t, y, false, precision, Some(&add));
        branch
    }
}

/// The gradient of a branch, where it differs from `dy`; adds that of its gain.
fn branch_gradient(
    branch: Option<&[f32]>,
    gain: Option<&[f32]>,
    row_scale: Option<&[f32]>,
    dy: &[f32],
    d: usize,
    dgain: Option<&mut Vec<f32>>,
) -> Option<Buffer> {
    if gain.is_none() && row_scale.is_none() {
        return None;
    }
    let mut df = Buffer::zeroed(dy.len());
    let dgain = gain.map(|_| &mut dgain.expect("a gain has a gradient")[..]);
    residual::backward(
        branch.unwrap_or(&[]),
        gain,
        row_scale,
        dy,
        d,
        &mut df,
        dgain,
    );
    Some(df)
}

/// `y = gelu(x)`.
fn gelu_of(x: &[f32], y: &mut [f32]) {
    crate::activation::forward(crate::activation::Activation::Gelu, x, y);
}

multiversion! {
    /// `y = from + scale * gain * y`.
    fn scale_and_add<A>(y: &mut [f32], gain: Option<&[f32]>, scale: f32, from: &[f32]) {
        match gain {
            Some(gain) => {
                for ((y, x), g) in y.iter_mut().zip(from).zip(gain) {
                    *y = A::mul_add(scale * g, *y, *x);
                }
            }
            None => {
                for (y, x) in y.iter_mut().zip(from) {
                    *y = A::mul_add(scale, *y, *x);
                }
            }
        }
    }
}
