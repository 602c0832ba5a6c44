//! The definition, one element at a time.

use super::Layout;

/// `c + op(a) op(b)` for operands and their layouts.
pub(crate) fn matmul(
    m: usize,
    k: usize,
    n: usize,
    (a, la): (&[f32], Layout),
    (b, lb): (&[f32], Layout),
    c: &[f32],
) -> Vec<f64> {
    let at = |x: &[f32], layout, i: usize, j: usize, rows: usize, cols: usize| {
        f64::from(if layout == Layout::N {
            x[i * cols + j]
        } else {
            x[j * rows + i]
        })
    };
    let mut out: Vec<f64> = c.iter().map(|v| f64::from(*v)).collect();
    for i in 0..m {
        for j in 0..n {
            out[i * n + j] += (0..k)
                .map(|p| at(a, la, i, p, m, k) * at(b, lb, p, j, k, n))
                .sum::<f64>();
        }
    }
    out
}

/// The nearest `bf16`: of the two around a value, the nearer; of two as near, the one whose last bit is 0.
pub(crate) fn nearest_bf16(x: f32) -> f32 {
    let below = f32::from_bits(x.to_bits() & 0xffff_0000);
    let above = f32::from_bits((x.to_bits() & 0xffff_0000) + 0x1_0000);
    let (down, up) = ((x - below).abs(), (above - x).abs());
    let even = (below.to_bits() >> 16) & 1 == 0;
    if down < up || (down == up && even) {
        below
    } else {
        above
    }
}
