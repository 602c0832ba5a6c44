//! Multi-head self-attention over sequences of several lengths (Vaswani et al., 2017).
//!
//! Per head, `y = softmax(q k^T / sqrt(head_dim)) v`. `qkv` is [rows, 3 d], a row holding q, k and v, each
//! `heads` x `head_dim`. The rows are grouped into sequences that do not see each other: global and local crops
//! of a batch go through one call without padding.
//!
//! With `p` the probabilities and `delta_i = dy_i . y_i`: `dv = p^T dy`, `ds = p * (dy v^T - delta)`,
//! `dq = ds k / sqrt(head_dim)`, `dk = ds^T q / sqrt(head_dim)`. The backward pass rebuilds `p` from the
//! log-sum-exp of each row instead of keeping it (Dao et al., 2022).

mod heads;
#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use crate::gemm::Precision;
use crate::parallel::Scattered;
use crate::{check_len, size};
use heads::Inputs;
use std::ops::Range;

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
    precision: Precision,
) {
    let rows = rows_in(groups);
    check_len("attention", "qkv", qkv, size([rows, 3, d]));
    check_len("attention", "y", y, size([rows, d]));
    check_len("attention", "lse", lse, size([rows, heads]));
    let inputs = Inputs::of_all(qkv, heads, d, precision);
    inputs.attend(all_queries(groups), y, lse);
}

/// As [`forward`] for one sequence, its scores multiplied by `scale`, for a network that is only run.
///
/// # Panics
/// If `d` is not a multiple of `heads` or a slice's length does not fit.
pub fn forward_one(
    qkv: &[f32],
    heads: usize,
    d: usize,
    scale: f32,
    y: &mut [f32],
    precision: Precision,
) {
    let len = y.len() / d.max(1);
    check_len("attention", "y", y, size([len, d]));
    check_len("attention", "qkv", qkv, size([len, 3, d]));
    let inputs = Inputs::of_all(qkv, heads, d, precision).scaled(scale);
    inputs.attend_one(len, y);
}

/// As [`forward`] where only some rows ask: `q` [queries, d] holds those of the first sequence, then those of the second
/// and so on, `asking` how many each sequence has, `kv` [rows, 2 d] the keys and values of all rows. `y` is [queries, d],
/// `lse` [queries * heads].
///
/// # Panics
/// If `d` is not a multiple of `heads` or a slice's length does not fit.
#[allow(clippy::too_many_arguments)]
pub fn forward_of(
    q: &[f32],
    kv: &[f32],
    groups: &[Group],
    asking: &[usize],
    heads: usize,
    d: usize,
    y: &mut [f32],
    lse: &mut [f32],
    precision: Precision,
) {
    let queries = asking.iter().sum::<usize>();
    check_len("attention", "q", q, size([queries, d]));
    check_len("attention", "kv", kv, size([rows_in(groups), 2, d]));
    check_len("attention", "y", y, size([queries, d]));
    check_len("attention", "lse", lse, size([queries, heads]));
    let inputs = Inputs::of_some(q, kv, heads, d, precision);
    inputs.attend(some_queries(groups, asking), y, lse);
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
    precision: Precision,
) {
    let rows = rows_in(groups);
    check_len("attention", "qkv", qkv, size([rows, 3, d]));
    check_len("attention", "y", y, size([rows, d]));
    check_len("attention", "lse", lse, size([rows, heads]));
    check_len("attention", "dy", dy, size([rows, d]));
    check_len("attention", "dqkv", dqkv, size([rows, 3, d]));
    let inputs = Inputs::of_all(qkv, heads, d, precision);
    let dqkv = Scattered::new(dqkv);
    let dkv = dqkv.from(d.min(dqkv.len()));
    // SAFETY: q's columns of dqkv are not those of k and v, and nothing else has dqkv.
    unsafe { inputs.backward(all_queries(groups), y, lse, dy, &dqkv, &dkv) }
}

/// Adds the gradients of `q` and `kv` of [`forward_of`] to `dq` [queries, d] and `dkv` [rows, 2 d].
///
/// # Panics
/// If `d` is not a multiple of `heads` or a slice's length does not fit.
#[allow(clippy::too_many_arguments)]
pub fn backward_of(
    q: &[f32],
    kv: &[f32],
    y: &[f32],
    lse: &[f32],
    dy: &[f32],
    groups: &[Group],
    asking: &[usize],
    heads: usize,
    d: usize,
    dq: &mut [f32],
    dkv: &mut [f32],
    precision: Precision,
) {
    let (queries, rows) = (asking.iter().sum::<usize>(), rows_in(groups));
    for (name, slice, len) in [("q", q, d), ("y", y, d), ("dy", dy, d), ("lse", lse, heads)] {
        check_len("attention", name, slice, size([queries, len]));
    }
    check_len("attention", "dq", dq, size([queries, d]));
    check_len("attention", "kv", kv, size([rows, 2, d]));
    check_len("attention", "dkv", dkv, size([rows, 2, d]));
    let inputs = Inputs::of_some(q, kv, heads, d, precision);
    let (dq, dkv) = (Scattered::new(dq), Scattered::new(dkv));
    // SAFETY: both are borrowed mutably.
    unsafe { inputs.backward(some_queries(groups, asking), y, lse, dy, &dq, &dkv) }
}

/// The attention that row 0 (the CLS token) of every sequence pays to all its rows, for pictures: per sequence
/// [heads, len], one sequence after another, `rows * heads` elements in all.
///
/// # Panics
/// If `d` is not a multiple of `heads` or a slice's length does not fit the groups.
pub fn cls_attention(qkv: &[f32], groups: &[Group], heads: usize, d: usize, out: &mut [f32]) {
    let rows = rows_in(groups);
    check_len("attention", "qkv", qkv, size([rows, 3, d]));
    check_len("attention", "out", out, size([rows, heads]));
    let inputs = Inputs::of_all(qkv, heads, d, Precision::F32);
    for (first, len) in sequences(groups).filter(|(_, len)| *len > 0) {
        let rows = &mut out[first * heads..(first + len) * heads];
        for (h, out) in rows.chunks_exact_mut(len).enumerate() {
            inputs.probabilities(h, first, first, out);
        }
    }
}

/// The queries of one sequence, and its rows, which are `len` from `first` on.
#[derive(Clone)]
struct Sequence {
    queries: Range<usize>,
    first: usize,
    len: usize,
}

/// Rows in all.
fn rows_in(groups: &[Group]) -> usize {
    let mut rows = groups.iter().map(|g| size([g.count, g.len]));
    let sum = rows.try_fold(0usize, usize::checked_add);
    sum.expect("groups have more rows than memory")
}

/// First row and length of every sequence.
fn sequences(groups: &[Group]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let lengths = groups
        .iter()
        .flat_map(|g| std::iter::repeat_n(g.len, g.count));
    lengths.scan(0, |next, len| {
        let first = *next;
        *next += len;
        Some((first, len))
    })
}

/// The sequences, of which every row asks.
fn all_queries(groups: &[Group]) -> impl Iterator<Item = Sequence> + '_ {
    sequences(groups).map(|(first, len)| Sequence {
        queries: first..first + len,
        first,
        len,
    })
}

/// The sequences, of which so many rows ask.
#[track_caller]
fn some_queries<'a>(
    groups: &'a [Group],
    asking: &'a [usize],
) -> impl Iterator<Item = Sequence> + 'a {
    let count: usize = groups.iter().map(|g| g.count).sum();
    assert_eq!(
        asking.len(),
        count,
        "attention: queries of {} sequences for {count}",
        asking.len()
    );
    let mut next = 0;
    sequences(groups)
        .zip(asking)
        .map(move |((first, len), count)| {
            let queries = next..next + count;
            next += count;
            assert!(len > 0 || *count == 0, "attention: queries of no rows");
            Sequence {
                queries,
                first,
                len,
            }
        })
}
