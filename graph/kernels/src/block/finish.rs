//! The second half of a block, after attention: each row by itself.
//!
//! `m = x + s1 g1 proj(a)`, `y = m + s2 g2 fc2(gelu(fc1(norm2(m))))`, `a` being what the rows attend to.

use super::{Normed, Parameters, Shape};
use crate::activation::{self, gelu, gelu_times_slope, Activation};
use crate::buffers::Buffer;
use crate::gemm::{matmul, matmul_then, Layout, Precision};
use crate::linear::{add_to, backward_params};
use crate::parallel::Scattered;
use crate::{layer_norm, residual};

/// What is computed.
pub(super) struct Finish<'a> {
    p: &'a Parameters<&'a [f32]>,
    shape: &'a Shape<'a>,
    /// `s1` and `s2` of these rows.
    scales: [Option<&'a [f32]>; 2],
}

/// What the backward pass needs of the forward pass.
#[derive(Debug)]
pub(super) struct Kept {
    /// `proj(..)`, where its gain has a gradient.
    branch1: Option<Buffer>,
    mid: Buffer,
    hidden: Buffer,
    /// `fc2(..)`, where its gain has a gradient.
    branch2: Option<Buffer>,
}

impl<'a> Finish<'a> {
    pub(super) fn of(
        p: &'a Parameters<&'a [f32]>,
        shape: &'a Shape<'a>,
        scales: [Option<&'a [f32]>; 2],
    ) -> Self {
        Self { p, shape, scales }
    }

    /// `y` from `x` and what its rows attend to, all [rows, d]; without `y` it ends before the last product.
    pub(super) fn forward(&self, x: &[f32], attended: &[f32], y: Option<&mut [f32]>) -> Kept {
        let (p, d, hidden, precision) = (
            self.p,
            self.shape.d,
            self.shape.hidden,
            self.shape.precision,
        );
        let rows = x.len() / d;
        let mut mid = Buffer::take(rows * d);
        let branch1 = Residual {
            from: x,
            bias: p.proj_bias,
            gain: p.gain1,
            row_scale: self.scales[0],
        }
        .after(attended, p.proj_weight, d, &mut mid, precision);

        let normed = self.norm2(&mid).y;
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
        let (n, t) = (Layout::N, Layout::T);
        matmul_then(
            rows,
            d,
            hidden,
            &normed,
            n,
            p.fc1_weight,
            t,
            &mut inner,
            false,
            precision,
            Some(&add),
        );
        drop(normed);
        let branch2 = match (y, active) {
            (Some(y), Some(active)) => Residual {
                from: &mid,
                bias: p.fc2_bias,
                gain: p.gain2,
                row_scale: self.scales[1],
            }
            .after(&active, p.fc2_weight, hidden, y, precision),
            // The gradient of its gain needs the branch even when y is not wanted.
            _ => p.gain2.map(|_| {
                let mut active = Buffer::take(rows * hidden);
                activation::forward(Activation::Gelu, &inner, &mut active);
                let mut branch = Buffer::take(rows * d);
                let (w, bias) = (p.fc2_weight, p.fc2_bias);
                super::project(&active, w, bias, hidden, &mut branch, precision);
                branch
            }),
        };
        Kept {
            branch1,
            mid,
            hidden: inner,
            branch2,
        }
    }

    /// Turns `dy` into the gradient of `x` on this way, adds those of the parameters and gives that of `attended`.
    pub(super) fn backward(
        &self,
        attended: &[f32],
        kept: &Kept,
        dy: &mut [f32],
        g: &mut Parameters<Vec<f32>>,
    ) -> Buffer {
        let (p, d, hidden, precision) = (
            self.p,
            self.shape.d,
            self.shape.hidden,
            self.shape.precision,
        );
        let (rows, n) = (dy.len() / d, Layout::N);
        let mut dnormed = Buffer::take(rows * d);
        {
            let (branch, gain, scale) = (kept.branch2.as_deref(), p.gain2, self.scales[1]);
            let scaled = branch_gradient(branch, gain, scale, dy, d, g.gain2.as_mut());
            let df = scaled.as_deref().unwrap_or(dy);
            let mut wide = Buffer::take(rows * hidden);
            activation::forward(Activation::Gelu, &kept.hidden, &mut wide);
            let (dw, db) = (&mut g.fc2_weight, &mut g.fc2_bias);
            backward_params(df, &wide, dw, Some(db), hidden, d, precision);
            let slope = |row: usize, first: usize, dh: &mut [f32]| {
                gelu_times_slope(&kept.hidden[row * hidden + first..][..dh.len()], dh);
            };
            matmul_then(
                rows,
                d,
                hidden,
                df,
                n,
                p.fc2_weight,
                n,
                &mut wide,
                false,
                precision,
                Some(&slope),
            );
            let norm = self.norm2(&kept.mid);
            let (dw, db) = (&mut g.fc1_weight, &mut g.fc1_bias);
            backward_params(&wide, &norm.y, dw, Some(db), d, hidden, precision);
            let (w, dn) = (p.fc1_weight, &mut dnormed);
            matmul(rows, hidden, d, &wide, n, w, n, dn, false, precision);
            let (gain, mean, rstd) = (p.norm2_weight, &norm.mean, &norm.rstd);
            let (dgain, dbias) = (&mut g.norm2_weight, &mut g.norm2_bias);
            layer_norm::backward(&kept.mid, gain, mean, rstd, dn, dy, dgain, dbias);
        }
        let (branch, gain, scale) = (kept.branch1.as_deref(), p.gain1, self.scales[0]);
        let scaled = branch_gradient(branch, gain, scale, dy, d, g.gain1.as_mut());
        let df = scaled.as_deref().unwrap_or(dy);
        let (dw, db) = (&mut g.proj_weight, &mut g.proj_bias);
        backward_params(df, attended, dw, Some(db), d, d, precision);
        let (w, da) = (p.proj_weight, &mut dnormed);
        matmul(rows, d, d, df, n, w, n, da, false, precision);
        dnormed
    }

    fn norm2(&self, mid: &[f32]) -> Normed {
        let (gain, bias) = (self.p.norm2_weight, self.p.norm2_bias);
        Normed::by(mid, gain, bias, self.shape.eps)
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
        inp: usize,
        y: &mut [f32],
        precision: Precision,
    ) -> Option<Buffer> {
        let d = self.bias.len();
        let rows = y.len() / d;
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
