//! Attention within one head: blocks of queries, their scores and probabilities, the products with values, and back.

use super::Sequence;
use crate::buffers::resized;
use crate::gemm::{strided, with_units, Operand, Precision, Shared};
use crate::parallel::{for_each_chunk, for_each_task, in_pieces_of, Scattered};
use crate::simd::{add_lanes, dot, exp, exp2_for_bf16, max, Arithmetic, LANES};
use std::cell::RefCell;
use std::ops::Range;

/// Most scores in memory at once: a quarter of a second-level cache of 1 MiB. For the 577 tokens of a 384-pixel picture
/// they are those of 112 queries, so that a lone sequence occupies several threads; shorter sequences stay whole.
const SCORES: usize = 1 << 16;

/// Multiplications that are worth another thread: some forty microseconds of them.
const WORK_PER_PIECE: usize = 1 << 21;

/// Queries, keys and values: a row of `q` holds `heads` x `width` queries, one of `kv` as many keys and then values.
pub(super) struct Inputs<'a> {
    q: &'a [f32],
    q_row: usize,
    kv: &'a [f32],
    kv_row: usize,
    heads: usize,
    d: usize,
    /// Of a head.
    width: usize,
    /// Of the scores.
    scale: f32,
    precision: Precision,
}

impl<'a> Inputs<'a> {
    /// Out of one matrix [rows, 3 d].
    #[track_caller]
    pub(super) fn of_all(qkv: &'a [f32], heads: usize, d: usize, precision: Precision) -> Self {
        Self {
            q_row: 3 * d,
            kv_row: 3 * d,
            ..Self::of_some(qkv, &qkv[d.min(qkv.len())..], heads, d, precision)
        }
    }

    /// Out of [queries, d] and [rows, 2 d].
    #[track_caller]
    pub(super) fn of_some(
        q: &'a [f32],
        kv: &'a [f32],
        heads: usize,
        d: usize,
        precision: Precision,
    ) -> Self {
        assert!(
            heads > 0 && d > 0 && d.is_multiple_of(heads),
            "attention: width {d} is not a positive multiple of {heads} heads"
        );
        Self {
            q,
            q_row: d,
            kv,
            kv_row: 2 * d,
            heads,
            d,
            width: d / heads,
            scale: 1.0 / ((d / heads) as f32).sqrt(),
            precision,
        }
    }

    /// With scores multiplied by `scale` instead of `1 / sqrt(width)`.
    pub(super) fn scaled(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// The queries of head `h` from row `first` on.
    fn queries(&self, h: usize, first: usize) -> Operand<'a> {
        Operand {
            data: &self.q[first * self.q_row + h * self.width..],
            row: self.q_row,
            col: 1,
        }
    }

    /// The keys (`part` 0) or values (1) of head `h` from row `first` on.
    fn part(&self, part: usize, h: usize, first: usize) -> Operand<'a> {
        Operand {
            data: &self.kv[first * self.kv_row + part * self.d + h * self.width..],
            row: self.kv_row,
            col: 1,
        }
    }

    /// `y` [queries, d] and `lse` [queries * heads].
    pub(super) fn attend(
        &self,
        sequences: impl Iterator<Item = Sequence>,
        y: &mut [f32],
        lse: &mut [f32],
    ) {
        let (y, lse) = (Scattered::new(y), Scattered::new(lse));
        let tasks: Vec<_> = sequences
            .flat_map(|s| {
                query_blocks(&s).map(move |queries| Sequence {
                    queries,
                    ..s.clone()
                })
            })
            .flat_map(|block| (0..self.heads).map(move |h| (block.clone(), h)))
            .collect();
        let work = |(block, _): &(Sequence, _)| 2 * block.queries.len() * block.len * self.width;
        in_pieces_of(WORK_PER_PIECE, &tasks, work, |(block, h)| {
            let (queries, len, h) = (&block.queries, block.len, *h);
            with_scratch(|scratch| {
                let scores = self.scores(h, queries, block.first, len, &mut scratch.scores);
                let log_sums = resized(&mut scratch.rows, queries.len());
                softmax_rows(scores, padded(len), self.scale, log_sums);
                for (row, log_sum) in queries.clone().zip(log_sums) {
                    // SAFETY: this task alone has this row and head.
                    unsafe { *lse.at(row * self.heads + h) = *log_sum };
                }
                let p = Operand {
                    data: scores,
                    row: padded(len),
                    col: 1,
                };
                let v = self.part(1, h, block.first);
                let y = y.from(queries.start * self.d + h * self.width);
                let (m, n) = (queries.len(), self.width);
                // SAFETY: this task alone has these rows of y's columns of head h.
                unsafe { strided(m, len, n, p, v, &y, self.d, false, self.precision) }
            });
        });
    }

    /// As [`attend`](Self::attend) for a single sequence, without the sums and without an allocation. Keys and values are
    /// packed once for all blocks of queries.
    pub(super) fn attend_one(&self, len: usize, y: &mut [f32]) {
        let (d, width, heads) = (self.d, self.width, self.heads);
        let keys = Shared::new(width, len, self.precision);
        let values = Shared::new(len, width, self.precision);
        let head = keys.len() + values.len();
        let blocks = len.div_ceil((SCORES / padded(len).max(1)).max(8));
        let y = Scattered::new(y);
        with_units(heads * head, |units| {
            for_each_chunk(units, head, head, |h, units| {
                let (k, v) = units.split_at_mut(keys.len());
                keys.pack(self.part(0, h, 0).transposed(), k);
                values.pack(self.part(1, h, 0), v);
            });
            let units = &*units;
            let task = |i: usize| {
                let (block, h) = (i / heads, i % heads);
                // Whole tiles of eight queries.
                let start = |block: usize| (block * len / blocks).next_multiple_of(8).min(len);
                let queries = start(block)..start(block + 1);
                let (k, v) = units[h * head..(h + 1) * head].split_at(keys.len());
                let stride = padded(len);
                with_scratch(|scratch| {
                    let scores = padded_rows(&mut scratch.scores, queries.len(), len);
                    let q = self.queries(h, queries.start);
                    // SAFETY: scores has rows of stride >= len elements.
                    unsafe { keys.multiply(queries.len(), q, k, &Scattered::new(scores), stride) };
                    let sums = resized(&mut scratch.rows, queries.len());
                    let y = y.from(queries.start * d + h * width);
                    match self.precision {
                        Precision::F32 => {
                            exp_rows(scores, stride, self.scale, sums);
                            let p = Operand {
                                data: scores,
                                row: stride,
                                col: 1,
                            };
                            // SAFETY: this task alone has these rows of y's columns of head h.
                            unsafe { values.multiply(queries.len(), p, v, &y, d) };
                        }
                        Precision::Bf16 => {
                            let row = values.row_units();
                            let p = resized(&mut scratch.units, queries.len() * row);
                            let rows = scores.chunks_exact_mut(stride).zip(p.chunks_exact_mut(row));
                            for ((scores, p), sum) in rows.zip(&mut *sums) {
                                *sum = exp_row_for_bf16(scores, self.scale);
                                values.to_units(&scores[..len], p);
                            }
                            // SAFETY: as above.
                            unsafe { values.multiply_units(p, v, &y, d) };
                        }
                    }
                    for (row, sum) in sums.iter().enumerate() {
                        // SAFETY: as above.
                        scale_by(unsafe { y.piece(row * d, width) }, 1.0 / sum);
                    }
                });
            };
            for_each_task(blocks * heads, 2 * len * len * d > WORK_PER_PIECE, task);
        });
    }

    /// Adds the gradients: of the queries to `dq`, whose rows are as those of `q`, of keys and values to `dkv`, as `kv`.
    ///
    /// # Safety
    /// Nothing else accesses these elements of both during the call, nor are they the same.
    pub(super) unsafe fn backward(
        &self,
        sequences: impl Iterator<Item = Sequence>,
        y: &[f32],
        lse: &[f32],
        dy: &[f32],
        dq: &Scattered,
        dkv: &Scattered,
    ) {
        let tasks: Vec<_> = sequences
            .filter(|s| !s.queries.is_empty())
            .flat_map(|s| (0..self.heads).map(move |h| (s.clone(), h)))
            .collect();
        let work = |(s, _): &(Sequence, _)| 5 * s.queries.len() * s.len * self.width;
        in_pieces_of(WORK_PER_PIECE, &tasks, work, |(sequence, h)| {
            let (first, len, h) = (sequence.first, sequence.len, *h);
            let (d, width, precision) = (self.d, self.width, self.precision);
            let column = h * width;
            let (k, v) = (self.part(0, h, first), self.part(1, h, first));
            // The blocks of a sequence add to the same rows of dk and dv: they stay in this task and in order.
            with_scratch(|scratch| {
                for queries in query_blocks(sequence) {
                    let n = queries.len();
                    let q = self.queries(h, queries.start);
                    let dy_rows = Operand {
                        data: &dy[queries.start * d + column..],
                        row: d,
                        col: 1,
                    };
                    let p = self.scores(h, &queries, first, len, &mut scratch.scores);
                    let dp = resized(&mut scratch.gradients, n * padded(len));
                    // SAFETY: dp has n rows of padded(len) >= len elements.
                    unsafe {
                        let (dp, v) = (Scattered::new(dp), v.transposed());
                        let row = padded(len);
                        strided(n, width, len, dy_rows, v, &dp, row, false, precision);
                    }
                    let row_terms = queries.clone().map(|row| {
                        let at = row * d + column;
                        (
                            lse[row * self.heads + h],
                            dot_rows(&dy[at..at + width], &y[at..at + width]),
                        )
                    });
                    for ((p, dp), (lse, delta)) in p
                        .chunks_exact_mut(padded(len))
                        .zip(dp.chunks_exact_mut(padded(len)))
                        .zip(row_terms)
                    {
                        softmax_row_backward(p, dp, self.scale, lse, delta);
                    }
                    let [p, ds] = [&*p, &*dp].map(|data| Operand {
                        data,
                        row: padded(len),
                        col: 1,
                    });
                    let dq = dq.from(queries.start * self.q_row + column);
                    let dk = dkv.from(first * self.kv_row + column);
                    let dv = dkv.from(first * self.kv_row + d + column);
                    // SAFETY: this task alone has these rows of the columns of head h.
                    unsafe {
                        let add = |m, k, a, b, c, c_row| {
                            strided(m, k, width, a, b, c, c_row, true, precision);
                        };
                        add(len, n, p.transposed(), dy_rows, &dv, self.kv_row);
                        add(n, len, ds, k, &dq, self.q_row);
                        add(len, n, ds.transposed(), q, &dk, self.kv_row);
                    }
                }
            });
        });
    }

    /// What the query `row` pays to each row of its sequence from `first` on, in head `h`.
    pub(super) fn probabilities(&self, h: usize, row: usize, first: usize, out: &mut [f32]) {
        with_scratch(|scratch| {
            let queries = row..row + 1;
            let scores = self.scores(h, &queries, first, out.len(), &mut scratch.scores);
            softmax_rows(scores, padded(out.len()), self.scale, &mut [0.0]);
            out.copy_from_slice(&scores[..out.len()]);
        });
    }

    /// `q k^T` of some queries against the sequence from `first` on, in [`padded_rows`].
    fn scores<'s>(
        &self,
        h: usize,
        queries: &Range<usize>,
        first: usize,
        len: usize,
        scores: &'s mut Vec<f32>,
    ) -> &'s mut [f32] {
        let stride = padded(len);
        let scores = padded_rows(scores, queries.len(), len);
        let (q, k) = (
            self.queries(h, queries.start),
            self.part(0, h, first).transposed(),
        );
        let (m, k_len, precision) = (queries.len(), self.width, self.precision);
        // SAFETY: scores has queries.len() rows of stride >= len elements.
        unsafe {
            let scores = Scattered::new(scores);
            strided(m, k_len, len, q, k, &scores, stride, false, precision);
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
    /// Probabilities, in a kernel's units.
    units: Vec<u32>,
}

/// Lends this thread's buffers; `f` must not start parallel work, which could run another task on this thread.
fn with_scratch<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(f)
}

/// Room for rows of `len` scores, of [`padded`] width: padded with negative infinity, so that the row loops have no
/// remainder and the padding gets probability 0.
fn padded_rows(buffer: &mut Vec<f32>, rows: usize, len: usize) -> &mut [f32] {
    let scores = resized(buffer, rows * padded(len));
    for row in scores.chunks_exact_mut(padded(len)) {
        row[len..].fill(f32::NEG_INFINITY);
    }
    scores
}

/// Elements of a row of scores in memory: whole registers.
fn padded(len: usize) -> usize {
    len.next_multiple_of(LANES)
}

/// The queries of a sequence in blocks of nearly equal size, of at most [`SCORES`].
fn query_blocks(s: &Sequence) -> impl Iterator<Item = Range<usize>> {
    let (first, count) = (s.queries.start, s.queries.len());
    let blocks = count.div_ceil((SCORES / padded(s.len).max(1)).max(1));
    (0..blocks).map(move |b| first + b * count / blocks..first + (b + 1) * count / blocks)
}

/// A row of raw scores, whole registers long, to `exp(scale * (score - largest))`: the largest, and the sum.
#[inline(always)]
fn exponentials<A: Arithmetic>(row: &mut [f32], scale: f32) -> (f32, f32) {
    let largest = max(row);
    let mut sums = [0.0f32; LANES];
    for chunk in row.as_chunks_mut::<LANES>().0 {
        for i in 0..LANES {
            chunk[i] = exp::<A>((chunk[i] - largest) * scale);
            sums[i] += chunk[i];
        }
    }
    (largest, add_lanes(sums))
}

multiversion! {
    /// Rows of raw scores to probabilities, and the logarithm of each row's sum of `exp(scale * score)`.
    fn softmax_rows<A>(scores: &mut [f32], stride: usize, scale: f32, log_sums: &mut [f32]) {
        for (row, log_sum) in scores.chunks_exact_mut(stride).zip(log_sums) {
            let (largest, sum) = exponentials::<A>(row, scale);
            *log_sum = largest * scale + sum.ln();
            let inverse = 1.0 / sum;
            for p in row.iter_mut() {
                *p *= inverse;
            }
        }
    }

    /// Rows of raw scores to `exp(scale * (score - the row's largest))`, and each row's sum of these.
    fn exp_rows<A>(scores: &mut [f32], stride: usize, scale: f32, row_sums: &mut [f32]) {
        for (row, row_sum) in scores.chunks_exact_mut(stride).zip(row_sums) {
            *row_sum = exponentials::<A>(row, scale).1;
        }
    }

    /// As [`exp_rows`] for one row that is then rounded to `bf16`; the sum is returned.
    fn exp_row_for_bf16<A>(row: &mut [f32], scale: f32) -> f32 {
        let scale = scale * std::f32::consts::LOG2_E;
        let offset = -max(row) * scale;
        let mut sums = [0.0f32; LANES];
        for chunk in row.as_chunks_mut::<LANES>().0 {
            for i in 0..LANES {
                chunk[i] = exp2_for_bf16::<A>(A::mul_add(chunk[i], scale, offset));
                sums[i] += chunk[i];
            }
        }
        add_lanes(sums)
    }

    fn scale_by<A>(x: &mut [f32], factor: f32) {
        for x in x.iter_mut() {
            *x *= factor;
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
