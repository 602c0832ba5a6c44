//! Multi-head self-attention: for each group of equally long sequences and each head a batch of products.

use dfdx::prelude::*;

use super::gpu;
use super::gpu::{launch, place, Address, Work};
use super::product::Operand;
use super::view::{address, at, grad, take_grad};
use crate::nn::{autocast, Groups, Rows};

/// As [`ops::attention`](crate::nn::ops::attention).
pub fn attention<Q: Dim, C: Dim, T: Tape<f32, Cuda>>(
    qkv: Rows<Q, Cuda, T>,
    groups: &Groups,
    heads: usize,
    width: C,
) -> Rows<C, Cuda, T> {
    let (gpu, precision) = (gpu(), autocast::precision());
    let (qkv, mut tape) = qkv.split_tape();
    let (rows, d) = (qkv.shape().0, width.size());
    assert_eq!(qkv.shape().1.size(), 3 * d, "queries, keys and values");
    assert!(
        groups.rows() == rows && d.is_multiple_of(heads),
        "{rows} rows in {groups:?}, {d} in {heads} heads"
    );
    let y: Rows<C, Cuda> = qkv.device().zeros_like(&(rows, width));
    let sizes = Sizes {
        heads,
        d,
        head: d / heads,
    };
    let forward = || {
        let mut kept = Vec::new();
        let mut first = 0;
        for group in groups.0.iter().filter(|g| g.count * g.len > 0) {
            let (count, len) = (group.count, group.len);
            let scores = gpu.room::<f32>(count * heads * len * len)?;
            let of = |part, h| sizes.part(address(&qkv), first, len, part, h);
            // SAFETY: the group's rows lie in `qkv` and `y`; the scores have room for all its sequences and heads.
            unsafe {
                for h in 0..heads {
                    let s = sizes.scores(place(&scores), len, h);
                    let shape = [len, len, sizes.head];
                    gpu.product(shape, count, of(0, h), of(1, h).t(), 0.0, s, precision)?;
                }
                let n = (count * heads * len) as i64;
                launch!(
                    gpu,
                    "softmax_rows",
                    Work::RowWarps(n),
                    sizes.factor(),
                    n,
                    len as i32,
                    &scores
                )?;
                for h in 0..heads {
                    let p = sizes.scores(place(&scores), len, h);
                    let out = sizes.output(address(&y), first, len, h);
                    gpu.product(
                        [len, sizes.head, len],
                        count,
                        p,
                        of(2, h),
                        0.0,
                        out,
                        precision,
                    )?;
                }
            }
            first += count * len;
            kept.push((*group, scores));
        }
        Ok::<_, CudaError>(kept)
    };
    let probabilities = forward().expect("attention on the GPU");
    if T::OWNS_TAPE {
        let kept = y.clone();
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            let (dqkv, qkv) = (grad(g, &qkv)?, address(&qkv));
            let mut first = 0;
            for (group, p) in &probabilities {
                let (count, len) = (group.count, group.len);
                let slopes = gpu.room::<f32>(count * heads * len * len)?;
                let of = |part, h| sizes.part(qkv, first, len, part, h);
                let to = |part, h| sizes.part(dqkv, first, len, part, h);
                // SAFETY: as above; the gradient has the shape of `qkv`.
                unsafe {
                    for h in 0..heads {
                        let dy = sizes.output(at(&dy), first, len, h);
                        let p = sizes.scores(place(p), len, h);
                        let dp = sizes.scores(place(&slopes), len, h);
                        let shape = [len, len, sizes.head];
                        gpu.product(shape, count, dy, of(2, h).t(), 0.0, dp, precision)?;
                        let shape = [len, sizes.head, len];
                        gpu.product(shape, count, p.t(), dy, 1.0, to(2, h), precision)?;
                    }
                    let n = (count * heads * len) as i64;
                    let (work, factor) = (Work::RowWarps(n), sizes.factor());
                    launch!(
                        gpu,
                        "softmax_rows_backward",
                        work,
                        factor,
                        p,
                        n,
                        len as i32,
                        &slopes
                    )?;
                    for h in 0..heads {
                        let ds = sizes.scores(place(&slopes), len, h);
                        let shape = [len, sizes.head, len];
                        gpu.product(shape, count, ds, of(1, h), 1.0, to(0, h), precision)?;
                        gpu.product(shape, count, ds.t(), of(0, h), 1.0, to(1, h), precision)?;
                    }
                }
                first += count * len;
            }
            Ok(())
        });
    }
    y.put_tape(tape)
}

#[derive(Clone, Copy)]
struct Sizes {
    heads: usize,
    d: usize,
    head: usize,
}

impl Sizes {
    /// 1 / sqrt(head width).
    fn factor(self) -> f32 {
        1.0 / (self.head as f32).sqrt()
    }
    /// Queries (part 0), keys or values of a head, of sequences of `len` from row `first` on.
    fn part(self, qkv: Address, first: usize, len: usize, part: usize, h: usize) -> Operand {
        let row = 3 * self.d;
        let start = first * row + part * self.d + h * self.head;
        Operand::new(element(qkv, start), row).every(len * row)
    }
    /// What a head gives.
    fn output(self, y: Address, first: usize, len: usize, h: usize) -> Operand {
        let start = first * self.d + h * self.head;
        Operand::new(element(y, start), self.d).every(len * self.d)
    }
    /// The scores of a head; those of a sequence's heads follow each other.
    fn scores(self, scores: Address, len: usize, h: usize) -> Operand {
        let start = h * len * len;
        Operand::new(element(scores, start), len).every(self.heads * len * len)
    }
}

/// The address of a value.
fn element(at: Address, index: usize) -> Address {
    at + (index * size_of::<f32>()) as u64
}
