//! How positions are encoded, and those of whole pictures, as fine-tuning and the export need them.

use super::arch::Arch;
use super::vit::{Positions, Vit, VitConfig};
use super::Backend;
use crate::field::{sample, sincos, taps, Geometry, Grid, Taps, Window};

/// How positions are encoded (METHOD section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Read from a learned field of so many cells on a side.
    Learned(usize),
    /// The sine-cosine of a place in the field, in cells of a field of so many on a side.
    Fixed(usize),
    /// The sine-cosine of a patch's place in its view, which is so many cells wide and high, whatever its size;
    /// 0: as many as the largest view has patches.
    View(usize),
}

impl Encoding {
    /// That of an encoder.
    pub fn of(config: &VitConfig) -> Self {
        match (config.field, config.field_learned) {
            (0, _) => Self::View(config.view),
            (side, true) => Self::Learned(side),
            (side, false) => Self::Fixed(side),
        }
    }
    /// Cells on a side of a learned field.
    pub fn learned(self) -> Option<usize> {
        match self {
            Self::Learned(side) => Some(side),
            Self::Fixed(_) | Self::View(_) => None,
        }
    }
    /// Whether a picture lies in a window of a field.
    pub fn is_field(self) -> bool {
        !matches!(self, Self::View(_))
    }
    /// Appends the encodings of the patches of a view, `[patches, width]`, of an encoding that is not learned. `largest` is
    /// the grid of the largest view.
    ///
    /// # Panics
    /// If the encoding is learned.
    pub fn append(
        self,
        geometry: Geometry,
        grid: Grid,
        largest: Grid,
        width: usize,
        out: &mut Vec<f32>,
    ) {
        let start = out.len();
        out.resize(start + grid.len() * width, 0.0);
        let out = &mut out[start..];
        match self {
            Self::Learned(_) => panic!("a learned field has no values of its own"),
            Self::Fixed(side) => {
                let cells = (side as f32, side as f32);
                sincos::encode(geometry.positions(grid), cells, width, out);
            }
            Self::View(cells) => {
                let own = Geometry::whole(Window::WHOLE).positions(grid);
                let cells = match cells {
                    0 => (largest.height as f32, largest.width as f32),
                    _ => (cells as f32, cells as f32),
                };
                sincos::encode(own, cells, width, out);
            }
        }
    }
}

/// The positions of the patches of one or more pictures that each lie whole in a centred window of the field.
#[derive(Clone, Debug)]
pub enum WholePicture {
    /// Where to read a learnt field.
    Field(Taps),
    /// `[patches, width]` sine-cosine values.
    Fixed(Vec<f32>),
}

impl WholePicture {
    /// For `grid x grid` patches; `window` is the side of the centred window, as a share of the field.
    pub fn new<A: Arch, D: Backend>(vit: &Vit<A, D>, grid: usize, window: f64) -> Self {
        let grid = Grid::new(grid, grid);
        let whole = Geometry::whole(Window::centred(window));
        match vit.encoding.learned() {
            Some(side) => Self::Field(taps(whole.positions(grid), Grid::new(side, side))),
            None => {
                let mut values = Vec::new();
                vit.encoding
                    .append(whole, grid, grid, A::WIDTH, &mut values);
                Self::Fixed(values)
            }
        }
    }
    /// The same for `pictures` pictures, one after another.
    pub fn repeat(&self, pictures: usize) -> Self {
        match self {
            Self::Field(taps) => Self::Field(Taps {
                index: taps.index.repeat(pictures),
                weight: taps.weight.repeat(pictures),
            }),
            Self::Fixed(values) => Self::Fixed(values.repeat(pictures)),
        }
    }
    /// What the encoder takes.
    pub fn view(&self) -> Positions<'_> {
        match self {
            Self::Field(taps) => Positions::Field(taps),
            Self::Fixed(values) => Positions::Fixed(values),
        }
    }
    /// `[patches, width]`: the encodings themselves, read from `field` (`[side * side, width]`) where it is learnt.
    pub fn bake(&self, field: &[f32], width: usize) -> Vec<f32> {
        match self {
            Self::Fixed(values) => values.clone(),
            Self::Field(taps) => {
                let mut out = vec![0.0; taps.index.len() * width];
                sample(field, width, taps, &mut out);
                out
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Rect;

    fn values(encoding: Encoding, geometry: Geometry, grid: Grid) -> Vec<f32> {
        let mut out = Vec::new();
        encoding.append(geometry, grid, Grid::new(4, 4), 4, &mut out);
        out
    }

    /// At width 4 the encoding is `[sin x, cos x, sin y, cos y]` of the place in cells.
    fn sines(x: f32, y: f32) -> [f32; 4] {
        [x.sin(), x.cos(), y.sin(), y.cos()]
    }

    #[test]
    fn a_fixed_field_is_cropped_with_the_picture_and_a_views_own_positions_are_not() {
        // The right half of a picture that lies in the window [0.2, 0.7]^2, mirrored, as 1 x 2 patches: they lie at
        // x = 0.2 + 0.875 / 2 and 0.2 + 0.625 / 2, y = 0.45 of the field, of 8 cells.
        let geometry = Geometry {
            rect: Rect {
                x: 0.5,
                y: 0.0,
                w: 0.5,
                h: 1.0,
            },
            flip: true,
            window: Window {
                x: 0.2,
                y: 0.2,
                scale: 0.5,
            },
        };
        let grid = Grid::new(1, 2);
        let close = |found: &[f32], expected: [[f32; 4]; 2]| {
            let pairs = found.iter().zip(expected.as_flattened());
            assert!(
                pairs.clone().count() == 8 && pairs.clone().all(|(a, b)| (a - b).abs() < 1e-5),
                "{found:?}"
            );
        };
        let place = |x: f32| 8.0 * x - 0.5;
        close(
            &values(Encoding::Fixed(8), geometry, grid),
            [0.6375, 0.5125].map(|x| sines(place(x), place(0.45))),
        );
        // In the view itself: a quarter and three quarters of the largest view's 4 patches, or of 8 cells.
        close(
            &values(Encoding::View(0), geometry, grid),
            [0.5, 2.5].map(|x| sines(x, 1.5)),
        );
        close(
            &values(Encoding::View(8), geometry, grid),
            [1.5, 5.5].map(|x| sines(x, 3.5)),
        );
    }

    /// Either its patches lie as those of the pretraining's views did, or its corners.
    #[test]
    fn a_picture_of_more_patches_is_as_wide_as_is_said() {
        let whole = Geometry::whole(Window::WHOLE);
        let corner = |grid: usize, encoding: Encoding| {
            let square = Grid::new(grid, grid);
            let mut out = Vec::new();
            encoding.append(whole, square, square, 4, &mut out);
            let last: [f32; 4] = out[out.len() - 4..].try_into().unwrap();
            last
        };
        let close = |a: [f32; 4], b: [f32; 4]| {
            assert!(
                a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5),
                "{a:?}, not {b:?}"
            );
        };
        close(corner(6, Encoding::View(6)), sines(5.0, 5.0));
        close(corner(12, Encoding::View(6)), sines(5.25, 5.25));
        // By its own patches.
        close(corner(12, Encoding::View(0)), sines(11.0, 11.0));
    }

    #[test]
    fn a_learned_field_starts_as_the_fixed_one() {
        let (side, whole) = (4, Geometry::whole(Window::WHOLE));
        let square = Grid::new(side, side);
        let fixed = values(Encoding::Fixed(side), whole, square);
        let field = sincos::field(square, (4.0, 4.0), 4);
        let mut learned = vec![0.0; fixed.len()];
        sample(
            &field,
            4,
            &taps(whole.positions(square), square),
            &mut learned,
        );
        assert!(fixed
            .iter()
            .zip(&learned)
            .all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
