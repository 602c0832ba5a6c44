//! Linear layers and 3 x 3 convolutions: products by cuBLAS.

use dfdx::prelude::*;
use intertwine_kernels::gemm::Precision;

use super::gpu::{launch, place, Address, Gpu, Terms};
use super::product::Operand;
use super::view::{address, at, grad, take_grad};
use super::{each, gpu};
use crate::nn::backend::Maps;
use crate::nn::{autocast, Matrix, Rows, Vector};

/// `y = x w^T + b`; without `x_has_gradient` no gradient of `x` is computed.
pub fn linear<I: Dim, O: Dim, T: Tape<f32, Cuda>>(
    x: Rows<I, Cuda>,
    x_has_gradient: bool,
    w: &Matrix<O, I, Cuda>,
    b: Option<&Vector<O, Cuda>>,
    mut tape: T,
) -> Rows<O, Cuda, T> {
    let (gpu, precision) = (gpu(), autocast::precision());
    let (rows, inp, out) = (x.shape().0, x.shape().1.size(), w.shape().0.size());
    assert_eq!(w.shape().1.size(), inp, "a weight's inputs");
    check_bias(b, out);
    let size = Size { rows, inp, out };
    let y: Rows<O, Cuda> = x.device().zeros_like(&(rows, w.shape().0));
    // SAFETY: all are tensors of these shapes.
    unsafe {
        size.forward(
            gpu,
            address(&x),
            address(w),
            b.map(address),
            address(&y),
            precision,
        )
    }
    .expect("a linear layer on the GPU");
    if T::OWNS_TAPE {
        let (w, b, kept) = (w.clone(), b.cloned(), y.clone());
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            let (dw, db) = (grad(g, &w)?, b.as_ref().map(|b| grad(g, b)).transpose()?);
            // SAFETY: as above; gradients have the shapes of what they are of.
            unsafe {
                size.backward_params(gpu, address(&x), at(&dy), dw, db, precision)?;
                if x_has_gradient {
                    size.backward_input(gpu, address(&w), at(&dy), grad(g, &x)?, 1.0, precision)?;
                }
            }
            Ok(())
        });
    }
    y.put_tape(tape)
}

fn check_bias<O: Dim>(b: Option<&Vector<O, Cuda>>, out: usize) {
    assert!(
        b.is_none_or(|b| b.shape().0.size() == out),
        "a bias of {out}"
    );
}

/// Of a linear layer.
#[derive(Clone, Copy)]
struct Size {
    rows: usize,
    inp: usize,
    out: usize,
}

/// # Safety
/// Of each: `x` is `[rows, inp]`, `w` `[out, inp]`, `b` `[out]`, `y` `[rows, out]`.
impl Size {
    unsafe fn forward(
        self,
        gpu: &Gpu,
        x: Address,
        w: Address,
        b: Option<Address>,
        y: Address,
        precision: Precision,
    ) -> Result<(), CudaError> {
        let Self { rows, inp, out } = self;
        let (x, w) = (Operand::new(x, inp), Operand::new(w, inp).t());
        // SAFETY: the caller's.
        unsafe {
            if let Some(b) = b {
                let (work, n) = each(rows * out);
                launch!(gpu, "broadcast_row", work, b, n, out as i32, y)?;
            }
            let beta = if b.is_some() { 1.0 } else { 0.0 };
            let y = Operand::new(y, out);
            gpu.product([rows, out, inp], 1, x, w, beta, y, precision)
        }
    }

    unsafe fn backward_params(
        self,
        gpu: &Gpu,
        x: Address,
        dy: Address,
        dw: Address,
        db: Option<Address>,
        precision: Precision,
    ) -> Result<(), CudaError> {
        let Self { rows, inp, out } = self;
        if rows == 0 {
            return Ok(());
        }
        // SAFETY: the caller's.
        unsafe {
            let (of_y, x) = (Operand::new(dy, out).t(), Operand::new(x, inp));
            let dw = Operand::new(dw, inp);
            gpu.product([out, inp, rows], 1, of_y, x, 1.0, dw, precision)?;
            match db {
                Some(db) => gpu.add_columns(dy, Terms::default(), rows, out, db),
                None => Ok(()),
            }
        }
    }

    unsafe fn backward_input(
        self,
        gpu: &Gpu,
        w: Address,
        dy: Address,
        dx: Address,
        beta: f32,
        precision: Precision,
    ) -> Result<(), CudaError> {
        let Self { rows, inp, out } = self;
        let (dy, w) = (Operand::new(dy, out), Operand::new(w, inp));
        let dx = Operand::new(dx, inp);
        // SAFETY: the caller's.
        unsafe { gpu.product([rows, inp, out], 1, dy, w, beta, dx, precision) }
    }
}

/// 3 x 3, padding 1: the neighbourhoods of all locations, then a linear layer.
pub fn conv3x3<I: Dim, O: Dim, T: Tape<f32, Cuda>>(
    x: Rows<I, Cuda, T>,
    w: &Matrix<O, usize, Cuda>,
    b: Option<&Vector<O, Cuda>>,
    maps: Maps,
) -> Rows<O, Cuda, T> {
    let (gpu, precision) = (gpu(), autocast::precision());
    let (x, mut tape) = x.split_tape();
    let d = x.shape().1.size();
    let rows = maps.rows();
    let size = Size {
        rows,
        inp: 9 * d,
        out: w.shape().0.size(),
    };
    assert!(
        x.shape().0 == rows && w.shape().1 == 9 * d,
        "{maps:?} of {d} channels"
    );
    check_bias(b, size.out);
    let (h, wide, channels) = (maps.height as i32, maps.width as i32, d as i32);
    let around = move |x: Address| {
        let columns = gpu.room::<f32>(rows * 9 * d)?;
        let (work, n) = each(rows * 9 * d);
        // SAFETY: `x` is `[rows, d]`.
        unsafe {
            launch!(
                gpu,
                "neighbourhoods",
                work,
                x,
                n,
                h,
                wide,
                channels,
                &columns
            )
        }?;
        Ok::<_, CudaError>(columns)
    };
    let y: Rows<O, Cuda> = x.device().zeros_like(&(rows, w.shape().0));
    let forward = || {
        let columns = around(address(&x))?;
        let columns = place(&columns);
        // SAFETY: all have the shapes of `size`; memory is freed in the order of the stream, after its use.
        unsafe {
            size.forward(
                gpu,
                columns,
                address(w),
                b.map(address),
                address(&y),
                precision,
            )
        }
    };
    forward().expect("a convolution on the GPU");
    if T::OWNS_TAPE {
        let (w, b, kept) = (w.clone(), b.cloned(), y.clone());
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            let (dw, db) = (grad(g, &w)?, b.as_ref().map(|b| grad(g, b)).transpose()?);
            let dx = grad(g, &x)?;
            let columns = around(address(&x))?;
            let columns_at = place(&columns);
            let (work, n) = each(rows * d);
            // SAFETY: as above. The columns are used up by then and take their own gradient.
            unsafe {
                size.backward_params(gpu, columns_at, at(&dy), dw, db, precision)?;
                size.backward_input(gpu, address(&w), at(&dy), columns_at, 0.0, precision)?;
                launch!(
                    gpu,
                    "neighbourhoods_backward",
                    work,
                    columns_at,
                    n,
                    h,
                    wide,
                    channels,
                    dx
                )
            }
        });
    }
    y.put_tape(tape)
}
