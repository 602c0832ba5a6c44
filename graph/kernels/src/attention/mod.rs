//! Multi-head self-attention over sequences of several lengths (Vaswani et al., 2017).
//!
//! Per head, `y = softmax(q k^T / sqrt(head_dim)) v`. `qkv` is [rows, 3 d], a row holding q, k and v, each
//! `heads` x `head_dim`. The rows are grouped into sequences that do not see each other: global and local crops
//! of a batch go through one call without padding.
//!
//! With `p` the probabilities and `delta_i = dy_i . y_i`: `dv = p^T dy`, `ds = p * (dy v^T - delta)`,
//! `dq = ds k / sqrt(head_dim)`, `dk = ds^T q / sqrt(head_dim)`. The backward pass rebuilds `p` from the
//! log-sum-exp of each row instead of keeping it (Dao et al., 2022).

#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use crate::check_len;
use crate::gemm::{strided, Operand, Precision};
use crate::parallel::{in_pieces_of, Scattered};
use crate::simd::{add_lanes, dot, exp, max, LANES};
use std::cell::RefCell;
use std::ops::Range;

/// Most scores in memory at once: a quarter of a second-level cache of 1 MiB. For the 577 tokens of a 384-pixel picture
/// they are those of 112 queries, so that a lone sequence occupies several threads; shorter sequences stay whole.
const SCORES: usize = 1 << 16;

/// Multiplications that are worth another thread: some forty microseconds of them.
const WORK_PER_PIECE: usize = 1 << 21;

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
    let rows = check_shape(qkv, groups, heads, d);
    check_len("attention", "y", y, rows * d);
    check_len("attention", "lse", lse, rows * heads);
    let head = Head {
        qkv,
        d,
        width: d / heads,
        precision,
    };
    let (y, lse) = (Scattered::new(y), Scattered::new(lse));
    let blocks = sequences(groups).flat_map(|(first, len)| {
        query_blocks(first, len).map(move |queries| (queries.start, queries.end, first, len))
    });
    let tasks: Vec<_> = blocks
        .flat_map(|block| (0..heads).map(move |h| (block, h)))
        .collect();
    let work = |&((start, end, _, len), _): &_| 2 * (end - start) * len * head.width;
    in_pieces_of(
        WORK_PER_PIECE,
        &tasks,
        work,
        |&((start, end, first, len), h)| {
            let queries = start..end;
            with_scratch(|scratch| {
                let scores = head.scores(h, &queries, first, len, &mut scratch.scores);
                let log_sums = resized(&mut scratch.rows, queries.len());
                softmax_rows(scores, padded(len), head.scale(), log_sums);
                for (row, log_sum) in queries.clone().zip(log_sums) {
                    // SAFETY: this task alone has this row and head.
                    unsafe { *lse.at(row * heads + h) = *log_sum };
                }
                let p = Operand {
                    data: scores,
                    row: padded(len),
                    col: 1,
                };
                // SAFETY: this task alone has these rows of y's columns of head h.
                unsafe {
                    let y = y.from(queries.start * d + h * head.width);
                    let v = head.part(2, h, first);
                    strided(
                        queries.len(),
                        len,
                        head.width,
                        p,
                        v,
                        &y,
                        d,
                        false,
                        precision,
                    );
                }
            });
        },
    );
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
    let rows = check_shape(qkv, groups, heads, d);
    check_len("attention", "y", y, rows * d);
    check_len("attention", "lse", lse, rows * heads);
    check_len("attention", "dy", dy, rows * d);
    check_len("attention", "dqkv", dqkv, rows * 3 * d);
    let head = Head {
        qkv,
        d,
        width: d / heads,
        precision,
    };
    let dqkv = Scattered::new(dqkv);
    let tasks: Vec<_> = sequences(groups)
        .flat_map(|sequence| (0..heads).map(move |h| (sequence, h)))
        .collect();
    let work = |&((_, len), _): &_| 5 * len * len * head.width;
    in_pieces_of(WORK_PER_PIECE, &tasks, work, |&((first, len), h)| {
        let width = head.width;
        let column = h * width;
        let (k, v) = (head.part(1, h, first), head.part(2, h, first));
        // The blocks of a sequence add to the same rows of dk and dv: they stay in this task and in order.
        with_scratch(|scratch| {
            for queries in query_blocks(first, len) {
                let n = queries.len();
                let q = head.part(0, h, queries.start);
                let dy_rows = Operand {
                    data: &dy[queries.start * d + column..],
                    row: d,
                    col: 1,
                };
                let p = head.scores(h, &queries, first, len, &mut scratch.scores);
                let dp = resized(&mut scratch.gradients, n * padded(len));
                // SAFETY: dp has n rows of padded(len) >= len elements.
                unsafe {
                    let dp = Scattered::new(dp);
                    let v = v.transposed();
                    strided(
                        n,
                        width,
                        len,
                        dy_rows,
                        v,
                        &dp,
                        padded(len),
                        false,
                        precision,
                    );
                }
                let row_terms = queries.clone().map(|row| {
                    let at = row * d + column;
                    (
                        lse[row * heads + h],
                        dot_rows(&dy[at..at + width], &y[at..at + width]),
                    )
                });
                for ((p, dp), (lse, delta)) in p
                    .chunks_exact_mut(padded(len))
                    .zip(dp.chunks_exact_mut(padded(len)))
                    .zip(row_terms)
                {
                    softmax_row_backward(p, dp, head.scale(), lse, delta);
                }
                let p = Operand {
                    data: p,
                    row: padded(len),
                    col: 1,
                };
                let ds = Operand {
                    data: dp,
                    row: padded(len),
                    col: 1,
                };
                // SAFETY: this task alone has these rows of dqkv's columns of head h, of which the three products
                // write those of v, q and k in turn.
                unsafe {
                    let add = |m, k, a, b, row, part| {
                        let c = dqkv.from(row * 3 * d + part * d + column);
                        strided(m, k, width, a, b, &c, 3 * d, true, precision);
                    };
                    add(len, n, p.transposed(), dy_rows, first, 2);
                    add(n, len, ds, k, queries.start, 0);
                    add(len, n, ds.transposed(), q, first, 1);
                }
            }
        });
    });
}

/// The attention that row 0 (the CLS token) of every sequence pays to all its rows, for pictures: per sequence
/// [heads, len], one sequence after another, `rows * heads` elements in all.
///
/// # Panics
/// If `d` is not a multiple of `heads` or a slice's length does not fit the groups.
pub fn cls_attention(qkv: &[f32], groups: &[Group], heads: usize, d: usize, out: &mut [f32]) {
    let rows = check_shape(qkv, groups, heads, d);
    check_len("attention", "out", out, rows * heads);
    let head = Head {
        qkv,
        d,
        width: d / heads,
        precision: Precision::F32,
    };
    for (first, len) in sequences(groups) {
        let rows = &mut out[first * heads..(first + len) * heads];
        for (h, out) in rows.chunks_exact_mut(len).enumerate() {
            with_scratch(|scratch| {
                let scores = head.scores(h, &(first..first + 1), first, len, &mut scratch.scores);
                softmax_rows(scores, padded(len), head.scale(), &mut [0.0]);
                out.copy_from_slice(&scores[..len]);
            });
        }
    }
}

/// The columns of one head in `qkv`.
struct Head<'a> {
    qkv: &'a [f32],
    d: usize,
    width: usize,
    precision: Precision,
}

impl<'a> Head<'a> {
    fn scale(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }

    /// q, k or v (`part` 0, 1 or 2) of head `h` from row `first` on.
    fn part(&self, part: usize, h: usize, first: usize) -> Operand<'a> {
        let at = first * 3 * self.d + part * self.d + h * self.width;
        Operand {
            data: &self.qkv[at..],
            row: 3 * self.d,
            col: 1,
        }
    }

    /// `q k^T` of some queries against the sequence from `first` on: rows of [`padded`] width, padded with negative
    /// infinity so that the row loops have no remainder and the padding gets probability 0.
    fn scores<'s>(
        &self,
        h: usize,
        queries: &Range<usize>,
        first: usize,
        len: usize,
        scores: &'s mut Vec<f32>,
    ) -> &'s mut [f32] {
        let stride = padded(len);
        let scores = resized(scores, queries.len() * stride);
        for row in scores.chunks_exact_mut(stride) {
            row[len..].fill(f32::NEG_INFINITY);
        }
        let (q, k) = (
            self.part(0, h, queries.start),
            self.part(1, h, first).transposed(),
        );
        // SAFETY: scores has queries.len() rows of stride >= len elements.
        unsafe {
            let scores = Scattered::new(scores);
            strided(
                queries.len(),
                self.width,
                len,
                q,
                k,
                &scores,
                stride,
                false,
                self.precision,
            );
        }
        scores
    }
}

/// Buffers of one thread, kept between calls.
#[derive(Default)]
struct Scratch {
    scores: Vec<f32>,
    gradients: Vec<f32>,
    rows: Vec<f32>,
}

/// Lends this thread's buffers; `f` must not start parallel work, which could run another task on this thread.
fn with_scratch<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(f)
}

/// The first `n` elements of a buffer that grows when it must; what they hold is unspecified.
fn resized(buffer: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if buffer.len() < n {
        buffer.resize(n, 0.0);
    }
    &mut buffer[..n]
}

/// Elements of a row of scores in memory: whole registers.
fn padded(len: usize) -> usize {
    len.next_multiple_of(LANES)
}

/// The rows of a sequence in blocks of nearly equal size, of at most [`SCORES`].
fn query_blocks(first: usize, len: usize) -> impl Iterator<Item = Range<usize>> {
    let blocks = len.div_ceil((SCORES / padded(len).max(1)).max(1));
    (0..blocks).map(move |b| first + b * len / blocks..first + (b + 1) * len / blocks)
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

/// First row and length of every sequence that has rows.
fn sequences(groups: &[Group]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let lengths = groups
        .iter()
        .filter(|g| g.len > 0)
        .flat_map(|g| std::iter::repeat_n(g.len, g.count));
    lengths.scan(0, |next, len| {
        let first = *next;
        *next += len;
        Some((first, len))
    })
}

multiversion! {
    /// Rows of raw scores to probabilities, and the logarithm of each row's sum of `exp(scale * score)`.
    fn softmax_rows<A>(scores: &mut [f32], stride: usize, scale: f32, log_sums: &mut [f32]) {
        for (row, log_sum) in scores.chunks_exact_mut(stride).zip(log_sums) {
            let largest = max(row);
            let mut sums = [0.0f32; LANES];
            for chunk in row.as_chunks_mut::<LANES>().0 {
                for i in 0..LANES {
                    chunk[i] = exp::<A>((chunk[i] - largest) * scale);
                    sums[i] += chunk[i];
                }
            }
            let sum = add_lanes(sums);
            *log_sum = largest * scale + sum.ln();
            let inverse = 1.0 / sum;
            for p in row.iter_mut() {
                *p *= inverse;
            }
        }
    }

    /// One row of raw scores to probabilities, and of the gradient of the probabilities to that of the raw scores.
    fn softmax_row_backward<A>(p: &mut [f32], dp: &mut [f32], scale: f32, lse: f32, delta: f32) {
        for (p, dp) in p.iter_mut().zip(dp) {
            // Not fused: the one token of a sequence of one then gets exactly 1.
            *p = exp::<A>(*p * scale - lse);
            *dp = scale * *p * (*dp - delta);
        }
    }

    fn dot_rows<A>(x: &[f32], y: &[f32]) -> f32 {
        dot::<A>(x, y)
    }
}
