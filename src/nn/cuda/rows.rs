//! Operations on each row or value by itself.

use dfdx::prelude::*;

use super::gpu::{launch, place, Terms, Work};
use super::view::{address, at, grad, take_grad};
use super::{each, gpu};
use crate::nn::backend::Activation;
use crate::nn::{Rows, Vector};

/// As [`ops::layer_norm`](crate::nn::ops::layer_norm).
pub fn layer_norm<C: Dim, T: Tape<f32, Cuda>>(
    x: Rows<C, Cuda, T>,
    gain: &Vector<C, Cuda>,
    bias: &Vector<C, Cuda>,
    eps: f32,
) -> Rows<C, Cuda, T> {
    let gpu = gpu();
    let (x, mut tape) = x.split_tape();
    let (rows, d) = (x.shape().0, x.shape().1.size());
    assert!(
        gain.shape().0.size() == d && bias.shape().0.size() == d,
        "a norm of {d}"
    );
    let work = Work::RowWarps(rows as i64);
    let y: Rows<C, Cuda> = x.device().zeros_like(x.shape());
    let forward = || {
        let (mean, rstd) = (gpu.room::<f32>(rows)?, gpu.room::<f32>(rows)?);
        let (x, gain, bias, y) = (address(&x), address(gain), address(bias), address(&y));
        let (r, d) = (rows as i32, d as i32);
        // SAFETY: `x` and `y` are `[rows, d]`, `mean` and `rstd` `[rows]`, `gain` and `bias` `[d]`.
        unsafe {
            launch!(
                gpu,
                "layer_norm",
                work,
                x,
                gain,
                bias,
                eps,
                r,
                d,
                y,
                &mean,
                &rstd
            )
        }?;
        Ok::<_, CudaError>((mean, rstd))
    };
    let (mean, rstd) = forward().expect("a layer norm on the GPU");
    if T::OWNS_TAPE {
        let (gain, bias, kept) = (gain.clone(), bias.clone(), y.clone());
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            let (dgain, dbias, dx) = (grad(g, &gain)?, grad(g, &bias)?, grad(g, &x)?);
            let (x, gain, dy) = (address(&x), address(&gain), at(&dy));
            let (r, width) = (rows as i32, d as i32);
            let normed = Terms {
                other: x,
                a: place(&mean),
                b: place(&rstd),
            };
            // SAFETY: as above; gradients have the shapes of what they are of.
            unsafe {
                launch!(
                    gpu,
                    "layer_norm_backward",
                    work,
                    x,
                    gain,
                    &mean,
                    &rstd,
                    dy,
                    r,
                    width,
                    dx
                )?;
                gpu.add_columns(dy, normed, rows, d, dgain)?;
                gpu.add_columns(dy, Terms::default(), rows, d, dbias)
            }
        });
    }
    y.put_tape(tape)
}

/// As [`ops::activation`](crate::nn::ops::activation).
pub fn activation<C: Dim, T: Tape<f32, Cuda>>(
    x: Rows<C, Cuda, T>,
    kind: Activation,
) -> Rows<C, Cuda, T> {
    let gpu = gpu();
    let (x, mut tape) = x.split_tape();
    let (work, n) = each(x.shape().num_elements());
    let kind: i32 = match kind {
        Activation::Gelu => 0,
        Activation::Silu => 1,
    };
    let y: Rows<C, Cuda> = x.device().zeros_like(x.shape());
    // SAFETY: both have `n` values.
    unsafe { launch!(gpu, "activation", work, kind, address(&x), n, address(&y)) }
        .expect("an activation on the GPU");
    if T::OWNS_TAPE {
        let kept = y.clone();
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            let (x, dx) = (address(&x), grad(g, &x)?);
            // SAFETY: as above.
            unsafe { launch!(gpu, "activation_backward", work, kind, x, at(&dy), n, dx) }
        });
    }
    y.put_tape(tape)
}

/// As [`ops::residual`](crate::nn::ops::residual).
pub fn residual<C: Dim, T: Tape<f32, Cuda>>(
    x: Rows<C, Cuda>,
    branch: Rows<C, Cuda, T>,
    gain: Option<&Vector<C, Cuda>>,
    row_scale: Option<&[f32]>,
) -> Rows<C, Cuda, T> {
    let gpu = gpu();
    let (branch, mut tape) = branch.split_tape();
    let (rows, d) = (x.shape().0, x.shape().1.size());
    assert_eq!(x.shape(), branch.shape(), "what is added to the stream");
    assert!(
        gain.is_none_or(|g| g.shape().0.size() == d),
        "a gain of {d}"
    );
    assert!(
        row_scale.is_none_or(|s| s.len() == rows),
        "a scale for each of {rows} rows"
    );
    let (work, n) = each(rows * d);
    let y: Rows<C, Cuda> = x.device().zeros_like(x.shape());
    let gain_at = |gain: Option<&Vector<C, Cuda>>| gain.map_or(0, address);
    let forward = || {
        let scale = row_scale.map(|s| gpu.upload(s)).transpose()?;
        let scale_at = scale.as_ref().map_or(0, place);
        let (x, branch, gain, y) = (address(&x), address(&branch), gain_at(gain), address(&y));
        // SAFETY: `x`, `branch` and `y` are `[rows, d]`, `gain`, if given, `[d]`, the scale, if given, `[rows]`.
        unsafe { launch!(gpu, "residual", work, x, branch, gain, scale_at, n, d as i32, y) }?;
        Ok::<_, CudaError>(scale)
    };
    let scale = forward().expect("a residual sum on the GPU");
    if T::OWNS_TAPE {
        let (kept, gain) = (y.clone(), gain.cloned());
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            let (dx, dbranch) = (grad(g, &x)?, grad(g, &branch)?);
            let scale = scale.as_ref().map_or(0, place);
            let (dy, gain_at) = (at(&dy), gain_at(gain.as_ref()));
            let width = d as i32;
            // SAFETY: as above.
            unsafe {
                launch!(
                    gpu,
                    "residual_backward",
                    work,
                    dy,
                    gain_at,
                    scale,
                    n,
                    width,
                    dx,
                    dbranch
                )
            }?;
            let Some(gain) = &gain else { return Ok(()) };
            let terms = Terms {
                other: address(&branch),
                a: scale,
                b: 0,
            };
            // SAFETY: as above.
            unsafe { gpu.add_columns(dy, terms, rows, d, grad(g, gain)?) }
        });
    }
    y.put_tape(tape)
}

/// As [`ops::l2_normalize`](crate::nn::ops::l2_normalize).
pub fn l2_normalize<C: Dim, T: Tape<f32, Cuda>>(x: Rows<C, Cuda, T>, eps: f32) -> Rows<C, Cuda, T> {
    let gpu = gpu();
    let (x, mut tape) = x.split_tape();
    let (rows, d) = (x.shape().0, x.shape().1.size() as i32);
    let work = Work::RowWarps(rows as i64);
    let rows = rows as i32;
    let y: Rows<C, Cuda> = x.device().zeros_like(x.shape());
    let forward = || {
        let norm = gpu.room::<f32>(rows as usize)?;
        let (x, y) = (address(&x), address(&y));
        // SAFETY: `x` and `y` are `[rows, d]`, `norm` is `[rows]`.
        unsafe { launch!(gpu, "l2_normalize", work, x, eps, rows, d, y, &norm) }?;
        Ok::<_, CudaError>(norm)
    };
    let norm = forward().expect("a normalisation on the GPU");
    if T::OWNS_TAPE {
        let kept = y.clone();
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            let (y, dx) = (address(&kept), grad(g, &x)?);
            // SAFETY: as above.
            unsafe {
                launch!(
                    gpu,
                    "l2_normalize_backward",
                    work,
                    y,
                    &norm,
                    at(&dy),
                    eps,
                    rows,
                    d,
                    dx
                )
            }
        });
    }
    y.put_tape(tape)
}
