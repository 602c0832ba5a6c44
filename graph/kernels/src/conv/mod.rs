//! 3 x 3 convolution with padding 1 on NHWC rows, and the rearrangement that makes a 2 x 2 stride-2 transposed
//! convolution of a linear layer.
//!
//! `x` is [batch * height * width, inp], `y` [batch * height * width, out], `w` [out, 9 * inp] with columns ordered
//! (ky, kx, c). With `dy` the gradient of `y`: `dx` is the convolution of `dy` with the weight turned by half a turn and
//! its channels exchanged, `dw` the product of `dy` with the neighbourhoods of `x`. Where there are many channels, all three
//! are computed by transforms ([`winograd`]).

mod im2col;
#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
mod shuffle;
#[cfg(test)]
mod tests;
mod weights;
mod winograd;

pub use shuffle::{pixel_shuffle, pixel_unshuffle_add};
pub use weights::Weights;
use winograd::Winograd;

use crate::gemm::Precision;
use crate::linear::{self, add_to};
use crate::{check_len, size};

/// The shape of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of maps.
    pub batch: usize,
    /// Height of a map.
    pub height: usize,
    /// Width of a map.
    pub width: usize,
    /// Input channels.
    pub inp: usize,
    /// Output channels.
    pub out: usize,
}

impl Shape {
    /// Locations: rows of `x` and of `y`.
    pub fn rows(&self) -> usize {
        size([self.batch, self.height, self.width])
    }

    #[track_caller]
    fn check(&self, x: &[f32], w: &[f32], y: &[f32]) {
        assert!(
            self.inp > 0 && self.out > 0,
            "conv: expected channels above 0, found {self:?}"
        );
        check_len("conv", "x", x, size([self.rows(), self.inp]));
        check_len("conv", "w", w, size([self.out, 9, self.inp]));
        check_len("conv", "y", y, size([self.rows(), self.out]));
    }
}

/// `y = conv(x, w) + b`.
///
/// # Panics
/// If a slice's length does not fit the shape.
pub fn forward(
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    y: &mut [f32],
    shape: &Shape,
    precision: Precision,
) {
    shape.check(x, w, y);
    let weights = Weights::new(w, shape.inp, shape.out, precision);
    match b {
        Some(b) => {
            check_len("conv", "b", b, shape.out);
            let add =
                |_, rows: &mut [f32]| rows.chunks_exact_mut(b.len()).for_each(|y| add_to(y, b));
            weights.apply(x, shape, y, false, Some(&add));
        }
        None => weights.apply(x, shape, y, false, None),
    }
}

/// Adds the gradients of `x`, `w` and `b`.
///
/// # Panics
/// If a slice's length does not fit the shape.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    x: &[f32],
    w: &[f32],
    dy: &[f32],
    dx: Option<&mut [f32]>,
    dw: &mut [f32],
    mut db: Option<&mut [f32]>,
    shape: &Shape,
    precision: Precision,
) {
    shape.check(x, w, dy);
    check_len("conv", "dw", dw, w.len());
    if let Some(db) = &db {
        check_len("conv", "db", db, shape.out);
    }
    if let Some(dx) = dx {
        check_len("conv", "dx", dx, x.len());
        let turned = Weights::turned(w, shape.inp, shape.out, precision);
        let back = Shape {
            inp: shape.out,
            out: shape.inp,
            ..*shape
        };
        turned.apply(dy, &back, dx, true, None);
    }
    if Winograd::suits_gradient(shape) {
        Winograd::add_gradient(x, dy, shape, dw, precision);
        if let Some(db) = db {
            linear::add_column_sums(dy, shape.out, db);
        }
        return;
    }
    im2col::for_each_block(shape, |lines, rows, columns| {
        im2col::gather(x, shape, lines, columns);
        linear::backward_params(
            &dy[rows.start * shape.out..rows.end * shape.out],
            columns,
            dw,
            db.as_deref_mut(),
            9 * shape.inp,
            shape.out,
            precision,
        );
    });
}
