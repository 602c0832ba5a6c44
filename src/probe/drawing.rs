//! A few pictures as the encoder sees them: each above its patch features as colours, and these above what CLS attends
//! to.

use image::imageops::{self, FilterType};
use image::RgbImage;
use intertwine_datasets::{DatasetError, Mix, Permutation, Scratch};

use super::encoder::{Encoder, Shown};
use super::{grid, Options, ProbeError};
use crate::field::Window;
use crate::report::pictures::{contact_sheet, heat_map, pca_rgb, FeatureMap};

/// How many pictures.
const PICTURES: u64 = 6;
/// A picture is drawn at least this wide.
const LEAST_SIDE: u32 = 128;

/// A few pictures, to be drawn as one encoder after another sees them.
#[derive(Clone, Debug)]
pub struct Shelf(Vec<RgbImage>);

impl Shelf {
    /// Some pictures of several, chosen by the seed.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn read(pictures: &Mix, seed: u64) -> Result<Self, DatasetError> {
        let len = pictures.len() as u64;
        let order = Permutation::new(len, seed, 0, 0);
        let mut scratch = Scratch::default();
        let read = |i| {
            let (set, record) = pictures.locate(order.get(i) as usize);
            let mut image = RgbImage::default();
            set.read_image_into(record, &mut image, &mut scratch)?;
            Ok(image)
        };
        (0..PICTURES.min(len))
            .map(read)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// What an encoder makes of them, a column a picture: the picture, its patch features as the colours of their
    /// principal components, and its CLS token's attention in the last block. Of the options, the size and the window
    /// count.
    ///
    /// # Errors
    /// If the encoder knows no positions of such pictures.
    pub fn draw(&self, encoder: &Encoder, options: &Options) -> Result<RgbImage, ProbeError> {
        let grid = grid(encoder, options)?;
        let (patches, width) = (grid * grid, encoder.width());
        let shown = self.0.iter().map(|picture| Shown {
            picture,
            window: Window::centred(options.window),
            masked: Vec::new(),
        });
        let look = encoder.look(&Vec::from_iter(shown), grid);
        let features = look.tokens.chunks_exact((patches + 1) * width);
        let maps: Vec<FeatureMap<'_>> = features
            .map(|tokens| FeatureMap {
                features: &tokens[width..],
                rows: grid,
                columns: grid,
            })
            .collect();
        let patch = LEAST_SIDE.div_ceil(grid as u32);
        let side = patch * grid as u32;
        let mut cells: Vec<RgbImage> = self
            .0
            .iter()
            .map(|picture| imageops::resize(picture, side, side, FilterType::CatmullRom))
            .collect();
        let attention = look.attention.chunks_exact(patches);
        let heat: Vec<_> = cells
            .iter()
            .zip(attention)
            .map(|(picture, attention)| heat_map(picture, attention, grid))
            .collect();
        cells.extend(pca_rgb(&maps, width, patch));
        cells.extend(heat);
        Ok(contact_sheet(&cells, self.0.len()))
    }
}
