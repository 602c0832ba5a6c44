//! Reading a field at points: a sparse linear map of four taps a point, and its transpose.

use super::Grid;

/// Bilinear taps: point `n` of a field with vectors `f` is `sum_k weight[n][k] * f[index[n][k]]`.
///
/// The weights of a point are non-negative and sum to 1. Near the edge two taps may name one cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taps {
    /// Four cells of the field for each point, in raster order of the field.
    pub index: Vec<[u32; 4]>,
    /// Their weights.
    pub weight: Vec<[f32; 4]>,
}

impl Taps {
    /// Number of points.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Forgets the points and keeps the memory.
    pub fn clear(&mut self) {
        self.index.clear();
        self.weight.clear();
    }

    /// Appends the taps of `positions`, points `(x, y)` of the field's unit square, in a field of
    /// `field` cells with centres at `((i + 1/2) / width, (j + 1/2) / height)`. Points beyond the
    /// outermost centres read the nearest cell.
    pub fn extend(&mut self, positions: impl IntoIterator<Item = [f32; 2]>, field: Grid) {
        debug_assert!(!field.is_empty(), "a field has at least one cell");
        for [x, y] in positions {
            let (x0, x1, fx) = axis(x, field.width);
            let (y0, y1, fy) = axis(y, field.height);
            let cell = |row: usize, column: usize| (row * field.width + column) as u32;
            self.index
                .push([cell(y0, x0), cell(y0, x1), cell(y1, x0), cell(y1, x1)]);
            self.weight.push([
                (1.0 - fy) * (1.0 - fx),
                (1.0 - fy) * fx,
                fy * (1.0 - fx),
                fy * fx,
            ]);
        }
    }
}

/// The two cells around `u` in `[0, 1]` on an axis of `cells`, and the share of the second.
fn axis(u: f32, cells: usize) -> (usize, usize, f32) {
    let last = cells - 1;
    let at = (u * cells as f32 - 0.5).clamp(0.0, last as f32);
    let lower = at as usize; // truncation is floor here; a NaN becomes 0
    (lower, (lower + 1).min(last), at - lower as f32)
}

/// The taps of `positions` in a field of `field` cells; see [`Taps::extend`].
pub fn taps(positions: impl IntoIterator<Item = [f32; 2]>, field: Grid) -> Taps {
    let mut taps = Taps::default();
    taps.extend(positions, field);
    taps
}

/// Reads a field of `cells x dim` values at the taps into `out`, `taps.len() x dim` values.
///
/// # Panics
/// If `out` has another length, or a tap lies outside the field.
pub fn sample(field: &[f32], dim: usize, taps: &Taps, out: &mut [f32]) {
    assert_eq!(out.len(), taps.len() * dim, "out holds one vector a point");
    for ((out, index), weight) in out.chunks_exact_mut(dim).zip(&taps.index).zip(&taps.weight) {
        out.fill(0.0);
        for (&i, &w) in index.iter().zip(weight) {
            let vector = &field[i as usize * dim..][..dim];
            for (o, v) in out.iter_mut().zip(vector) {
                *o += w * v;
            }
        }
    }
}

/// The transpose of [`sample`]: adds the gradient at the points, `taps.len() x dim` values, to the
/// gradient of the field, `cells x dim` values. Points are added in order, so the sum is
/// reproducible.
///
/// # Panics
/// If `at_points` has another length, or a tap lies outside the field.
pub fn accumulate(at_points: &[f32], dim: usize, taps: &Taps, field: &mut [f32]) {
    assert_eq!(at_points.len(), taps.len() * dim, "one vector a point");
    for ((gradient, index), weight) in at_points
        .chunks_exact(dim)
        .zip(&taps.index)
        .zip(&taps.weight)
    {
        for (&i, &w) in index.iter().zip(weight) {
            let vector = &mut field[i as usize * dim..][..dim];
            for (v, g) in vector.iter_mut().zip(gradient) {
                *v += w * g;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn points() -> impl Strategy<Value = Vec<[f32; 2]>> {
        prop::collection::vec(
            (-0.2f32..1.2, -0.2f32..1.2).prop_map(|(x, y)| [x, y]),
            1..20,
        )
    }

    proptest! {
        #[test]
        fn weights_are_convex(points in points(), height in 1usize..9, width in 1usize..9) {
            let taps = taps(points, Grid::new(height, width));
            for (index, weight) in taps.index.iter().zip(&taps.weight) {
                prop_assert!(index.iter().all(|&i| (i as usize) < height * width));
                prop_assert!(weight.iter().all(|&w| w >= 0.0));
                prop_assert!((weight.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            }
        }

        /// A field that is linear in x and y is read exactly between the outermost centres.
        #[test]
        fn linear_fields_are_exact(points in points(), height in 2usize..9, width in 2usize..9) {
            let linear = |x: f32, y: f32| 3.0 * x - 2.0 * y + 0.5;
            let field: Vec<f32> = (0..height * width)
                .map(|i| linear(
                    ((i % width) as f32 + 0.5) / width as f32,
                    ((i / width) as f32 + 0.5) / height as f32,
                ))
                .collect();
            let taps = taps(points.iter().copied(), Grid::new(height, width));
            let mut out = vec![0.0; points.len()];
            sample(&field, 1, &taps, &mut out);
            let inside = |u: f32, cells: usize| {
                let edge = 0.5 / cells as f32;
                u.clamp(edge, 1.0 - edge)
            };
            for (&[x, y], &read) in points.iter().zip(&out) {
                prop_assert!((read - linear(inside(x, width), inside(y, height))).abs() < 1e-5);
            }
        }
    }

    /// The gradient of `sum(c * sample(field))` by finite differences. The map is linear, so central
    /// differences are exact up to rounding.
    #[test]
    fn gradient_matches_finite_differences() {
        let (grid, dim) = (Grid::new(3, 4), 2);
        let points = [
            [0.1, 0.2],
            [0.5, 0.5],
            [0.93, 0.02],
            [0.51, 0.49],
            [0.3, 1.0],
        ];
        let taps = taps(points, grid);
        let mut field: Vec<f32> = (0..grid.len() * dim)
            .map(|i| ((i * 37 % 11) as f32 - 5.0) / 5.0)
            .collect();
        let c: Vec<f32> = (0..points.len() * dim)
            .map(|i| ((i * 13 % 7) as f32 - 3.0) / 3.0)
            .collect();
        let loss = |field: &[f32]| -> f64 {
            let mut out = vec![0.0; c.len()];
            sample(field, dim, &taps, &mut out);
            out.iter()
                .zip(&c)
                .map(|(&o, &c)| f64::from(o) * f64::from(c))
                .sum()
        };
        let mut gradient = vec![0.0; field.len()];
        accumulate(&c, dim, &taps, &mut gradient);
        for i in 0..field.len() {
            let (kept, step) = (field[i], 0.5);
            field[i] = kept + step;
            let above = loss(&field);
            field[i] = kept - step;
            let below = loss(&field);
            field[i] = kept;
            let numeric = (above - below) / (2.0 * f64::from(step));
            assert!(
                (numeric - f64::from(gradient[i])).abs() < 1e-6,
                "{i}: {numeric} {}",
                gradient[i]
            );
        }
    }

    #[test]
    fn taps_by_hand() {
        // In a 2 x 2 field (centres at 1/4 and 3/4) the point (1/2, 1/4) lies midway on the top row.
        let taps = taps([[0.5, 0.25]], Grid::new(2, 2));
        assert_eq!(taps.index, [[0, 1, 2, 3]]);
        assert_eq!(taps.weight, [[0.5, 0.5, 0.0, 0.0]]);
    }
}
