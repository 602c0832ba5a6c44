//! How many dimensions features use.

use nalgebra::DMatrix;

use super::features::Rows;

/// RankMe (Garrido et al., 2023): the exponential of the entropy of the singular values of the rows, divided by their sum.
/// Between 1, all rows on a line through the origin, and the smaller of rows and width.
pub fn effective_rank(features: &Rows) -> f64 {
    let width = features.width();
    // The singular values are the roots of the eigenvalues of X^T X.
    let mut gram = DMatrix::<f64>::zeros(width, width);
    for row in features.iter() {
        for (i, &a) in row.iter().enumerate() {
            for (j, &b) in row.iter().enumerate().take(i + 1) {
                gram[(i, j)] += f64::from(a) * f64::from(b);
            }
        }
    }
    gram.fill_upper_triangle_with_lower_triangle();
    let values: Vec<f64> = gram
        .symmetric_eigenvalues()
        .iter()
        .map(|v| v.max(0.0).sqrt())
        .collect();
    let sum: f64 = values.iter().sum();
    // RankMe adds 1e-7 to each share.
    let entropy = values.iter().map(|v| {
        let share = v / sum.max(f64::MIN_POSITIVE) + 1e-7;
        -share * share.ln()
    });
    entropy.sum::<f64>().exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_ranks() {
        let rank = |width, values: &[f32]| effective_rank(&Rows::new(width, values.to_vec()));
        // Three orthogonal rows of length 1 in four dimensions.
        let three = rank(4, &[1., 0., 0., 0., 0., 1., 0., 0., 0., 0., 1., 0.]);
        assert!((three - 3.0).abs() < 1e-3, "{three}");
        let line = rank(3, &[1., 2., 3., 2., 4., 6., -1., -2., -3.]);
        assert!((line - 1.0).abs() < 1e-3, "{line}");
        // Singular values 3 and 1: shares 3/4 and 1/4, entropy 0.5623.
        let uneven = rank(2, &[3., 0., 0., 1.]);
        assert!((uneven - 0.562_335_f64.exp()).abs() < 1e-3, "{uneven}");
    }
}
