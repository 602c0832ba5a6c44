//! What the network takes.

use super::Located;
use crate::field::geometry::{Geometry, Grid, Window};
use crate::field::taps::Taps;
use image::RgbImage;

/// What the network takes: the patches of a view, and where it lies.
pub type View = Located<Patches>;

/// Affine normalisation of the channels: `(v - mean) / std` of values in `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// Mean of red, green, blue.
    pub mean: [f32; 3],
    /// Standard deviation of red, green, blue, positive.
    pub std: [f32; 3],
}

impl Normalisation {
    /// The statistics of ImageNet's training pictures, as torchvision's and timm's models use them.
    pub const IMAGENET: Normalisation = Normalisation {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };
}

/// The patches of a view, normalised, as the patch embedding takes them: a row per patch in raster
/// order, `3 * patch * patch` columns in (channel, y, x) order, which is that of a `Conv2d` weight
/// flattened.
#[derive(Clone, Debug)]
pub struct Patches {
    values: Vec<f32>,
    grid: Grid,
    patch: usize,
    normalisation: Normalisation,
}

impl Default for View {
    /// A view of no patches, to be overwritten by [`Located::cut`].
    fn default() -> Self {
        let patches = Patches {
            values: Vec::new(),
            grid: Grid::new(0, 0),
            patch: 1,
            normalisation: Normalisation::IMAGENET,
        };
        Located {
            pixels: patches,
            geometry: Geometry::whole(Window::WHOLE),
        }
    }
}

impl View {
    /// Makes this a view of `width` x `height` pixels that lie at `geometry`, whose values are to be written.
    pub(super) fn overwrite(
        &mut self,
        (width, height): (usize, usize),
        patch: usize,
        normalisation: Normalisation,
        geometry: Geometry,
    ) -> &mut [f32] {
        self.geometry = geometry;
        let pixels = &mut self.pixels;
        pixels.grid = Grid::new(height / patch, width / patch);
        (pixels.patch, pixels.normalisation) = (patch, normalisation);
        pixels.values.resize(3 * width * height, 0.0);
        &mut pixels.values
    }

    /// The patches: `grid().len()` rows of `3 * patch * patch` values.
    pub fn patches(&self) -> &[f32] {
        &self.pixels.values
    }

    /// The patches alone, to move them into a tensor.
    pub fn into_patches(self) -> Vec<f32> {
        self.pixels.values
    }

    /// Rows and columns of patches.
    pub fn grid(&self) -> Grid {
        self.pixels.grid
    }

    /// Side of a patch in pixels.
    pub fn patch(&self) -> usize {
        self.pixels.patch
    }

    /// Appends the taps of the patches in a learned field of `field` cells.
    pub fn taps(&self, field: Grid, taps: &mut Taps) {
        taps.extend(self.geometry.positions(self.pixels.grid), field);
    }

    /// The view as a picture, the normalisation undone, for people to look at.
    pub fn to_rgb(&self) -> RgbImage {
        let Patches {
            values,
            grid,
            patch,
            normalisation,
        } = &self.pixels;
        let (width, height) = (grid.width * patch, grid.height * patch);
        RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let (x, y) = (x as usize, y as usize);
            let row = y / patch * grid.width + x / patch;
            image::Rgb([0, 1, 2].map(|channel| {
                let value = values[((row * 3 + channel) * patch + y % patch) * patch + x % patch];
                ((value * normalisation.std[channel] + normalisation.mean[channel]) * 255.0).round()
                    as u8
            }))
        })
    }
}
