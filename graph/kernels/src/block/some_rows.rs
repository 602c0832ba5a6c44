//! A block of which only some rows are wanted: all rows are attended to, these alone ask and go through the rest.
//!
//! What follows a vision transformer's last block often reads few of its rows (DINO the CLS tokens, iBOT those and the
//! masked patches), and a third of the first product, most of attention and the second half are for those only.

use super::finish::{Finish, Kept};
use super::{project, zeros, Normed, Parameters, Shape};
use crate::attention::{self, Group};
use crate::buffers::Buffer;
use crate::gather::{rows_backward, rows_forward};
use crate::gemm::{matmul, Layout};
use crate::linear::backward_params;
use crate::{check_len, size};

/// What the backward pass needs of the forward pass.
#[derive(Debug)]
pub struct Saved {
    q: Buffer,
    kv: Buffer,
    lse: Buffer,
    attended: Buffer,
    kept: Kept,
}

/// `y` [wanted.len(), d], the rows `wanted` of what [`super::forward`] makes of `x` [rows, d].
///
/// # Panics
/// If a slice's length does not fit the shape, or `wanted` does not ascend or exceeds the rows.
pub fn forward(
    x: &[f32],
    p: &Parameters<&[f32]>,
    shape: &Shape,
    wanted: &[u32],
    y: &mut [f32],
) -> Saved {
    let rows = shape.check(x, p);
    let (d, heads, precision) = (shape.d, shape.heads, shape.precision);
    check_len("block", "y", y, size([wanted.len(), d]));
    let asking = asking(shape.groups, wanted);
    let normed = Normed::of(x, p, shape).y;
    let (q_weight, kv_weight) = p.qkv_weight.split_at(d * d);
    let (q_bias, kv_bias) = p.qkv_bias.split_at(d);
    let mut q = Buffer::take(y.len());
    let asked = picked(&normed, wanted, d);
    project(&asked, q_weight, q_bias, d, &mut q, precision);
    let mut kv = Buffer::take(rows * 2 * d);
    project(&normed, kv_weight, kv_bias, d, &mut kv, precision);
    drop((asked, normed));
    let (mut attended, mut lse) = (Buffer::take(y.len()), Buffer::take(wanted.len() * heads));
    attention::forward_of(
        &q,
        &kv,
        shape.groups,
        &asking,
        heads,
        d,
        &mut attended,
        &mut lse,
        precision,
    );
    let scales = scales_of(shape, wanted);
    let scales = [scales[0].as_deref(), scales[1].as_deref()];
    let finish = Finish::of(p, shape, scales);
    let kept = finish.forward(&picked(x, wanted, d), &attended, Some(y));
    Saved {
        q,
        kv,
        lse,
        attended,
        kept,
    }
}

/// Adds the gradient of `x` to `dx` [rows, d] and those of the parameters; `dy` [wanted.len(), d] is used up.
///
/// # Panics
/// As [`forward`], or if a gain has no gradient.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    x: &[f32],
    p: &Parameters<&[f32]>,
    shape: &Shape,
    wanted: &[u32],
    saved: Saved,
    dy: &mut [f32],
    dx: &mut [f32],
    g: &mut Parameters<Vec<f32>>,
) {
    let rows = shape.check(x, p);
    let (d, precision, n) = (shape.d, shape.precision, Layout::N);
    check_len("block", "dy", dy, size([wanted.len(), d]));
    check_len("block", "dx", dx, x.len());
    let scales = scales_of(shape, wanted);
    let scales = [scales[0].as_deref(), scales[1].as_deref()];
    let mut dasked = Finish::of(p, shape, scales).backward(&saved.attended, &saved.kept, dy, g);
    rows_backward(dy, wanted, d, dx);

    let (mut dq, mut dkv) = (zeros(dy.len()), zeros(rows * 2 * d));
    attention::backward_of(
        &saved.q,
        &saved.kv,
        &saved.attended,
        &saved.lse,
        &dasked,
        shape.groups,
        &asking(shape.groups, wanted),
        shape.heads,
        d,
        &mut dq,
        &mut dkv,
        precision,
    );
    let norm = Normed::of(x, p, shape);
    let (q_weight, kv_weight) = p.qkv_weight.split_at(d * d);
    let (dq_weight, dkv_weight) = g.qkv_weight.split_at_mut(d * d);
    let (dq_bias, dkv_bias) = g.qkv_bias.split_at_mut(d);
    let asked = picked(&norm.y, wanted, d);
    backward_params(&dq, &asked, dq_weight, Some(dq_bias), d, d, precision);
    backward_params(
        &dkv,
        &norm.y,
        dkv_weight,
        Some(dkv_bias),
        d,
        2 * d,
        precision,
    );
    let mut dnormed = Buffer::take(rows * d);
    let (w, dn) = (kv_weight, &mut dnormed);
    matmul(rows, 2 * d, d, &dkv, n, w, n, dn, false, precision);
    let (m, w, da) = (wanted.len(), q_weight, &mut dasked);
    matmul(m, d, d, &dq, n, w, n, da, false, precision);
    rows_backward(&dasked, wanted, d, &mut dnormed);
    norm.backward(x, p, &dnormed, dx, g);
}

/// Some rows of `x`.
fn picked(x: &[f32], wanted: &[u32], d: usize) -> Buffer {
    let mut rows = Buffer::take(wanted.len() * d);
    rows_forward(x, wanted, d, &mut rows);
    rows
}

/// The scales of the wanted rows.
fn scales_of(shape: &Shape, wanted: &[u32]) -> [Option<Vec<f32>>; 2] {
    let of_wanted = |scales: &[f32]| wanted.iter().map(|row| scales[*row as usize]).collect();
    shape.row_scales.map(|scales| scales.map(of_wanted))
}

/// How many of the wanted rows each sequence has.
#[track_caller]
fn asking(groups: &[Group], wanted: &[u32]) -> Vec<usize> {
    assert!(wanted.is_sorted(), "block: the wanted rows do not ascend");
    let (mut end, mut left) = (0, wanted);
    let lengths = groups
        .iter()
        .flat_map(|g| std::iter::repeat_n(g.len, g.count));
    let counts = lengths
        .map(|len| {
            end += len;
            let (these, others) = left.split_at(left.partition_point(|row| (*row as usize) < end));
            left = others;
            these.len()
        })
        .collect();
    assert!(left.is_empty(), "block: row {} of {end} is wanted", left[0]);
    counts
}
