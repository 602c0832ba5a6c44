//! A few pictures as the encoder sees them: each above its patch features as colours, and these above what CLS attends
//! to.

use image::imageops::{self, FilterType};
use image::RgbImage;
use intertwine_datasets::{DatasetError, Mix, Scratch};

use super::encoder::{Encoder, Shown};
use super::{grid, window, Drawn, Options, ProbeError};
use crate::report::pictures::{contact_sheet, heat_map, pca_rgb, FeatureMap};

/// How many pictures.
const PICTURES: usize = 6;
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
        let chosen = Drawn::Shelf.choose(seed, 0, PICTURES, pictures.len());
        let mut scratch = Scratch::default();
        let read = |record| {
            let (set, record) = pictures.locate(record);
            let mut image = RgbImage::default();
            set.read_image_into(record, &mut image, &mut scratch)?;
            Ok(image)
        };
        chosen
            .into_iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// What an encoder makes of them, a column a picture: the picture, its patch features as the colours of their
    /// principal components, and its CLS token's attention in the last block. Of the options, the size and the window
    /// count.
    ///
    /// # Errors
    /// If the encoder cannot see pictures so.
    pub fn draw(&self, encoder: &Encoder, options: &Options) -> Result<RgbImage, ProbeError> {
        let (grid, window) = (grid(encoder, options)?, window(encoder, options)?);
        let (patches, width) = (grid * grid, encoder.width());
        let shown = self.0.iter().map(|picture| Shown {
            picture,
            window,
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
