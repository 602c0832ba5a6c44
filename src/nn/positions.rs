//! The positions of whole pictures, as fine-tuning and the export need them.

use super::arch::Arch;
use super::vit::{Positions, Vit};
use super::Backend;
use crate::field::{sample, sincos, taps, Geometry, Grid, Taps, Window};

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
        match vit.field_side() {
            Some(side) => {
                let whole = Geometry::whole(Window::centred(window)).positions(grid);
                Self::Field(taps(whole, Grid::new(side, side)))
            }
            None => {
                let mut values = vec![0.0; grid.len() * A::WIDTH];
                let own = Geometry::whole(Window::WHOLE).positions(grid);
                let cells = (grid.height as f32, grid.width as f32);
                sincos::encode(own, cells, A::WIDTH, &mut values);
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
