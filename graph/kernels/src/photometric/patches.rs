//! Where a pixel goes: solarised and normalised, to its place in its patch.

use super::Chain;
use crate::lanes::{Lanes, LANES};

/// The patches of a view, being written.
pub(super) struct Patches<'a> {
    out: &'a mut [f32],
    /// Width of the view, in pixels.
    width: usize,
    /// Side of a patch, in pixels.
    patch: usize,
    /// Beyond 255 if nothing is inverted.
    threshold: f32,
    /// To be multiplied by and added, a pair for each channel.
    affine: [(f32, f32); 3],
}

impl<'a> Patches<'a> {
    pub(super) fn new(width: usize, patch: usize, chain: &Chain, out: &'a mut [f32]) -> Self {
        Patches {
            out,
            width,
            patch,
            threshold: chain.solarise.unwrap_or(f32::INFINITY),
            affine: [0, 1, 2].map(|c| {
                let scale = 1.0 / chain.std[c];
                (scale / 255.0, -chain.mean[c] * scale)
            }),
        }
    }

    /// Puts sixteen pixels of channel `c` from `(x, y)` on, or those of them that lie in the view.
    #[inline(always)]
    pub(super) fn put<V: Lanes>(&mut self, c: usize, y: usize, x: usize, values: V) {
        let inverted = V::splat(255.0).sub(values);
        let values = values.less_than(V::splat(self.threshold), values, inverted);
        let (scale, offset) = self.affine[c];
        let values = values.mul_add(V::splat(scale), V::splat(offset));
        let patch = self.patch;
        let line = (y / patch * (self.width / patch) * 3 + c) * patch * patch + y % patch * patch;
        let place = |x: usize| line + x / patch * 3 * patch * patch + x % patch;
        if patch.is_multiple_of(LANES) {
            let out = self.out[place(x)..]
                .first_chunk_mut()
                .expect("the view ends with a patch");
            values.store(out);
            return;
        }
        let mut lanes = [0.0; LANES];
        values.store(&mut lanes);
        let end = self.width.min(x + LANES);
        let mut from = x;
        while from < end {
            // As far as the patch goes.
            let to = end.min((from / patch + 1) * patch);
            self.out[place(from)..][..to - from].copy_from_slice(&lanes[from - x..to - x]);
            from = to;
        }
    }
}
