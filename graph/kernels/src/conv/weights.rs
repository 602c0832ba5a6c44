//! A convolution's weight, packed for many maps.

use super::{im2col, Shape};
use crate::gemm::{matmul_packed, sliding, FinishedRows, Layout, Packed, Precision};

/// A weight [out, 9 * inp] in the order in which this CPU reads it.
#[derive(Debug)]
pub struct Weights {
    packed: Packed,
    inp: usize,
}

impl Weights {
    /// Packs `w`, whose columns are in (ky, kx, c) order.
    ///
    /// # Panics
    /// If its length does not fit.
    pub fn new(w: &[f32], inp: usize, out: usize, precision: Precision) -> Self {
        crate::check_len("conv", "w", w, out * 9 * inp);
        let channels = Packed::whole_units(inp, precision);
        if channels == inp {
            return Self::of(w, inp, 9 * inp, out, precision);
        }
        let mut padded = vec![0.0; out * 9 * channels];
        let taps = padded.chunks_exact_mut(channels).zip(w.chunks_exact(inp));
        taps.for_each(|(to, from)| to[..inp].copy_from_slice(from));
        Self::of(&padded, inp, 9 * channels, out, precision)
    }

    /// The weight of the backward pass, from `dy` to `dx`: turned by half a turn, its channels exchanged.
    pub(super) fn turned(w: &[f32], inp: usize, out: usize, precision: Precision) -> Self {
        let channels = Packed::whole_units(out, precision);
        // [9 * channels, inp]: rows are (ky, kx, out) and contiguous as in w.
        let mut turned = vec![0.0; 9 * channels * inp];
        for (tap, to) in turned.chunks_exact_mut(channels * inp).enumerate() {
            for (to, w) in to.chunks_exact_mut(inp).zip(w.chunks_exact(9 * inp)) {
                to.copy_from_slice(&w[(8 - tap) * inp..][..inp]);
            }
        }
        let packed = Packed::new(&turned, Layout::N, 9 * channels, inp, precision);
        Self { packed, inp: out }
    }

    fn of(w: &[f32], inp: usize, k: usize, out: usize, precision: Precision) -> Self {
        Self {
            packed: Packed::new(w, Layout::T, k, out, precision),
            inp,
        }
    }

    /// Input channels.
    pub fn inp(&self) -> usize {
        self.inp
    }

    /// Output channels.
    pub fn out(&self) -> usize {
        self.packed.n()
    }

    /// `y (+)= conv(x, w)`; finished rows of `y` are handed to `then`.
    pub(crate) fn apply(
        &self,
        x: &[f32],
        shape: &Shape,
        y: &mut [f32],
        accumulate: bool,
        then: Option<FinishedRows>,
    ) {
        let gathered = self.packed.wants_whole_tiles_of(shape.width);
        if !gathered || self.packed.k() != 9 * self.inp {
            sliding(x, shape, &self.packed, y, accumulate, then);
            return;
        }
        im2col::for_each_block(shape, |lines, rows, columns| {
            im2col::gather(x, shape, lines, columns);
            let y = &mut y[rows.start * self.out()..rows.end * self.out()];
            matmul_packed(columns, &self.packed, y, accumulate, None);
            if let Some(then) = then {
                then(rows.start, y);
            }
        });
    }
}
