//! Multi-head self-attention over sequences of several lengths (Vaswani et al., 2017).
//!
//! Per head, `y = softmax(q k^T / sqrt(head_dim)) v`. `qkv` is [rows, 3 d], a row holding q, k and v, each
//! `heads` x `head_dim`. The rows are grouped into sequences that do not see each other: global and local crops
//! of a batch go through one call without padding.
//!
//! With `p` the probabilities and `delta_i = dy_i . y_i`: `dv = p^T dy`, `ds = p * (dy v^T - delta)`,
//! `dq = ds k / sqrt(head_dim)`, `dk = ds^T q / sqrt(head_dim)`. The backward pass rebuilds `p` from the
//! log-sum-exp of each row instead of keeping it (Dao et al., 2022).

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::check_len;

/// `count` sequences of `len` rows each, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Number of sequences.
    pub count: usize,
    /// Rows of each sequence.
    pub len: usize,
}

/// `y` [rows, d] and `lse` [rows * heads] (row-major, the log-sum-exp of the scaled scores, kept for [`backward`]).
///
/// # Panics
/// If `d` is not a multiple of `heads` or a slice's length does not fit the groups.
pub fn forward(
    qkv: &[f32],
    groups: &[Group],
    heads: usize,
    d: usize,
    y: &mut [f32],
    lse: &mut [f32],
) {
    let rows = check_shape(qkv, groups, heads, d);
    check_len("attention", "y", y, rows * d);
    check_len("attention", "lse", lse, rows * heads);
    let hd = d / heads;
    let scale = 1.0 / (hd as f32).sqrt();
    for (first, len) in sequences(groups) {
        let mut p = vec![0.0; len];
        for h in 0..heads {
            for i in first..first + len {
                let q = &qkv[i * 3 * d + h * hd..][..hd];
                for j in 0..len {
                    let k = &qkv[(first + j) * 3 * d + d + h * hd..][..hd];
                    p[j] = scale * q.iter().zip(k).map(|(a, b)| a * b).sum::<f32>();
                }
                let max = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let l = max + p.iter().map(|s| (s - max).exp()).sum::<f32>().ln();
                lse[i * heads + h] = l;
                let y = &mut y[i * d + h * hd..][..hd];
                y.fill(0.0);
                for j in 0..len {
                    let v = &qkv[(first + j) * 3 * d + 2 * d + h * hd..][..hd];
                    let w = (p[j] - l).exp();
                    for (y, v) in y.iter_mut().zip(v) {
                        *y += w * v;
                    }
                }
            }
        }
    }
}

/// Adds the gradient of `qkv` to `dqkv` [rows, 3 d].
///
/// # Panics
/// If `d` is not a multiple of `heads` or a slice's length does not fit the groups.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    qkv: &[f32],
    y: &[f32],
    lse: &[f32],
    dy: &[f32],
    groups: &[Group],
    heads: usize,
    d: usize,
    dqkv: &mut [f32],
) {
    let rows = check_shape(qkv, groups, heads, d);
    check_len("attention", "y", y, rows * d);
    check_len("attention", "lse", lse, rows * heads);
    check_len("attention", "dy", dy, rows * d);
    check_len("attention", "dqkv", dqkv, rows * 3 * d);
    let hd = d / heads;
    let scale = 1.0 / (hd as f32).sqrt();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    for (first, len) in sequences(groups) {
        for h in 0..heads {
            for i in first..first + len {
                let at = i * 3 * d + h * hd;
                let dyi = &dy[i * d + h * hd..][..hd];
                let delta = dot(dyi, &y[i * d + h * hd..][..hd]);
                for j in first..first + len {
                    let (k, v) = (j * 3 * d + d + h * hd, j * 3 * d + 2 * d + h * hd);
                    let p = (scale * dot(&qkv[at..at + hd], &qkv[k..k + hd]) - lse[i * heads + h])
                        .exp();
                    let ds = scale * p * (dot(dyi, &qkv[v..v + hd]) - delta);
                    for c in 0..hd {
                        dqkv[v + c] += p * dyi[c];
                        dqkv[at + c] += ds * qkv[k + c];
                        dqkv[k + c] += ds * qkv[at + c];
                    }
                }
            }
        }
    }
}

/// The attention that row 0 (the CLS token) of every sequence pays to all its rows, for pictures: per sequence
/// [heads, len], one sequence after another, `rows * heads` elements in all.
///
/// # Panics
/// If `d` is not a multiple of `heads` or a slice's length does not fit the groups.
pub fn cls_attention(qkv: &[f32], groups: &[Group], heads: usize, d: usize, out: &mut [f32]) {
    let rows = check_shape(qkv, groups, heads, d);
    check_len("attention", "out", out, rows * heads);
    let hd = d / heads;
    let scale = 1.0 / (hd as f32).sqrt();
    for (first, len) in sequences(groups) {
        for h in 0..heads {
            let q = &qkv[first * 3 * d + h * hd..][..hd];
            let p = &mut out[first * heads + h * len..][..len];
            for (j, p) in p.iter_mut().enumerate() {
                let k = &qkv[(first + j) * 3 * d + d + h * hd..][..hd];
                *p = scale * q.iter().zip(k).map(|(a, b)| a * b).sum::<f32>();
            }
            let max = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for p in p.iter_mut() {
                *p = (*p - max).exp();
                sum += *p;
            }
            for p in p.iter_mut() {
                *p /= sum;
            }
        }
    }
}

/// The number of rows; panics unless `qkv`, the groups and the heads agree.
#[track_caller]
fn check_shape(qkv: &[f32], groups: &[Group], heads: usize, d: usize) -> usize {
    assert!(
        heads > 0 && d > 0 && d.is_multiple_of(heads),
        "attention: width {d} is not a positive multiple of {heads} heads"
    );
    let rows = groups.iter().map(|g| g.count * g.len).sum();
    check_len("attention", "qkv", qkv, rows * 3 * d);
    rows
}

/// First row and length of every sequence.
fn sequences(groups: &[Group]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let mut next = 0;
    groups
        .iter()
        .flat_map(|g| std::iter::repeat_n(g.len, g.count))
        .map(move |len| {
            let first = next;
            next += len;
            (first, len)
        })
}
