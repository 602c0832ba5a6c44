//! Every number of the multi-crop recipe (METHOD section 4; the paper follows DINO and DINOv2).

use serde::{Deserialize, Serialize};

use super::check::{area, expect, normalisation, probability, range, ConfigError};
use super::window::WindowConfig;
use crate::field::Normalisation;

/// The multi-crop augmentation. Defaults: the paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MultiCropConfig {
    /// Side of a patch, in pixels.
    pub patch: u32,
    /// The views that teacher and student see.
    pub globals: CropConfig,
    /// The views that only the student sees.
    pub locals: CropConfig,
    /// Range of a crop's width over height, drawn log-uniformly.
    pub aspect: [f64; 2],
    /// Probability of mirroring a view.
    pub flip: f64,
    /// Colour jitter.
    pub jitter: JitterConfig,
    /// Probability of making a view grey.
    pub grey: f64,
    /// Gaussian blur.
    pub blur: BlurConfig,
    /// Solarisation.
    pub solarise: SolariseConfig,
    /// Mean of red, green and blue, of values in `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue.
    pub std: [f32; 3],
    /// Where pictures lie in the field.
    pub window: WindowConfig,
    /// Whether the colour jitter is approximated by one affine map of red, green and blue.
    pub fast: bool,
}

impl Default for MultiCropConfig {
    fn default() -> Self {
        MultiCropConfig {
            patch: 16,
            globals: CropConfig {
                count: 2,
                size: 224,
                area: [0.32, 1.0],
            },
            locals: CropConfig {
                count: 8,
                size: 96,
                area: [0.05, 0.32],
            },
            aspect: [3.0 / 4.0, 4.0 / 3.0],
            flip: 0.5,
            jitter: JitterConfig::default(),
            grey: 0.2,
            blur: BlurConfig::default(),
            solarise: SolariseConfig::default(),
            mean: Normalisation::IMAGENET.mean,
            std: Normalisation::IMAGENET.std,
            window: WindowConfig::default(),
            fast: false,
        }
    }
}

/// Number, size and extent of a kind of crop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CropConfig {
    /// How many of them an image gives.
    pub count: usize,
    /// Side, in pixels, a multiple of the patch.
    pub size: u32,
    /// Range of the crop's share of the picture's area.
    pub area: [f64; 2],
}

/// Colour jitter: four adjustments in random order, each by a uniformly drawn amount.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JitterConfig {
    /// Probability of jittering a view.
    pub probability: f64,
    /// Brightness is multiplied by a factor from `1 - b` (not below 0) to `1 + b`.
    pub brightness: f64,
    /// Contrast likewise.
    pub contrast: f64,
    /// Saturation likewise.
    pub saturation: f64,
    /// Hue is turned by `-h` to `h` of a full turn, at most 0.5.
    pub hue: f64,
}

impl Default for JitterConfig {
    fn default() -> Self {
        JitterConfig {
            probability: 0.8,
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.2,
            hue: 0.1,
        }
    }
}

impl JitterConfig {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        probability("jitter.probability", self.probability)?;
        for (key, strength) in [
            ("jitter.brightness", self.brightness),
            ("jitter.contrast", self.contrast),
            ("jitter.saturation", self.saturation),
        ] {
            expect(
                (0.0..=10.0).contains(&strength),
                key,
                strength,
                "a strength from 0 to 10",
            )?;
        }
        expect(
            (0.0..=0.5).contains(&self.hue),
            "jitter.hue",
            self.hue,
            "a part of a turn from 0 to 0.5",
        )
    }
}

/// Gaussian blur, sigma in pixels of the resized view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlurConfig {
    /// Range of sigma.
    pub sigma: [f64; 2],
    /// Taps of the kernel, odd, from 1 to 13; smaller than twice the smallest view.
    pub kernel: usize,
    /// Probability for the first global view.
    pub first_global: f64,
    /// Probability for the other global views.
    pub other_globals: f64,
    /// Probability for local views.
    pub locals: f64,
}

impl Default for BlurConfig {
    fn default() -> Self {
        BlurConfig {
            sigma: [0.1, 2.0],
            kernel: 9,
            first_global: 1.0,
            other_globals: 0.1,
            locals: 0.5,
        }
    }
}

/// Solarisation: channel values from the threshold on are inverted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SolariseConfig {
    /// Threshold, of 0 to 255.
    pub threshold: f64,
    /// Probability for the first global view.
    pub first_global: f64,
    /// Probability for the other global views.
    pub other_globals: f64,
    /// Probability for local views.
    pub locals: f64,
}

impl Default for SolariseConfig {
    fn default() -> Self {
        SolariseConfig {
            threshold: 128.0,
            first_global: 0.0,
            other_globals: 0.2,
            locals: 0.0,
        }
    }
}

impl MultiCropConfig {
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
            (1..=64).contains(&self.globals.count),
            "globals.count",
            self.globals.count,
            "1 to 64 views",
        )?;
        expect(
            self.locals.count <= 64,
            "locals.count",
            self.locals.count,
            "0 to 64 views",
        )?;
        for (kind, crop) in [("globals", &self.globals), ("locals", &self.locals)] {
            expect(
                (self.patch..=4096).contains(&crop.size) && crop.size.is_multiple_of(self.patch),
                &format!("{kind}.size"),
                crop.size,
                format!("a multiple of patch = {}, at most 4096", self.patch),
            )?;
            expect(
                crop.size as usize > self.blur.kernel / 2,
                &format!("{kind}.size"),
                crop.size,
                format!("more than half of blur.kernel = {}", self.blur.kernel),
            )?;
            area(&format!("{kind}.area"), crop.area)?;
        }
        range("aspect", self.aspect, 0.01, 100.0)?;
        probability("flip", self.flip)?;
        self.jitter.validate()?;
        probability("grey", self.grey)?;
        range("blur.sigma", self.blur.sigma, 0.01, 10.0)?;
        let kernel = self.blur.kernel;
        expect(
            kernel % 2 == 1 && kernel <= intertwine_kernels::photometric::MAX_TAPS,
            "blur.kernel",
            kernel,
            "an odd number from 1 to 13",
        )?;
        probability("blur.first_global", self.blur.first_global)?;
        probability("blur.other_globals", self.blur.other_globals)?;
        probability("blur.locals", self.blur.locals)?;
        let threshold = self.solarise.threshold;
        expect(
            (0.0..=256.0).contains(&threshold),
            "solarise.threshold",
            threshold,
            "0 to 256",
        )?;
        probability("solarise.first_global", self.solarise.first_global)?;
        probability("solarise.other_globals", self.solarise.other_globals)?;
        probability("solarise.locals", self.solarise.locals)?;
        normalisation(self.mean, self.std)?;
        self.window.distribution().map(drop)
    }

    /// How views are normalised.
    pub fn normalisation(&self) -> Normalisation {
        Normalisation {
            mean: self.mean,
            std: self.std,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_survives_toml_and_names_unknown_keys() {
        let config = MultiCropConfig::default();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<MultiCropConfig>(&text).unwrap(), config);
        let error = toml::from_str::<MultiCropConfig>("[window]\nscael = \"beta\"").unwrap_err();
        assert!(error.to_string().contains("scael"), "{error}");
    }

    #[test]
    fn impossible_values_name_their_key() {
        type Change = fn(&mut MultiCropConfig);
        let cases: [(&str, Change); 12] = [
            ("patch", |c| c.patch = 0),
            ("globals.count", |c| c.globals.count = 0),
            ("locals.size", |c| c.locals.size = 100),
            ("globals.area", |c| c.globals.area = [0.5, 0.4]),
            ("aspect", |c| c.aspect = [f64::NAN, 1.0]),
            ("flip", |c| c.flip = 1.5),
            ("jitter.hue", |c| c.jitter.hue = 0.6),
            ("blur.kernel", |c| c.blur.kernel = 8),
            ("blur.sigma", |c| c.blur.sigma = [0.0, 2.0]),
            ("solarise.threshold", |c| c.solarise.threshold = -1.0),
            ("std", |c| c.std[1] = 0.0),
            ("window.min", |c| c.window.min = 0.0),
        ];
        for (key, change) in cases {
            let mut config = MultiCropConfig::default();
            change(&mut config);
            let error = config.validate().unwrap_err();
            assert_eq!(error.key, key, "{error}");
        }
        MultiCropConfig::default().validate().unwrap();
    }
}
