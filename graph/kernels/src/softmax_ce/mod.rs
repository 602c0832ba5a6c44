//! Soft cross-entropy over many prototypes, and the two ways a teacher's logits become its target.
//!
//! `P_t = softmax((z - centre) / temperature)` (DINO, Caron et al., 2021), or Sinkhorn-Knopp (SwAV, Caron et al.,
//! 2020; as in DINOv2). `loss = sum_r weight_r * -sum_k t_rk log softmax(z_r / temperature)_k`, with gradient
//! `dz_r = weight_r / temperature * (softmax(z_r / temperature) * sum_k t_rk - t_r)`.

#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use crate::parallel::{rows_per_piece, sum_pieces, PIECE};
use crate::simd::{add_lanes, exp, max, sum, LANES};
use crate::{check_len, rows_of, size};
use rayon::prelude::*;

/// Most partial sums over rows.
const PARTIALS: usize = 16;

/// `out = softmax((z - centre) / temperature)` row by row; `z`, `out` [rows, k], `centre` `[k]`.
///
/// # Panics
/// If a slice's length does not fit the shape or the temperature is not positive.
pub fn teacher_softmax(
    z: &[f32],
    centre: Option<&[f32]>,
    temperature: f32,
    k: usize,
    out: &mut [f32],
) {
    check_len("softmax_ce", "out", out, z.len());
    check(z, centre, temperature, k);
    let piece = rows_per_piece(k, PIECE) * k;
    z.par_chunks(piece)
        .zip(out.par_chunks_mut(piece))
        .for_each(|(z, out)| {
            out.copy_from_slice(z);
            softmax_rows(out, centre, 1.0 / temperature, k);
        });
}

/// [`teacher_softmax`] over its own input.
///
/// # Panics
/// As [`teacher_softmax`].
pub fn teacher_softmax_in_place(z: &mut [f32], centre: Option<&[f32]>, temperature: f32, k: usize) {
    check(z, centre, temperature, k);
    let piece = rows_per_piece(k, PIECE) * k;
    z.par_chunks_mut(piece)
        .for_each(|z| softmax_rows(z, centre, 1.0 / temperature, k));
}

/// Sinkhorn-Knopp: `out` [rows, k] starts as `exp(z / temperature)`; each of `iterations` rounds first makes every
/// prototype's sum over the samples equal, then every sample's sum over the prototypes 1.
///
/// `rows` are the samples and must be all of the batch, since the samples share the prototypes out among them.
///
/// # Panics
/// If `out` is not as long as `z`, `z` is not a whole number of rows, or the temperature is not positive.
pub fn sinkhorn(z: &[f32], temperature: f32, iterations: usize, k: usize, out: &mut [f32]) {
    check_len("softmax_ce", "out", out, z.len());
    let rows = check(z, None, temperature, k);
    let piece = rows_per_piece(k, PIECE);
    // The result is row_scale_r * out_rk * prototype_scale_k: only the two vectors change between rounds. Exponentials are
    // taken against the largest of their row, and what that is below the largest of all is in the row's scale, in f64:
    // the sharpest temperatures put more between two rows than f32 can hold.
    let mut row_scale = vec![0.0f64; rows];
    z.par_chunks(piece * k)
        .zip(out.par_chunks_mut(piece * k))
        .zip(row_scale.par_chunks_mut(piece))
        .for_each(|((z, out), largest)| exp_rows(z, 1.0 / temperature, k, out, largest));
    let largest = row_scale.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for scale in &mut row_scale {
        // Any constant factor cancels in the first normalisation.
        *scale = ((*scale - largest) / f64::from(temperature)).exp();
    }
    let mut prototype = vec![1.0f64; k];
    // Partial sums are as wide as a row: not many of them.
    let most = piece.max(rows.div_ceil(PARTIALS));
    for _ in 0..iterations {
        prototype.fill(0.0);
        sum_pieces(rows.div_ceil(most), k, &mut prototype, |i, partial| {
            let (first, last) = (i * most, rows.min((i + 1) * most));
            weighted_sum(&out[first * k..last * k], &row_scale[first..last], partial);
        });
        for p in &mut prototype {
            *p = invert(*p * k as f64);
        }
        row_scale
            .par_chunks_mut(piece)
            .zip(out.par_chunks(piece * k))
            .for_each(|(scale, out)| row_scales(out, &prototype, scale));
    }
    if iterations == 0 {
        // As the official code does without a round: one distribution over the whole batch, times its size.
        let sum = |(out, scale): (&[f32], &f64)| -> f64 {
            scale * out.iter().map(|v| f64::from(*v)).sum::<f64>()
        };
        let total: f64 = out.chunks(k).zip(&row_scale).map(sum).sum();
        let scale = invert(total / rows.max(1) as f64);
        row_scale.iter_mut().for_each(|row| *row *= scale);
    }
    out.par_chunks_mut(piece * k)
        .zip(row_scale.par_chunks(piece))
        .for_each(|(out, scale)| apply_scales(out, &prototype, scale));
}

/// The loss of each row, `-sum_k target_rk * log softmax(z_r / temperature)_k`; adds the gradient of the sum of
/// `weight_r * loss_r` to `dz`.
///
/// `z`, `dz` [rows, k]; `weight`, `target_row` `[rows]`; row `r` of `z` is held against row `target_row[r]` of
/// `targets` [any, k], so that several views share one target. A target need not sum to 1.
///
/// # Panics
/// If a slice's length does not fit the shape, a target row does not exist or the temperature is not positive.
pub fn soft_cross_entropy(
    z: &[f32],
    targets: &[f32],
    target_row: &[u32],
    weight: &[f32],
    temperature: f32,
    k: usize,
    dz: Option<&mut [f32]>,
) -> Vec<f64> {
    let rows = check(z, None, temperature, k);
    let target_rows = rows_of("softmax_ce", "targets", targets, k);
    check_len("softmax_ce", "target_row", target_row, rows);
    check_len("softmax_ce", "weight", weight, rows);
    if let Some(row) = target_row.iter().find(|r| **r as usize >= target_rows) {
        panic!("softmax_ce: target_row names row {row}, targets has {target_rows}");
    }
    let row = |r: usize| {
        let t = target_row[r] as usize * k;
        (&z[r * k..(r + 1) * k], &targets[t..t + k], weight[r])
    };
    let mut losses = vec![0.0f64; rows];
    let piece = rows_per_piece(k, PIECE);
    let losses_of = losses.par_chunks_mut(piece).enumerate();
    match dz {
        None => losses_of.for_each(|(i, losses)| {
            for (j, loss) in losses.iter_mut().enumerate() {
                let (z, t, w) = row(i * piece + j);
                *loss = entropy_row(z, t, w, 1.0 / temperature, &mut []);
            }
        }),
        Some(dz) => {
            check_len("softmax_ce", "dz", dz, size([rows, k]));
            losses_of
                .zip(dz.par_chunks_mut(piece * k))
                .for_each(|((i, losses), dz)| {
                    for (j, (loss, dz)) in losses.iter_mut().zip(dz.chunks_exact_mut(k)).enumerate()
                    {
                        let (z, t, w) = row(i * piece + j);
                        *loss = entropy_row(z, t, w, 1.0 / temperature, dz);
                    }
                });
        }
    }
    losses
}

#[track_caller]
fn check(z: &[f32], centre: Option<&[f32]>, temperature: f32, k: usize) -> usize {
    assert!(
        temperature > 0.0,
        "softmax_ce: temperature is {temperature}, expected above 0"
    );
    if let Some(centre) = centre {
        check_len("softmax_ce", "centre", centre, k);
    }
    rows_of("softmax_ce", "z", z, k)
}

/// `1 / x`, and 0 where the sum that `x` is has vanished: a prototype no sample uses stays unused.
fn invert(x: f64) -> f64 {
    if x > 0.0 {
        1.0 / x
    } else {
        0.0
    }
}

multiversion! {
    fn softmax_rows<A>(z: &mut [f32], centre: Option<&[f32]>, inverse_temperature: f32, k: usize) {
        for z in z.chunks_exact_mut(k) {
            if let Some(centre) = centre {
                for (z, c) in z.iter_mut().zip(centre) {
                    *z -= c;
                }
            }
            let largest = max(z);
            for z in z.iter_mut() {
                *z = exp::<A>((*z - largest) * inverse_temperature);
            }
            let scale = 1.0 / sum(z);
            for z in z.iter_mut() {
                *z *= scale;
            }
        }
    }

    /// `out = exp((z - largest of the row) / temperature)`.
    fn exp_rows<A>(z: &[f32], inverse_temperature: f32, k: usize, out: &mut [f32], largest: &mut [f64]) {
        let rows = z.chunks_exact(k).zip(out.chunks_exact_mut(k));
        for ((z, out), largest) in rows.zip(largest) {
            let most = max(z);
            for (o, z) in out.iter_mut().zip(z) {
                *o = exp::<A>((z - most) * inverse_temperature);
            }
            *largest = f64::from(most);
        }
    }

    fn weighted_sum<A>(x: &[f32], row_weight: &[f64], sums: &mut [f64]) {
        for (x, w) in x.chunks_exact(sums.len()).zip(row_weight) {
            for (s, x) in sums.iter_mut().zip(x) {
                *s += f64::from(*x) * w;
            }
        }
    }

    fn row_scales<A>(x: &[f32], prototype: &[f64], scale: &mut [f64]) {
        for (x, scale) in x.chunks_exact(prototype.len()).zip(scale) {
            let mut sums = [0.0f64; LANES];
            let (xs, x_tail) = x.as_chunks::<LANES>();
            let (ps, p_tail) = prototype.as_chunks::<LANES>();
            for (x, p) in xs.iter().zip(ps) {
                for i in 0..LANES {
                    sums[i] += f64::from(x[i]) * p[i];
                }
            }
            for (i, (x, p)) in x_tail.iter().zip(p_tail).enumerate() {
                sums[i] += f64::from(*x) * p;
            }
            *scale = invert(sums.iter().sum());
        }
    }

    fn apply_scales<A>(x: &mut [f32], prototype: &[f64], scale: &[f64]) {
        for (x, scale) in x.chunks_exact_mut(prototype.len()).zip(scale) {
            for (x, p) in x.iter_mut().zip(prototype) {
                *x = (f64::from(*x) * p * scale) as f32;
            }
        }
    }

    fn entropy_row<A>(z: &[f32], target: &[f32], weight: f32, inverse_temperature: f32, dz: &mut [f32]) -> f64 {
        let largest = max(z);
        // One pass gathers sum exp(s), sum t s and sum t, with s = (z - max) / temperature.
        let (mut exps, mut products, mut masses) = ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
        let (zs, z_tail) = z.as_chunks::<LANES>();
        let (ts, t_tail) = target.as_chunks::<LANES>();
        for (z, t) in zs.iter().zip(ts) {
            for i in 0..LANES {
                let s = (z[i] - largest) * inverse_temperature;
                exps[i] += exp::<A>(s);
                products[i] = A::mul_add(t[i], s, products[i]);
                masses[i] += t[i];
            }
        }
        for (i, (z, t)) in z_tail.iter().zip(t_tail).enumerate() {
            let s = (z - largest) * inverse_temperature;
            exps[i] += exp::<A>(s);
            products[i] = A::mul_add(*t, s, products[i]);
            masses[i] += t;
        }
        let (total, product, mass) = (add_lanes(exps), add_lanes(products), add_lanes(masses));
        let scale = weight * inverse_temperature;
        let probability = mass / total;
        for ((dz, z), t) in dz.iter_mut().zip(z).zip(target) {
            let e = exp::<A>((z - largest) * inverse_temperature);
            *dz = A::mul_add(scale, A::mul_add(e, probability, -t), *dz);
        }
        f64::from(mass) * f64::from(total).ln() - f64::from(product)
    }
}
