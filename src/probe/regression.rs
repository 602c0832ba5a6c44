//! Linear regression: how much of something is there to be read off features by a weighted sum.

use nalgebra::{DMatrix, DVector};

use super::features::Rows;

/// Added to the diagonal of the normal equations, as shares of its mean: the strengths that are tried. The first of equals
/// is taken.
const RIDGES: [f64; 4] = [1.0, 1e-1, 1e-2, 1e-3];

/// A weighted sum of features, and an offset, for each of several targets.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[width + 1, targets]`, the offset last.
    weights: DMatrix<f64>,
}

impl Linear {
    /// The least squares fit of `targets` [rows, any] to rows of features, its weights shrunk as much as is best for
    /// the last quarter of the rows when the others are fitted: few rows fit by chance otherwise. Rows come in any order,
    /// but `together` of them at a time know of each other, as patches of a picture do, and stay on one side.
    ///
    /// # Panics
    /// If there are no rows, or another number of targets.
    pub fn fit(features: &Rows, targets: &Rows, together: usize) -> Self {
        assert!(!features.is_empty() && features.len() == targets.len());
        let (rows, cut) = (features.len(), early(features.len(), together));
        let (x, y) = (features.pick(cut..rows), targets.pick(cut..rows));
        let most = Normal::of(&features.pick(0..cut), &targets.pick(0..cut));
        let tried = RIDGES.map(|ridge| (most.solve(ridge).error(&x, &y), ridge));
        let best = tried.into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
        Normal::of(features, targets).solve(best.expect("some are tried").1)
    }

    /// What it makes of a row of features.
    pub fn predict(&self, row: &[f32]) -> Vec<f64> {
        (self.weights.tr_mul(&extended(row)))
            .iter()
            .copied()
            .collect()
    }

    /// The squares of what is amiss, added up over all targets of all rows.
    fn error(&self, features: &Rows, targets: &Rows) -> f64 {
        let pairs = features.iter().zip(targets.iter());
        let errors = pairs.flat_map(|(row, target)| target.iter().zip(self.predict(row)));
        errors
            .map(|(&v, predicted)| (f64::from(v) - predicted).powi(2))
            .sum()
    }

    /// R^2 on other rows: the share of the targets' variance that is explained, over all of them. 0 is as good as
    /// their mean; worse than that is below. None if they do not vary.
    pub fn r2(&self, features: &Rows, targets: &Rows) -> Option<f64> {
        // Told from the values: the variance of equal ones may be off 0 by rounding.
        if targets.iter().all(|target| target == targets.row(0)) {
            return None;
        }
        let mut mean = vec![0.0; targets.width()];
        for target in targets.iter() {
            for (mean, &v) in mean.iter_mut().zip(target) {
                *mean += f64::from(v) / targets.len() as f64;
            }
        }
        let all = targets.iter().flat_map(|target| target.iter().zip(&mean));
        let variance: f64 = all.map(|(&v, mean)| (f64::from(v) - mean).powi(2)).sum();
        Some(1.0 - self.error(features, targets) / variance)
    }
}

/// How many of the rows are fitted while the others say how much to shrink.
fn early(rows: usize, together: usize) -> usize {
    let groups = rows / together;
    (groups - groups / 4) * together
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
        let fit = Linear::fit(&train, &linear(&train), 1);
        let r2 = fit.r2(&test, &linear(&test)).unwrap();
        assert!(r2 > 0.999, "{r2}");
        let noise = (Rows::new(2, random(800)), Rows::new(2, random(400)));
        let fit = Linear::fit(&train, &noise.0, 1);
        let r2 = fit.r2(&test, &noise.1).unwrap();
        assert!(r2.abs() < 0.1, "{r2}");
        // Features that say nothing at all predict the mean.
        let zero = Rows::new(5, vec![0.0; 2000]);
        let fit = Linear::fit(&zero, &linear(&train), 1);
        let r2 = fit.r2(&zero, &linear(&train)).unwrap();
        assert!(r2.abs() < 1e-3, "{r2}");
        // Nothing of a target that does not vary is explained, or left to be.
        let equal = Rows::new(2, [0.1, 0.7].repeat(200));
        assert_eq!(fit.r2(&Rows::new(5, test.values().to_vec()), &equal), None);
    }

    #[test]
    fn what_belongs_together_is_not_cut() {
        // Of 6, 7 and 3 groups one quarter: 1, 1, none.
        assert_eq!([early(18, 3), early(28, 4), early(12, 4)], [15, 24, 12]);
        assert_eq!(early(9, 1), 7);
    }
}
