//! A convolution's weight, packed for many maps.

use super::winograd::Winograd;
use super::{im2col, Shape};
use crate::gemm::{matmul_packed, sliding, FinishedRows, Layout, Packed, Precision};

/// A weight [out, 9 * inp] in the order in which this CPU reads it.
#[derive(Debug)]
pub struct Weights {
    inp: usize,
    method: Method,
}

/// How the convolution is computed.
#[derive(Debug)]
enum Method {
    /// By a transform of the maps, for many channels.
    Winograd(Winograd),
    /// As a product of neighbourhoods with [9 * inp, out], channels filled up to whole units.
    Direct(Packed),
}

impl Weights {
    /// Packs `w`, whose columns are in (ky, kx, c) order.
    ///
    /// # Panics
    /// If its length does not fit.
    pub fn new(w: &[f32], inp: usize, out: usize, precision: Precision) -> Self {
        crate::check_len("conv", "w", w, crate::size([out, 9, inp]));
        Self::of(&Filters::of(w, out, inp, Layout::T), precision)
    }

    /// The weight of the backward pass, from `dy` to `dx`: turned by half a turn, its channels exchanged.
    pub(super) fn turned(w: &[f32], inp: usize, out: usize, precision: Precision) -> Self {
        Self::of(&Filters::of(w, out, inp, Layout::N), precision)
    }

    fn of(filters: &Filters, precision: Precision) -> Self {
        let inp = filters.inp();
        let method = if Winograd::suits(inp) {
            Method::Winograd(Winograd::new(filters, precision))
        } else {
            Method::Direct(filters.direct(precision))
        };
        Self { inp, method }
    }

    /// Input channels.
    pub fn inp(&self) -> usize {
        self.inp
    }

    /// Output channels.
    pub fn out(&self) -> usize {
        match &self.method {
            Method::Winograd(winograd) => winograd.out(),
            Method::Direct(packed) => packed.n(),
        }
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
        let packed = match &self.method {
            Method::Winograd(winograd) => return winograd.apply(x, shape, y, accumulate, then),
            Method::Direct(packed) => packed,
        };
        let gathered = packed.wants_whole_tiles_of(shape.width);
        if !gathered || packed.k() != 9 * self.inp {
            sliding(x, shape, packed, y, accumulate, then);
            return;
        }
        im2col::for_each_block(shape, |lines, rows, columns| {
            im2col::gather(x, shape, lines, columns);
            let y = &mut y[rows.start * self.out()..rows.end * self.out()];
            matmul_packed(columns, packed, y, accumulate, None);
            if let Some(then) = then {
                then(rows.start, y);
            }
        });
    }
}

/// Filters as a convolution stores them, and how they enter the product.
pub(super) struct Filters<'a> {
    /// [rows, 9 * channels], columns in (ky, kx, channel) order.
    w: &'a [f32],
    pub(super) rows: usize,
    pub(super) channels: usize,
    /// `T`: from channels to rows. `N`: from rows to channels, turned by half a turn.
    pub(super) layout: Layout,
}

impl<'a> Filters<'a> {
    fn of(w: &'a [f32], rows: usize, channels: usize, layout: Layout) -> Self {
        Self {
            w,
            rows,
            channels,
            layout,
        }
    }

    /// Channels of the map that is convolved.
    pub(super) fn inp(&self) -> usize {
        match self.layout {
            Layout::T => self.channels,
            Layout::N => self.rows,
        }
    }

    /// Channels of the result.
    pub(super) fn out(&self) -> usize {
        match self.layout {
            Layout::T => self.rows,
            Layout::N => self.channels,
        }
    }

    /// The channels of a row that are multiplied with location `tap` of a neighbourhood, in (ky, kx) order.
    pub(super) fn tap(&self, row: usize, tap: usize) -> &'a [f32] {
        let tap = match self.layout {
            Layout::T => tap,
            Layout::N => 8 - tap,
        };
        &self.w[(row * 9 + tap) * self.channels..][..self.channels]
    }

    /// [9 * inp, out], the channels of a location filled up to whole units.
    fn direct(&self, precision: Precision) -> Packed {
        let (inp, out) = (self.inp(), self.out());
        let padded = Packed::whole_units(inp, precision);
        let mut rows = vec![0.0; 9 * padded * out];
        let (row_step, channel_step) = match self.layout {
            Layout::T => (1, out),
            Layout::N => (out, 1),
        };
        for tap in 0..9 {
            let to = &mut rows[tap * padded * out..];
            for row in 0..self.rows {
                for (channel, w) in self.tap(row, tap).iter().enumerate() {
                    to[row * row_step + channel * channel_step] = *w;
                }
            }
        }
        Packed::new(&rows, Layout::N, 9 * padded, out, precision)
    }
}
