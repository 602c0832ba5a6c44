//! Which pixels of a line make a pixel of the resized line, and how much each weighs.

use super::Filter;
use crate::lanes::{Lanes, LANES};

/// The taps of every output of one axis, in blocks of [`LANES`] outputs.
#[derive(Debug, Default)]
pub(super) struct Taps {
    /// Taps of each output; some at its ends may weigh nothing.
    pub(super) count: usize,
    /// The first pixel of each output, whole blocks.
    pub(super) starts: Vec<usize>,
    /// Of each block, `count` vectors: the weights of its outputs.
    pub(super) weights: Vec<[f32; LANES]>,
}

impl Taps {
    /// Taps that make `to` pixels of `from`, backwards if `flip`. As Pillow's `precompute_coeffs` (Resample.c): the
    /// kernel is stretched by the reduction, cut off at the ends of the line, and normalised.
    #[inline(always)]
    pub(super) fn set<V: Lanes>(&mut self, from: usize, to: usize, filter: Filter, flip: bool) {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        // A pixel counts if its centre is nearer than the support.
        self.count = ((2.0 * support) as usize + 1).min(from);
        let blocks = to.div_ceil(LANES);
        self.starts.resize(blocks * LANES, 0);
        self.weights.resize(blocks * self.count, [0.0; LANES]);
        let squeeze = V::splat((1.0 / stretch) as f32);
        let pieces = self.starts.as_chunks_mut::<LANES>().0.iter_mut();
        for (block, (starts, weights)) in pieces
            .zip(self.weights.chunks_exact_mut(self.count))
            .enumerate()
        {
            let (mut first, mut last) = ([0.0; LANES], [0.0; LANES]);
            let mut offset = [0.0; LANES];
            for (i, start) in starts.iter_mut().enumerate() {
                let at = (block * LANES + i).min(to - 1);
                let at = if flip { to - 1 - at } else { at };
                let centre = (at as f64 + 0.5) * scale;
                let begin = (centre - support + 0.5).max(0.0) as usize;
                let end = ((centre + support + 0.5) as usize).min(from);
                *start = begin.min(from - self.count);
                (first[i], last[i]) = ((begin - *start) as f32, (end - *start) as f32);
                offset[i] = (*start as f64 + 0.5 - centre) as f32;
            }
            let (first, last, offset) = (V::load(&first), V::load(&last), V::load(&offset));
            let zero = V::splat(0.0);
            let mut sum = zero;
            for (k, weight) in weights.iter_mut().enumerate() {
                let k = V::splat(k as f32);
                let value = filter.at(k.add(offset).mul(squeeze));
                let value = k.less_than(first, zero, k.less_than(last, value, zero));
                value.store(weight);
                sum = sum.add(value);
            }
            let scale = V::splat(1.0).div(sum);
            for weight in weights {
                V::load(weight).mul(scale).store(weight);
            }
        }
    }

    /// The first pixel of an output and the weights of its block.
    #[inline(always)]
    pub(super) fn of(&self, output: usize) -> (usize, &[[f32; LANES]]) {
        let block = &self.weights[output / LANES * self.count..][..self.count];
        (self.starts[output], block)
    }
}

impl Filter {
    /// Where the kernel ends, in pixels of the smaller scale.
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    /// The kernel at `x`.
    #[inline(always)]
    fn at<V: Lanes>(self, x: V) -> V {
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        let x = x.max(zero.sub(x));
        match self {
            Filter::Bilinear => one.sub(x).max(zero),
            // Keys (1981) with a = -1/2, in Horner's form.
            Filter::Bicubic => {
                let near = cubic(x, [1.5, -2.5, 0.0, 1.0]);
                let far = cubic(x, [-0.5, 2.5, -4.0, 2.0]);
                x.less_than(one, near, x.less_than(V::splat(2.0), far, zero))
            }
        }
    }
}

#[inline(always)]
fn cubic<V: Lanes>(x: V, [a, b, c, d]: [f32; 4]) -> V {
    let p = V::splat(a).mul_add(x, V::splat(b));
    p.mul_add(x, V::splat(c)).mul_add(x, V::splat(d))
}
