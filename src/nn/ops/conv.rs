//! 3 x 3 convolution with padding 1 on maps whose locations are rows (NHWC). The weight is
//! `[out, 9 * in]` with columns in (ky, kx, channel) order.
//!
//! dfdx 0.13 has convolutions on nightly Rust only.

use super::{put_grad, slice, take_grad};
use crate::nn::backend::Maps;
use crate::nn::{autocast, Backend, Matrix, Rows, Vector};
use dfdx::prelude::*;
use intertwine_kernels::conv as kernel;

/// In stock operations: nine shifted gathers, each times its slice of the weight.
pub fn composed<I: Dim, O: Dim, D: Backend, T: Tape<f32, D>>(
    x: Rows<I, D, T>,
    w: &Matrix<O, usize, D>,
    b: Option<&Vector<O, D>>,
    maps: Maps,
) -> Rows<O, D, T> {
    let (rows, inp) = *x.shape();
    let (out, n) = (w.shape().0, inp.size());
    let zero: Rows<I, D> = x.device().zeros_like(&(1, inp));
    // One more row, of zeros, for what lies outside.
    let (table, mut tape) = (x, zero).concat_along(Axis::<0>).split_tape();
    let mut sum: Option<Rows<O, D>> = None;
    for (tap, (dy, dx)) in (-1i64..=1)
        .flat_map(|dy| (-1i64..=1).map(move |dx| (dy, dx)))
        .enumerate()
    {
        let index: Vec<u32> = (0..rows as i64)
            .map(|row| {
                let (h, w) = (maps.height as i64, maps.width as i64);
                let (picture, y, x) = (row / (h * w), row / w % h + dy, row % w + dx);
                let inside = (0..h).contains(&y) && (0..w).contains(&x);
                if inside {
                    (picture * h * w + y * w + x) as u32
                } else {
                    rows as u32
                }
            })
            .collect();
        let shifted = super::gather::rows_composed(table.clone().put_tape(tape), &index);
        let slice = w
            .retaped::<T>()
            .slice((.., tap * n..(tap + 1) * n))
            .reshape_like(&(out, inp));
        let slice = slice.permute::<(I, O), Axes2<1, 0>>();
        let term = shifted.matmul(slice);
        let (total, t) = match sum {
            None => term,
            Some(before) => term + before,
        }
        .split_tape();
        (sum, tape) = (Some(total), t);
    }
    let y = sum
        .unwrap_or_else(|| table.device().zeros_like(&(rows, out)))
        .put_tape(tape);
    match b {
        Some(b) => y + b.retaped::<T>().broadcast_like(&(rows, out)),
        None => y,
    }
}

/// On the CPU kernels.
pub fn fused<I: Dim, O: Dim, T: Tape<f32, Cpu>>(
    x: Rows<I, Cpu, T>,
    w: &Matrix<O, usize, Cpu>,
    b: Option<&Vector<O, Cpu>>,
    maps: Maps,
) -> Rows<O, Cpu, T> {
    let (x, mut tape) = x.split_tape();
    let width = w.shape().0;
    let shape = kernel::Shape {
        batch: maps.batch,
        height: maps.height,
        width: maps.width,
        inp: x.shape().1.size(),
        out: width.size(),
    };
    let precision = autocast::precision();
    let mut y = vec![0.0; maps.rows() * shape.out];
    kernel::forward(slice(&x), slice(w), b.map(slice), &mut y, &shape, precision);
    let y = x.device().tensor_from_vec(y, (maps.rows(), width));
    if T::OWNS_TAPE {
        let (w, b, kept) = (w.clone(), b.cloned(), y.clone());
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            let mut dw = take_grad(g, &w)?;
            let mut db = b.as_ref().map(|b| take_grad(g, b)).transpose()?;
            let dx = g.get_or_alloc_mut(&x)?;
            kernel::backward(
                slice(&x),
                slice(&w),
                &dy,
                Some(dx),
                &mut dw,
                db.as_deref_mut(),
                &shape,
                precision,
            );
            put_grad(g, &w, dw)?;
            match (&b, db) {
                (Some(b), Some(db)) => put_grad(g, b, db),
                _ => Ok(()),
            }
        });
    }
    y.put_tape(tape)
}
