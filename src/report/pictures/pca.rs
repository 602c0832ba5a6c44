//! Patch features as colours: the first three principal components over several pictures.

use super::enlarge;
use image::{Rgb, RgbImage};

/// Mean, directions and variances of a cloud of feature vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct PrincipalComponents {
    /// Mean of the vectors, `[d]`.
    pub mean: Vec<f64>,
    /// Unit directions of the largest variance, each `[d]`, largest first, at right angles to each other.
    /// The sign is chosen so that the largest entry is positive.
    pub directions: Vec<Vec<f64>>,
    /// Variance along each direction (division by n).
    pub variances: Vec<f64>,
}

/// The first `count` principal components of feature vectors `[n, d]`, by power iteration on the
/// covariance with deflation. Vectors with a value that is not finite are left out. There are fewer
/// components than asked for where no variance is left.
///
/// # Panics
/// If the features are not whole vectors of `d` values.
pub fn principal_components(features: &[f32], d: usize, count: usize) -> PrincipalComponents {
    assert!(
        d > 0 && features.len().is_multiple_of(d),
        "{} values are not vectors of {d}",
        features.len()
    );
    let rows: Vec<&[f32]> = features
        .chunks_exact(d)
        .filter(|row| row.iter().all(|v| v.is_finite()))
        .collect();
    let n = rows.len().max(1) as f64;
    let mut mean = vec![0.0; d];
    for row in &rows {
        for (m, &v) in mean.iter_mut().zip(*row) {
            *m += f64::from(v) / n;
        }
    }
    let mut covariance = vec![0.0; d * d];
    let mut centred = vec![0.0; d];
    for row in &rows {
        for ((c, &v), m) in centred.iter_mut().zip(*row).zip(&mean) {
            *c = f64::from(v) - m;
        }
        for (i, line) in covariance.chunks_exact_mut(d).enumerate() {
            let scaled = centred[i] / n;
            for (c, &v) in line.iter_mut().zip(&centred) {
                *c += scaled * v;
            }
        }
    }
    let total: f64 = (0..d).map(|i| covariance[i * d + i]).sum();
    let (mut directions, mut variances) = (Vec::new(), Vec::new());
    for _ in 0..count.min(d) {
        let (direction, variance) = power_iteration(&covariance, d, &directions);
        // What rounding leaves of a flat cloud is not a component.
        if variance.is_nan() || variance <= 1e-12 * total || variance <= f64::MIN_POSITIVE {
            break;
        }
        for (i, line) in covariance.chunks_exact_mut(d).enumerate() {
            for (c, v) in line.iter_mut().zip(&direction) {
                *c -= variance * direction[i] * v;
            }
        }
        directions.push(direction);
        variances.push(variance);
    }
    PrincipalComponents {
        mean,
        directions,
        variances,
    }
}

/// The direction of the largest eigenvalue of a symmetric matrix `[d, d]`, at right angles to those
/// `found`, and the eigenvalue. Stops when the direction no longer turns, or after enough turns that two
/// eigenvalues which still compete are equal for every purpose of a picture.
fn power_iteration(matrix: &[f64], d: usize, found: &[Vec<f64>]) -> (Vec<f64>, f64) {
    const TURNS: usize = 500;
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    // A start without symmetry, so that it is at right angles to no likely direction.
    let mut v: Vec<f64> = (0..d)
        .map(|i| 1.0 + ((i * 7919 + 13) % 101) as f64 / 101.0)
        .collect();
    let mut value = 0.0;
    for _ in 0..TURNS {
        for direction in found {
            let along = dot(&v, direction);
            v.iter_mut()
                .zip(direction)
                .for_each(|(v, d)| *v -= along * d);
        }
        let norm = dot(&v, &v).sqrt();
        if norm == 0.0 {
            return (v, 0.0);
        }
        v.iter_mut().for_each(|v| *v /= norm);
        let next: Vec<f64> = matrix.chunks_exact(d).map(|row| dot(row, &v)).collect();
        value = dot(&next, &v);
        let turned: f64 = next
            .iter()
            .zip(&v)
            .map(|(n, v)| (n - value * v).powi(2))
            .sum();
        if turned.sqrt() <= 1e-9 * value.abs() {
            break;
        }
        v = next;
    }
    let norm = dot(&v, &v).sqrt();
    let largest = v
        .iter()
        .copied()
        .max_by(|a, b| a.abs().total_cmp(&b.abs()))
        .unwrap_or(1.0);
    let scale = if norm > 0.0 {
        norm.copysign(largest)
    } else {
        1.0
    };
    v.iter_mut().for_each(|v| *v /= scale);
    (v, value)
}

/// The patch features of one picture.
#[derive(Clone, Copy, Debug)]
pub struct FeatureMap<'a> {
    /// `[rows * columns, d]`, row by row.
    pub features: &'a [f32],
    /// Patches from top to bottom.
    pub rows: usize,
    /// Patches from left to right.
    pub columns: usize,
}

/// Shows features as colours: red, green and blue are the first three principal components over *all*
/// the pictures, so that the same colour means the same feature in each. Every component is scaled so
/// that its 1st to 99th percentile fill the channel's range.
///
/// Each patch becomes a square of `patch` pixels. Features that do not differ are mid-grey, and patches
/// whose features are not finite are black.
///
/// # Panics
/// If a map does not hold rows x columns vectors of `d` values.
pub fn pca_rgb(maps: &[FeatureMap], d: usize, patch: u32) -> Vec<RgbImage> {
    for map in maps {
        let FeatureMap {
            rows,
            columns,
            features,
        } = map;
        assert_eq!(
            features.len(),
            rows * columns * d,
            "values of {rows} x {columns} patches of width {d}"
        );
    }
    let all: Vec<f32> = maps.iter().flat_map(|map| map.features).copied().collect();
    let components = principal_components(&all, d, 3);
    let score = |feature: &[f32], direction: &[f64]| -> f64 {
        feature
            .iter()
            .zip(&components.mean)
            .zip(direction)
            .map(|((&f, m), d)| (f64::from(f) - m) * d)
            .sum()
    };
    let ranges: Vec<(f64, f64)> = components
        .directions
        .iter()
        .map(|direction| {
            let mut scores: Vec<f64> = all
                .chunks_exact(d)
                .map(|f| score(f, direction))
                .filter(|s| s.is_finite())
                .collect();
            scores.sort_unstable_by(f64::total_cmp);
            let at = |share: f64| scores[((scores.len() - 1) as f64 * share).round() as usize];
            (at(0.01), at(0.99))
        })
        .collect();
    let colour = |feature: &[f32]| {
        if feature.iter().any(|v| !v.is_finite()) {
            return Rgb([0; 3]);
        }
        let mut channels = [128; 3];
        for ((channel, direction), (low, high)) in
            channels.iter_mut().zip(&components.directions).zip(&ranges)
        {
            if high > low {
                let t = (score(feature, direction) - low) / (high - low);
                *channel = (t.clamp(0.0, 1.0) * 255.0).round() as u8;
            }
        }
        Rgb(channels)
    };
    maps.iter()
        .map(|map| {
            let small = RgbImage::from_fn(map.columns as u32, map.rows as u32, |x, y| {
                let i = y as usize * map.columns + x as usize;
                colour(&map.features[i * d..(i + 1) * d])
            });
            enlarge(&small, patch)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use intertwine_flow::random::{stream, Purpose};
    use rand::RngExt;

    /// A cloud whose covariance is known exactly: plus and minus `length` along each of three directions
    /// of R^4 that are at right angles, around a mean.
    #[test]
    fn components_of_a_cloud_made_by_hand() {
        let h = 0.5f32;
        let axes = [[h, h, h, h], [h, -h, h, -h], [h, h, -h, -h]];
        let lengths = [3.0f32, 6.0, 1.5];
        let mean = [10.0f32, -4.0, 0.0, 2.0];
        let mut features = Vec::new();
        for (axis, length) in axes.iter().zip(lengths) {
            for sign in [1.0, -1.0] {
                features.extend(axis.iter().zip(mean).map(|(a, m)| m + sign * length * a));
            }
        }
        features.extend([f32::NAN, 1.0, 1.0, 1.0]);
        let pca = principal_components(&features, 4, 4);
        // Each pair contributes length^2 to its direction; n = 6 points.
        for (variance, expected) in pca.variances.iter().zip([12.0, 3.0, 0.75]) {
            assert!((variance - expected).abs() < 1e-6, "{:?}", pca.variances);
        }
        assert_eq!(
            pca.variances.len(),
            3,
            "the fourth direction has no variance"
        );
        for (direction, k) in pca.directions.iter().zip([1, 0, 2]) {
            let dot: f64 = direction
                .iter()
                .zip(axes[k])
                .map(|(a, b)| a * f64::from(b))
                .sum();
            assert!((dot.abs() - 1.0).abs() < 1e-6, "{direction:?}");
            assert!(direction.iter().copied().fold(f64::MIN, f64::max) > 0.0);
        }
        assert!(pca
            .mean
            .iter()
            .zip(mean)
            .all(|(a, b)| (a - f64::from(b)).abs() < 1e-6));
    }

    #[test]
    fn directions_are_orthonormal_and_variances_fall_on_random_features() {
        let mut rng = stream(3, Purpose::Probe, 0, 0);
        let d = 24;
        let features: Vec<f32> = (0..400 * d)
            .map(|i| rng.random_range(-1.0..1.0f32) * (1.0 + (i % d) as f32 / 8.0))
            .collect();
        let pca = principal_components(&features, d, 6);
        assert!(
            pca.variances
                .windows(2)
                .all(|w| w[0] >= w[1] * (1.0 - 1e-6)),
            "{:?}",
            pca.variances
        );
        for (i, a) in pca.directions.iter().enumerate() {
            for (j, b) in pca.directions.iter().enumerate() {
                let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                assert!(
                    (dot - f64::from(u8::from(i == j))).abs() < 1e-6,
                    "{i} {j} {dot}"
                );
            }
        }
        // The variance along a direction, computed from the points instead of the covariance.
        let scores: Vec<f64> = features
            .chunks_exact(d)
            .map(|f| {
                f.iter()
                    .zip(&pca.mean)
                    .zip(&pca.directions[0])
                    .map(|((&f, m), d)| (f64::from(f) - m) * d)
                    .sum()
            })
            .collect();
        let variance = scores.iter().map(|s| s * s).sum::<f64>() / 400.0;
        assert!((variance - pca.variances[0]).abs() < 1e-6 * variance);
    }

    #[test]
    fn the_same_feature_has_the_same_colour_in_every_picture() {
        let (a, b, c) = ([1.0f32, 0.0, 0.0], [0.0f32, 2.0, 0.0], [0.0f32, 0.0, 3.0]);
        let first: Vec<f32> = [a, b, c, a].concat();
        let second: Vec<f32> = [b, a].concat();
        let maps = [
            FeatureMap {
                features: &first,
                rows: 2,
                columns: 2,
            },
            FeatureMap {
                features: &second,
                rows: 1,
                columns: 2,
            },
        ];
        let pictures = pca_rgb(&maps, 3, 8);
        assert_eq!(
            (pictures[0].dimensions(), pictures[1].dimensions()),
            ((16, 16), (16, 8))
        );
        let at = |i: usize, x, y| pictures[i].get_pixel(x, y).0;
        assert_eq!(at(0, 0, 0), at(0, 15, 15));
        assert_eq!(at(0, 0, 0), at(1, 8, 0));
        assert_eq!(at(0, 8, 0), at(1, 0, 0));
        assert_ne!(at(0, 0, 0), at(0, 8, 0));
        assert_ne!(at(0, 0, 8), at(0, 8, 0));
    }

    #[test]
    fn collapsed_features_are_grey_and_broken_ones_black() {
        let features = [0.5f32, 0.5, 0.5, 0.5, f32::NAN, 0.5];
        let map = FeatureMap {
            features: &features,
            rows: 1,
            columns: 3,
        };
        let picture = &pca_rgb(&[map], 2, 1)[0];
        assert_eq!(
            picture.as_raw()[..],
            [128, 128, 128, 128, 128, 128, 0, 0, 0]
        );
        let none = FeatureMap {
            features: &[f32::NAN; 4],
            rows: 1,
            columns: 2,
        };
        assert_eq!(pca_rgb(&[none], 2, 1)[0].as_raw()[..], [0; 6]);
        assert!(pca_rgb(&[], 4, 8).is_empty());
    }
}
