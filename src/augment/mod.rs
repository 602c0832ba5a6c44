//! Random views of pictures, for pretraining and for fine-tuning.
//!
//! Randomness and pixels are kept apart: a *plan* (what crop, which colours) is drawn from the
//! picture's size and its random stream alone, then rendered by the kernels `resize` and `photometric`.
//!
//! *Exact* means: the crop is resized to bytes, as Pillow and torchvision (on bytes) do; from there on the
//! formulas are those of torchvision on floats, without rounding between them, up to the rounding of f32.
//! None of this touches the field.
//!
//! # Layout
//! - `config`: every number of the multi-crop recipe, with its limits; `check`: what a value outside them is told as
//! - `window`: where a picture lies in the field
//! - `random_crop`: the box of torchvision's `RandomResizedCrop`
//! - `colour`: brightness, contrast, saturation, hue and grey, drawn
//! - `multi_crop`: global and local views of an unlabelled picture
//! - [`mask`]: what the student does not see of a view
//! - [`detection`]: labelled pictures

pub(crate) mod check;
mod colour;
mod config;
pub mod detection;
#[cfg(test)]
pub(crate) mod expected;
pub mod mask;
mod multi_crop;
mod random_crop;
#[cfg(test)]
mod tests;
mod window;

pub use check::ConfigError;
pub use colour::{Adjustment, ColourPlan};
pub use config::{BlurConfig, CropConfig, JitterConfig, MultiCropConfig, SolariseConfig};
pub use multi_crop::{MultiCrop, Scratch, ViewPlan, Views};
pub use random_crop::RandomCrop;
pub use window::{WindowConfig, WindowRatio, WindowScale};

/// Why a picture could not be augmented.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AugmentError {
    /// The picture has no pixel, or more than the arithmetic of crops allows.
    #[error("the picture has {width} x {height} pixels, expected 1 to 65,535 on each side")]
    PictureSize {
        /// Width found, in pixels.
        width: u32,
        /// Height found, in pixels.
        height: u32,
    },
    /// A mask is not of its picture's size.
    #[error("a mask has {} x {} pixels, its picture {} x {} (width x height)", found.0, found.1, expected.0, expected.1)]
    MaskSize {
        /// Width and height of the mask.
        found: (u32, u32),
        /// Width and height of the picture.
        expected: (u32, u32),
    },
}

/// The longest side a picture may have, in pixels.
const MAX_SIDE: u32 = 65_535;

/// Refuses pictures that no crop can be drawn from.
fn check_size(picture: &image::RgbImage) -> Result<(u32, u32), AugmentError> {
    let (width, height) = picture.dimensions();
    if (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height) {
        Ok((width, height))
    } else {
        Err(AugmentError::PictureSize { width, height })
    }
}
