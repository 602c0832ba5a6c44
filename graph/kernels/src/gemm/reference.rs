//! The definition, one element at a time.

use super::Layout;

/// `c + op(a) op(b)` for operands and their layouts.
pub(super) fn matmul(
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
