//! Maps in tiles of 2 x 2 locations.

use super::ELEMENTS;
use crate::conv::Shape;

/// Maps cut into tiles.
pub(super) struct Tiles {
    pub(super) shape: Shape,
    /// Of a map.
    pub(super) lines: usize,
    /// Of a line.
    pub(super) columns: usize,
}

impl Tiles {
    pub(super) fn of(shape: &Shape) -> Self {
        Self {
            shape: *shape,
            lines: shape.height.div_ceil(2),
            columns: shape.width.div_ceil(2),
        }
    }

    /// Lines of all maps, and the way in which they are counted.
    pub(super) fn all_lines(&self) -> usize {
        self.shape.batch * self.lines
    }

    /// The first row of `y` that belongs to a line of tiles, lines being counted through all maps, and its height: 1 at
    /// the lower border of a map of odd height.
    pub(super) fn rows(&self, line: usize) -> (usize, usize) {
        let (map, line) = (line / self.lines, line % self.lines);
        let Shape { height, width, .. } = self.shape;
        (
            (map * height + 2 * line) * width,
            (height - 2 * line).min(2),
        )
    }

    /// The 4 x 4 locations that a tile comes from.
    pub(super) fn neighbourhood<'a>(
        &self,
        x: &'a [f32],
        line: usize,
        column: usize,
        zeros: &'a [f32],
    ) -> [&'a [f32]; ELEMENTS] {
        let Shape {
            height, width, inp, ..
        } = self.shape;
        let (map, line) = (line / self.lines, line % self.lines);
        std::array::from_fn(|at| {
            // One beyond the location, so that the border above and at the left is 0.
            let (y, x_at) = (2 * line + at / 4, 2 * column + at % 4);
            if (1..=height).contains(&y) && (1..=width).contains(&x_at) {
                &x[((map * height + y - 1) * width + x_at - 1) * inp..][..inp]
            } else {
                zeros
            }
        })
    }
    /// The 2 x 2 locations that a tile becomes, of a map of `channels`.
    pub(super) fn locations<'a>(
        &self,
        y: &'a [f32],
        channels: usize,
        line: usize,
        column: usize,
        zeros: &'a [f32],
    ) -> [&'a [f32]; 4] {
        let (first, height) = self.rows(line);
        let width = self.shape.width;
        std::array::from_fn(|at| {
            let (y_at, x_at) = (at / 2, 2 * column + at % 2);
            if y_at < height && x_at < width {
                &y[(first + y_at * width + x_at) * channels..][..channels]
            } else {
                zeros
            }
        })
    }
}
