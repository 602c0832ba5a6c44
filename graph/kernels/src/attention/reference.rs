//! The definition, one score at a time.

use super::{sequences, Group};

/// `softmax(q_i k^T / sqrt(head_dim))` over the sequence `first..first + len`.
pub(crate) fn probabilities(
    qkv: &[f64],
    first: usize,
    len: usize,
    i: usize,
    h: usize,
    heads: usize,
    d: usize,
) -> Vec<f64> {
    let hd = d / heads;
    let at = |row: usize, part: usize| &qkv[row * 3 * d + part * d + h * hd..][..hd];
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let scores: Vec<f64> = (first..first + len)
        .map(|j| dot(at(i, 0), at(j, 1)) / (hd as f64).sqrt())
        .collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
    scores.iter().map(|s| (s - max).exp() / sum).collect()
}

pub(crate) fn forward(qkv: &[f64], groups: &[Group], heads: usize, d: usize) -> Vec<f64> {
    let hd = d / heads;
    let mut y = vec![0.0; qkv.len() / 3];
    for (first, len) in sequences(groups) {
        for i in first..first + len {
            for h in 0..heads {
                let p = probabilities(qkv, first, len, i, h, heads, d);
                for (j, p) in p.iter().enumerate() {
                    for c in 0..hd {
                        y[i * d + h * hd + c] += p * qkv[(first + j) * 3 * d + 2 * d + h * hd + c];
                    }
                }
            }
        }
    }
    y
}

pub(crate) fn backward(
    qkv: &[f64],
    dy: &[f64],
    groups: &[Group],
    heads: usize,
    d: usize,
) -> Vec<f64> {
    let hd = d / heads;
    let scale = 1.0 / (hd as f64).sqrt();
    let mut dqkv = vec![0.0; qkv.len()];
    for (first, len) in sequences(groups) {
        for i in first..first + len {
            for h in 0..heads {
                let p = probabilities(qkv, first, len, i, h, heads, d);
                let (q, dyi) = (i * 3 * d + h * hd, &dy[i * d + h * hd..][..hd]);
                let k = |j: usize| (first + j) * 3 * d + d + h * hd;
                let dp: Vec<f64> = (0..len)
                    .map(|j| (0..hd).map(|c| dyi[c] * qkv[k(j) + d + c]).sum())
                    .collect();
                let delta: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
                for j in 0..len {
                    let ds = scale * p[j] * (dp[j] - delta);
                    for c in 0..hd {
                        dqkv[q + c] += ds * qkv[k(j) + c];
                        dqkv[k(j) + c] += ds * qkv[q + c];
                        dqkv[k(j) + d + c] += p[j] * dyi[c];
                    }
                }
            }
        }
    }
    dqkv
}
