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

    /// The start of row `y` of channel `c`.
    #[inline(always)]
    pub(super) fn row(&self, c: usize, y: usize) -> Cursor {
        let (patch, across) = (self.patch, self.width / self.patch);
        Cursor {
            channel: c,
            at: ((y / patch * across * 3 + c) * patch + y % patch) * patch,
            in_patch: patch,
            in_row: self.width,
        }
    }

    /// Puts the next sixteen pixels of a row, or those of them that lie in the view.
    #[inline(always)]
    pub(super) fn put<V: Lanes>(&mut self, cursor: &mut Cursor, values: V) {
        let inverted = V::splat(255.0).sub(values);
        let values = values.less_than(V::splat(self.threshold), values, inverted);
        let (scale, offset) = self.affine[cursor.channel];
        let values = values.mul_add(V::splat(scale), V::splat(offset));
        if cursor.in_patch >= LANES {
            let out = self.out[cursor.at..].first_chunk_mut();
            values.store(out.expect("the view ends with a patch"));
            cursor.advance(LANES, self.patch);
            return;
        }
        let mut lanes = [0.0; LANES];
        values.store(&mut lanes);
        let mut lanes = &lanes[..cursor.in_row.min(LANES)];
        while !lanes.is_empty() {
            let (run, rest) = lanes.split_at(lanes.len().min(cursor.in_patch));
            self.out[cursor.at..][..run.len()].copy_from_slice(run);
            cursor.advance(run.len(), self.patch);
            lanes = rest;
        }
    }
}

/// Where the next pixel of a row goes. It is moved along, because finding a place anew takes divisions.
pub(super) struct Cursor {
    channel: usize,
    /// Index of the value.
    at: usize,
    /// Pixels from here to the end of the patch.
    in_patch: usize,
    /// Pixels from here to the end of the row.
    in_row: usize,
}

impl Cursor {
    #[inline(always)]
    fn advance(&mut self, pixels: usize, patch: usize) {
        self.at += pixels;
        self.in_patch -= pixels;
        self.in_row -= pixels;
        if self.in_patch == 0 {
            // The same line of the next patch, past the other lines and channels.
            self.at += 3 * patch * patch - patch;
            self.in_patch = patch;
        }
    }
}
