//! Multi-head self-attention within each sequence of a ragged batch:
//! `y = softmax(q k^T / sqrt(head width)) v` (Vaswani et al. 2017).

use super::{slice, take_grad};
use crate::nn::{autocast, Backend, Groups, Rows};
use dfdx::prelude::*;
use intertwine_kernels::attention as kernel;

/// In stock operations: each group of equally long sequences is one batched product.
///
/// `qkv` is `[rows, 3 * width]`, laid out q, k, v, each heads x head width; the result `[rows, width]`.
pub fn composed<Q: Dim, C: Dim, D: Backend, T: Tape<f32, D>>(
    qkv: Rows<Q, D, T>,
    groups: &Groups,
    heads: usize,
    width: C,
) -> Rows<C, D, T> {
    let (rows, head) = (qkv.shape().0, width.size() / heads);
    let dev = qkv.device().clone();
    // [rows * 3 * heads, head]: a row is one head's query, key or value of one token.
    let (table, mut tape) = qkv.reshape_like(&(rows * 3 * heads, head)).split_tape();
    let mut done: Option<Rows<usize, D>> = None;
    let mut first = 0;
    for group in &groups.0 {
        let (count, len) = (group.count, group.len);
        // [count * heads, len, head] for part 0 (q), 1 (k) or 2 (v)
        let pick = |part: usize| -> Vec<usize> {
            let mut index = Vec::with_capacity(count * heads * len);
            for s in 0..count {
                for h in 0..heads {
                    index.extend((0..len).map(|t| ((first + s * len + t) * 3 + part) * heads + h));
                }
            }
            index
        };
        let (batch, shape) = (count * heads, (count * heads, len, head));
        let take = |part, tape| -> Tensor<(usize, usize, usize), f32, D, T> {
            let index = dev.tensor_from_vec(pick(part), (batch * len,));
            let rows: Rows<usize, D, T> = table.clone().put_tape(tape).gather(index);
            rows.reshape_like(&shape)
        };
        let (q, tape_q) = take(0, tape).split_tape();
        let (k, tape_k) = take(1, tape_q).split_tape();
        let (v, tape_v) = take(2, tape_k).split_tape();
        let kt = k
            .put_tape(tape_v)
            .permute::<(usize, usize, usize), Axes3<0, 2, 1>>();
        let (kt, tape_k) = kt.split_tape();
        let scores = q.put_tape(tape_k).matmul(kt) * (1.0 / (head as f32).sqrt());
        let y = scores.softmax::<Axis<2>>().matmul(v);
        // back to [count, len, heads * head]
        let y = y
            .reshape_like(&(count, heads, len, head))
            .permute::<(usize, usize, usize, usize), Axes4<0, 2, 1, 3>>()
            .reshape_like(&(count * len, heads * head));
        let (y, tape_y) = y.split_tape();
        (done, tape) = match done {
            None => (Some(y), tape_y),
            Some(before) => {
                let (all, t) = (before.put_tape(tape_y), y)
                    .concat_along(Axis::<0>)
                    .split_tape();
                (Some(all), t)
            }
        };
        first += count * len;
    }
    let all = done.unwrap_or_else(|| dev.zeros_like(&(0, heads * head)));
    all.put_tape(tape).reshape_like(&(rows, width))
}

/// On the CPU kernels.
pub fn fused<Q: Dim, C: Dim, T: Tape<f32, Cpu>>(
    qkv: Rows<Q, Cpu, T>,
    groups: &Groups,
    heads: usize,
    width: C,
) -> Rows<C, Cpu, T> {
    let (qkv, mut tape) = qkv.split_tape();
    let rows = qkv.shape().0;
    let d = width.size();
    let (mut y, mut lse) = (vec![0.0; rows * d], vec![0.0; rows * heads]);
    let precision = autocast::precision();
    kernel::forward(
        slice(&qkv),
        &groups.0,
        heads,
        d,
        &mut y,
        &mut lse,
        precision,
    );
    let y = qkv.device().tensor_from_vec(y, (rows, width));
    if T::OWNS_TAPE {
        let (kept, groups) = (y.clone(), groups.clone());
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            let dqkv = g.get_or_alloc_mut(&qkv)?;
            kernel::backward(
                slice(&qkv),
                slice(&kept),
                &lse,
                &dy,
                &groups.0,
                heads,
                d,
                dqkv,
                precision,
            );
            Ok(())
        });
    }
    y.put_tape(tape)
}
