//! 3 x 3 convolution with padding 1 and stride 1 or 2 on NHWC rows, as im2col and a matrix product, and the
//! rearrangement that makes a 2 x 2 stride-2 transposed convolution of a linear layer.
//!
//! `x` is [batch * height * width, inp], `y` [batch * out_height * out_width, out], `w` [out, 9 * inp] with columns
//! ordered (ky, kx, c).

mod im2col;
#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
mod shuffle;
#[cfg(test)]
mod tests;

pub use shuffle::{pixel_shuffle, pixel_unshuffle_add};

use crate::check_len;
use crate::gemm::{matmul, Layout, Precision};
use crate::linear;

/// The shape of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of maps.
    pub batch: usize,
    /// Height of the input.
    pub height: usize,
    /// Width of the input.
    pub width: usize,
    /// Input channels.
    pub inp: usize,
    /// Output channels.
    pub out: usize,
    /// 1 or 2.
    pub stride: usize,
}

impl Shape {
    /// Height of the output: `ceil(height / stride)`.
    pub fn out_height(&self) -> usize {
        self.height.div_ceil(self.stride)
    }

    /// Width of the output: `ceil(width / stride)`.
    pub fn out_width(&self) -> usize {
        self.width.div_ceil(self.stride)
    }

    /// Rows of the input.
    pub fn in_rows(&self) -> usize {
        self.batch * self.height * self.width
    }

    /// Rows of the output.
    pub fn out_rows(&self) -> usize {
        self.batch * self.out_height() * self.out_width()
    }

    #[track_caller]
    fn check(&self, x: &[f32], w: &[f32], y: &[f32]) {
        assert!(
            self.inp > 0 && self.out > 0 && matches!(self.stride, 1 | 2),
            "conv: expected channels above 0 and stride 1 or 2, found {self:?}"
        );
        check_len("conv", "x", x, self.in_rows() * self.inp);
        check_len("conv", "w", w, self.out * 9 * self.inp);
        check_len("conv", "y", y, self.out_rows() * self.out);
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
    let patch = 9 * shape.inp;
    im2col::for_each_block(shape, |lines, outputs, columns| {
        im2col::gather(x, shape, lines, columns);
        let y = &mut y[outputs.start * shape.out..outputs.end * shape.out];
        linear::forward(columns, w, b, y, patch, shape.out, precision);
    });
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
    mut dx: Option<&mut [f32]>,
    dw: &mut [f32],
    mut db: Option<&mut [f32]>,
    shape: &Shape,
    precision: Precision,
) {
    shape.check(x, w, dy);
    if let Some(dx) = dx.as_deref() {
        check_len("conv", "dx", dx, x.len());
    }
    let patch = 9 * shape.inp;
    im2col::for_each_block(shape, |lines, outputs, columns| {
        let dy = &dy[outputs.start * shape.out..outputs.end * shape.out];
        im2col::gather(x, shape, lines.clone(), columns);
        linear::backward_params(
            dy,
            columns,
            dw,
            db.as_deref_mut(),
            patch,
            shape.out,
            precision,
        );
        if let Some(dx) = dx.as_deref_mut() {
            matmul(
                outputs.len(),
                shape.out,
                patch,
                dy,
                Layout::N,
                w,
                Layout::N,
                columns,
                false,
                precision,
            );
            im2col::scatter_add(columns, shape, lines, dx);
        }
    });
}
