//! Linear regression: how much of something is there to be read off features by a weighted sum.

use nalgebra::{DMatrix, DVector};

use super::features::Rows;

/// Added to the diagonal of the normal equations, as shares of its mean: the strengths that are tried.
const RIDGES: [f64; 4] = [1e-3, 1e-2, 1e-1, 1.0];

/// A weighted sum of features, and an offset, for each of several targets.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[width + 1, targets]`, the offset last.
    weights: DMatrix<f64>,
}

impl Linear {
    /// The least squares fit of `targets` [rows, any] to rows of features, its weights shrunk as much as is best for
    /// the last quarter of the rows when the others are fitted: few rows fit by chance otherwise.
    ///
    /// # Panics
    /// If there are no rows, or another number of targets.
    pub fn fit(features: &Rows, targets: &Rows) -> Self {
        assert!(!features.is_empty() && features.len() == targets.len());
        let cut = features.len() - features.len() / 4;
        let (early, late) = (|row: usize| row < cut, |row: usize| row >= cut);
        let (x, y) = (features.pick(late), targets.pick(late));
        let most = Normal::of(&features.pick(early), &targets.pick(early));
        let explained = |ridge: f64| most.solve(ridge).r2(&x, &y);
        let best = RIDGES
            .into_iter()
            .max_by(|&a, &b| explained(a).total_cmp(&explained(b)));
        Normal::of(features, targets).solve(best.unwrap_or(RIDGES[0]))
    }

    /// What it makes of a row of features.
    pub fn predict(&self, row: &[f32]) -> Vec<f64> {
        (self.weights.tr_mul(&extended(row)))
            .iter()
            .copied()
            .collect()
    }

    /// R^2 on other rows: the share of the targets' variance that is explained, over all of them. 0 is as good as
    /// their mean; worse than that is below.
    pub fn r2(&self, features: &Rows, targets: &Rows) -> f64 {
        let mut mean = vec![0.0; targets.width()];
        for target in targets.iter() {
            for (mean, &v) in mean.iter_mut().zip(target) {
                *mean += f64::from(v) / targets.len() as f64;
            }
        }
        let (mut error, mut variance) = (0.0, 0.0);
        for (row, target) in features.iter().zip(targets.iter()) {
            for ((&v, mean), predicted) in target.iter().zip(&mean).zip(self.predict(row)) {
                error += (f64::from(v) - predicted).powi(2);
                variance += (f64::from(v) - mean).powi(2);
            }
        }
        1.0 - error / variance.max(f64::MIN_POSITIVE)
    }
}

/// The normal equations.
struct Normal {
    gram: DMatrix<f64>,
    moments: DMatrix<f64>,
}

impl Normal {
    fn of(features: &Rows, targets: &Rows) -> Self {
        let size = features.width() + 1;
        let mut gram = DMatrix::<f64>::zeros(size, size);
        let mut moments = DMatrix::<f64>::zeros(size, targets.width());
        for (row, target) in features.iter().zip(targets.iter()) {
            let x = extended(row);
            gram.syger(1.0, &x, &x, 1.0);
            let y = DVector::from_iterator(target.len(), target.iter().map(|&v| f64::from(v)));
            moments.ger(1.0, &x, &y, 1.0);
        }
        gram.fill_upper_triangle_with_lower_triangle();
        Self { gram, moments }
    }

    fn solve(&self, ridge: f64) -> Linear {
        let mut gram = self.gram.clone();
        // The offset is not shrunk.
        let shrunk = gram.nrows() - 1;
        let mean = gram.diagonal().rows(0, shrunk).mean();
        for i in 0..shrunk {
            gram[(i, i)] += (ridge * mean).max(f64::MIN_POSITIVE);
        }
        let weights = match gram.cholesky() {
            Some(cholesky) => cholesky.solve(&self.moments),
            // Features that are all zero.
            None => DMatrix::zeros(self.gram.nrows(), self.moments.ncols()),
        };
        Linear { weights }
    }
}

/// The row and a 1.
fn extended(row: &[f32]) -> DVector<f64> {
    let values = row.iter().map(|&v| f64::from(v)).chain([1.0]);
    DVector::from_iterator(row.len() + 1, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use intertwine_flow::random::{stream, Purpose};
    use rand::RngExt;

    #[test]
    fn a_linear_target_is_read_and_noise_is_not() {
        let mut rng = stream(1, Purpose::Probe, 0, 0);
        let mut random =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random::<f32>() - 0.5).collect() };
        let (train, test) = (Rows::new(5, random(2000)), Rows::new(5, random(1000)));
        let linear = |features: &Rows| -> Rows {
            let target = |x: &[f32]| [2.0 * x[0] - x[3] + 0.7, x[4] + 3.0];
            Rows::new(2, features.iter().flat_map(target).collect())
        };
        let fit = Linear::fit(&train, &linear(&train));
        let r2 = fit.r2(&test, &linear(&test));
        assert!(r2 > 0.999, "{r2}");
        let noise = (Rows::new(2, random(800)), Rows::new(2, random(400)));
        let r2 = Linear::fit(&train, &noise.0).r2(&test, &noise.1);
        assert!(r2.abs() < 0.1, "{r2}");
        // Features that say nothing at all predict the mean.
        let zero = Rows::new(5, vec![0.0; 2000]);
        let r2 = Linear::fit(&zero, &linear(&train)).r2(&zero, &linear(&train));
        assert!(r2.abs() < 1e-3, "{r2}");
    }
}
