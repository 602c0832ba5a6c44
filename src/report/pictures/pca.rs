//! Patch features as colours: the first three principal components over several pictures.

use image::{Rgb, RgbImage};
use nalgebra::{DMatrix, DVector};

use super::enlarge;

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

/// The first `count` principal components of feature vectors `[n, d]`: the eigenvectors of their covariance. Vectors with
/// a value that is not finite are left out. There are fewer components than asked for where no variance is left.
///
/// # Panics
/// If the features are not whole vectors of `d` values.
pub fn principal_components(features: &[f32], d: usize, count: usize) -> PrincipalComponents {
    assert!(
        d > 0 && features.len().is_multiple_of(d),
        "{} values are not vectors of {d}",
        features.len()
    );
    let rows = || {
        let rows = features.chunks_exact(d);
        rows.filter(|row| row.iter().all(|v| v.is_finite()))
            .map(|row| DVector::from_iterator(d, row.iter().map(|&v| f64::from(v))))
    };
    let n = rows().count().max(1) as f64;
    let mean = rows().fold(DVector::zeros(d), |sum, row| sum + row / n);
    let mut covariance = DMatrix::<f64>::zeros(d, d);
    for row in rows() {
        let centred = row - &mean;
        covariance.syger(1.0 / n, &centred, &centred, 1.0);
    }
    covariance.fill_upper_triangle_with_lower_triangle();
    let eigen = covariance.symmetric_eigen();
    let total = eigen.eigenvalues.sum();
    let mut order: Vec<usize> = (0..d).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    // What rounding leaves of a flat cloud is not a component.
    let least = (1e-12 * total).max(f64::MIN_POSITIVE);
    order.retain(|&i| eigen.eigenvalues[i] > least);
    order.truncate(count);
    let direction = |&i: &usize| {
        let column = eigen.eigenvectors.column(i);
        let sign = column[column.iamax()].signum();
        column.iter().map(|v| sign * v).collect()
    };
    PrincipalComponents {
        directions: order.iter().map(direction).collect(),
        variances: order.iter().map(|&i| eigen.eigenvalues[i]).collect(),
        mean: mean.iter().copied().collect(),
    }
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
