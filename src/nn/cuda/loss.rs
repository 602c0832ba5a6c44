//! Cross-entropy over prototypes, with its gradients computed at once: no logits are kept.

use dfdx::prelude::*;

use super::gpu::{launch, place, Work};
use super::product::Operand;
use super::view::{address, at, grad, take_grad};
use super::{each, gpu};
use crate::nn::ops::cross_entropy::SoftTarget;
use crate::nn::{autocast, Matrix, Rows, Scalar};

/// As [`ops::cross_entropy`](crate::nn::ops::cross_entropy).
pub fn prototype_cross_entropy<C: Dim, K: Dim, T: Tape<f32, Cuda>>(
    x: Rows<C, Cuda, T>,
    prototypes: &Matrix<K, C, Cuda>,
    target: &SoftTarget<K, Cuda>,
    temperature: f32,
) -> (Scalar<Cuda, T>, Vec<f64>) {
    let (gpu, precision) = (gpu(), autocast::precision());
    let (x, mut tape) = x.split_tape();
    let (rows, inp) = (x.shape().0, x.shape().1.size());
    let (k, targets) = (prototypes.shape().0.size(), target.probabilities.shape().0);
    assert!(
        target.row.len() == rows && target.weight.len() == rows,
        "a target and a weight for each row"
    );
    assert_eq!(prototypes.shape().1.size(), inp, "a prototype's width");
    assert_eq!(
        target.probabilities.shape().1.size(),
        k,
        "prototypes of the targets"
    );
    super::gather::check(&target.row, targets);
    let run = || {
        let logits = gpu.room::<f32>(rows * k)?;
        let (row, weight) = (gpu.upload(&target.row)?, gpu.upload(&target.weight)?);
        let losses = gpu.room::<f32>(rows)?;
        let (x, w) = (
            Operand::new(address(&x), inp),
            Operand::new(address(prototypes), inp),
        );
        let z = Operand::new(place(&logits), k);
        let t = address(&target.probabilities);
        let slope = i32::from(T::OWNS_TAPE);
        let work = Work::RowBlocks(rows as u32);
        // SAFETY: `x` is `[rows, inp]`, `w` `[k, inp]`, the logits `[rows, k]`, the targets `[targets, k]`, and each
        // row's target is one of them.
        unsafe {
            gpu.product([rows, k, inp], 1, x, w.t(), 0.0, z, precision)?;
            let n = k as i32;
            launch!(
                gpu,
                "cross_entropy",
                work,
                &logits,
                t,
                &row,
                &weight,
                temperature,
                n,
                slope,
                &losses
            )?;
        }
        let each: Vec<f32> = if rows > 0 {
            gpu.download(&losses)?
        } else {
            vec![]
        };
        let each: Vec<f64> = each.into_iter().map(f64::from).collect();
        if !T::OWNS_TAPE || rows == 0 {
            return Ok((each, None));
        }
        let (dx, dw) = (gpu.room::<f32>(rows * inp)?, gpu.room::<f32>(k * inp)?);
        let (to_x, to_w) = (Operand::new(place(&dx), inp), Operand::new(place(&dw), inp));
        // SAFETY: as above; the logits' place holds their slopes now.
        unsafe {
            gpu.product([rows, inp, k], 1, z, w, 0.0, to_x, precision)?;
            gpu.product([k, inp, rows], 1, z.t(), x, 0.0, to_w, precision)?;
        }
        Ok::<_, CudaError>((each, Some((dx, dw))))
    };
    let (losses, slopes) = run().expect("a cross-entropy on the GPU");
    let weighted = losses.iter().zip(&target.weight);
    let loss: f64 = weighted.map(|(l, w)| l * f64::from(*w)).sum();
    let loss = x.device().tensor(loss as f32);
    if let Some((dx, dw)) = slopes {
        let (kept, prototypes) = (loss.clone(), prototypes.clone());
        tape.add_backward_op(move |g| {
            let upstream = take_grad(g, &kept)?;
            let to = [
                (grad(g, &x)?, dx, rows * inp),
                (grad(g, &prototypes)?, dw, k * inp),
            ];
            for (to, slope, len) in to {
                let (work, n) = each(len);
                // SAFETY: both have `len` values, the loss's gradient one.
                unsafe { launch!(gpu, "add_scaled", work, at(&upstream), &slope, n, to) }?;
            }
            Ok(())
        });
    }
    (loss.put_tape(tape), losses)
}
