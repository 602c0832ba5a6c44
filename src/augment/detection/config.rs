//! Every number of the augmentation of labelled pictures.

use crate::augment::check::{expect, normalisation, probability, range, scale};
use crate::augment::{ConfigError, JitterConfig};
use crate::field::Normalisation;
use serde::{Deserialize, Serialize};

/// The augmentation of labelled pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectionAugmentConfig {
    /// Side of the square that the network takes, in pixels, a multiple of `patch`.
    pub size: u32,
    /// Side of a patch, in pixels.
    pub patch: u32,
    /// Pixels of the square that a mask pixel covers, a divisor of `size`.
    pub mask_stride: u32,
    /// Range of the factor on the size at which the picture fills the square, drawn uniformly.
    pub scale: [f64; 2],
    /// The natural logarithm of the factor on the picture's aspect is drawn from plus or minus this.
    pub aspect: f64,
    /// Probability of mirroring the picture.
    pub flip: f64,
    /// Colour jitter.
    pub jitter: JitterConfig,
    /// Probability of making the picture grey.
    pub grey: f64,
    /// Probability of showing four pictures as one mosaic.
    pub mosaic: f64,
    /// Probability of pasting objects of another picture, each with a probability of 1/2, on top. Only objects
    /// with a mask can be.
    pub copy_paste: f64,
    /// The share of a box's area that must remain in the crop for the object to be kept.
    pub min_visible: f64,
    /// The colour of the padding.
    pub padding: [u8; 3],
    /// Side of the centred window of the field in which the letterboxed picture lies.
    pub window: f64,
    /// Mean of red, green and blue, of values in `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue.
    pub std: [f32; 3],
}

impl Default for DetectionAugmentConfig {
    fn default() -> Self {
        DetectionAugmentConfig {
            size: 384,
            patch: 16,
            mask_stride: 4,
            scale: [0.8, 1.6],
            aspect: 0.2,
            flip: 0.5,
            jitter: JitterConfig {
                probability: 0.5,
                ..JitterConfig::default()
            },
            grey: 0.05,
            mosaic: 0.0,
            copy_paste: 0.0,
            min_visible: 0.3,
            padding: [114; 3],
            window: 0.35,
            mean: Normalisation::IMAGENET.mean,
            std: Normalisation::IMAGENET.std,
        }
    }
}

impl DetectionAugmentConfig {
    /// The same square without anything random: the letterboxed picture, as in evaluation.
    #[must_use]
    pub fn plain(self) -> Self {
        let jitter = JitterConfig {
            probability: 0.0,
            ..self.jitter
        };
        DetectionAugmentConfig {
            scale: [1.0, 1.0],
            aspect: 0.0,
            flip: 0.0,
            jitter,
            grey: 0.0,
            mosaic: 0.0,
            copy_paste: 0.0,
            ..self
        }
    }

    /// Side of a mask, in mask pixels.
    pub fn mask_size(&self) -> u32 {
        self.size / self.mask_stride
    }

    /// Checks every value.
    ///
    /// # Errors
    /// Names the first key whose value cannot be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        expect(
            (1..=256).contains(&self.patch),
            "patch",
            self.patch,
            "a side from 1 to 256 pixels",
        )?;
        expect(
            (self.patch..=8192).contains(&self.size) && self.size.is_multiple_of(self.patch),
            "size",
            self.size,
            format!("a multiple of patch = {}, at most 8192", self.patch),
        )?;
        expect(
            self.mask_stride > 0 && self.size.is_multiple_of(self.mask_stride),
            "mask_stride",
            self.mask_stride,
            format!("a divisor of size = {}", self.size),
        )?;
        range("scale", self.scale, 0.05, 20.0)?;
        expect(
            (0.0..=2.0).contains(&self.aspect),
            "aspect",
            self.aspect,
            "a logarithm from 0 to 2",
        )?;
        probability("flip", self.flip)?;
        self.jitter.validate()?;
        probability("grey", self.grey)?;
        probability("mosaic", self.mosaic)?;
        probability("copy_paste", self.copy_paste)?;
        probability("min_visible", self.min_visible)?;
        scale("window", self.window)?;
        normalisation(self.mean, self.std)
    }
}
