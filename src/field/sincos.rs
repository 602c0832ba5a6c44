//! The two-dimensional sine-cosine encoding of Vaswani et al. (2017), as MoCo v3 and MAE lay it out.
//!
//! A vector of `dim` values is `[sin x | cos x | sin y | cos y]`, a quarter each: the first half
//! encodes x, the second y. In a quarter, value `k` turns at `10000^(-k / (dim / 4))` radians a cell.

use std::collections::HashMap;

use super::{Geometry, Grid, Window};

/// The slowest wave takes `2 pi * 10,000` cells.
const TEMPERATURE: f64 = 10_000.0;

/// Encodes `positions`, points `(x, y)` of a unit square, into `out`, `dim` values each.
///
/// `cells` is the unit: how many cells (rows, columns) the unit square counts. A point at the centre
/// of cell `c` has the coordinate `c`, as in the usual encoding of a patch grid, and points between
/// centres have fractional ones. Positions in the *view's* square take the view's patch grid;
/// positions in the *field's* take the number of patches that the whole field would count.
///
/// # Panics
/// If `dim` is not a positive multiple of 4, or `out` does not hold `dim` values a position.
pub fn encode(
    positions: impl ExactSizeIterator<Item = [f32; 2]>,
    cells: (f32, f32),
    dim: usize,
    out: &mut [f32],
) {
    assert!(
        dim > 0 && dim.is_multiple_of(4),
        "the width {dim} is not a positive multiple of 4"
    );
    assert_eq!(
        out.len(),
        positions.len() * dim,
        "out holds one vector a position"
    );
    let quarter = dim / 4;
    let frequency: Vec<f64> = (0..quarter)
        .map(|k| TEMPERATURE.powf(-(k as f64) / quarter as f64))
        .collect();
    // Patches of a view share their columns and rows: where each was encoded first.
    let mut known = [HashMap::new(), HashMap::new()];
    let half = 2 * quarter;
    for (i, [x, y]) in positions.enumerate() {
        let coordinates = [f64::from(x * cells.1) - 0.5, f64::from(y * cells.0) - 0.5];
        for (axis, (coordinate, known)) in coordinates.into_iter().zip(&mut known).enumerate() {
            let at = i * dim + axis * half;
            let first = *known.entry(coordinate.to_bits()).or_insert(at);
            if first < at {
                out.copy_within(first..first + half, at);
                continue;
            }
            let (sines, cosines) = out[at..at + half].split_at_mut(quarter);
            for ((sine, cosine), &f) in sines.iter_mut().zip(cosines).zip(&frequency) {
                let (s, c) = (coordinate * f).sin_cos();
                (*sine, *cosine) = (s as f32, c as f32);
            }
        }
    }
}

/// The encoding at the cell centres of a whole field: `field.len() x dim` values, the initial value
/// of a learned field. `cells` is the unit, as in [`encode`].
///
/// # Panics
/// If `dim` is not a positive multiple of 4.
pub fn field(field: Grid, cells: (f32, f32), dim: usize) -> Vec<f32> {
    let mut out = vec![0.0; field.len() * dim];
    encode(
        Geometry::whole(Window::WHOLE).positions(field),
        cells,
        dim,
        &mut out,
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `get_2d_sincos_pos_embed(8, (2, 3))` of MAE (x first, omega = 10000^(-k/2)), computed with
    /// NumPy: tests/peers/augment_expected.py.
    #[test]
    fn matches_mae() {
        let expected: [[f32; 8]; 6] = crate::augment::expected::SINCOS_2X3_DIM8;
        let ours = field(Grid::new(2, 3), (2.0, 3.0), 8);
        for (a, b) in ours.iter().zip(expected.as_flattened()) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }

    /// On a grid and off it, each position is encoded as it is alone.
    #[test]
    fn positions_that_share_a_coordinate_are_encoded_alike() {
        let positions = [[0.1, 0.2], [0.7, 0.2], [0.1, 0.9], [0.7, 0.9], [0.2, 0.1]];
        let encoded = |positions: &[[f32; 2]]| {
            let mut out = vec![f32::NAN; 12 * positions.len()];
            encode(positions.iter().copied(), (3.0, 5.0), 12, &mut out);
            out
        };
        let alone = positions.map(|position| encoded(&[position])).concat();
        assert_eq!(encoded(&positions), alone);
    }

    #[test]
    fn fractional_cells_lie_between() {
        // At dim 4 the encoding is [sin x, cos x, sin y, cos y] of the coordinate in cells.
        let mut out = [0.0; 4];
        encode([[0.5, 0.25]].into_iter(), (4.0, 8.0), 4, &mut out);
        let (x, y) = (0.5f32 * 8.0 - 0.5, 0.25f32 * 4.0 - 0.5);
        assert_eq!(out, [x.sin(), x.cos(), y.sin(), y.cos()]);
    }
}
