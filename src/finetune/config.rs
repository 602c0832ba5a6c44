//! Everything a fine-tuning run can be told.

use serde::{Deserialize, Serialize};

use super::assign::AssignConfig;
use super::error::FinetuneError;
use super::loss::LossWeights;
use crate::augment::detection::DetectionAugmentConfig;
use crate::augment::JitterConfig;
use crate::config::{not_negative, positive, require, share, ConfigError, Presets, Validate};
use crate::export::DetectorSpec;
use crate::field::Normalisation;
use crate::nn::arch::Arch;
use crate::nn::autocast;
use crate::nn::vit::VitConfig;
use crate::run::RunConfig;

/// The presets, the default first.
pub const PRESETS: Presets = Presets {
    complete: &[
        ("pico", include_str!("presets/pico.toml")),
        ("demo", include_str!("presets/demo.toml")),
        ("tiny", include_str!("presets/tiny.toml")),
    ],
    variants: &[],
    keys: include_str!("presets/keys.toml"),
};

/// A fine-tuning run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinetuneConfig {
    /// Everything random follows from it.
    pub seed: u64,
    /// Of matrix products.
    pub precision: autocast::Choice,
    /// The encoder, when none is given.
    pub model: VitConfig,
    /// What is put on the encoder.
    pub detector: DetectorConfig,
    /// The labelled pictures and how they vary.
    pub data: DataConfig,
    /// Which anchors answer for an object.
    #[serde(default)]
    pub assign: AssignConfig,
    /// Weights of the loss.
    pub loss: LossWeights,
    /// How it learns.
    pub optim: OptimConfig,
    /// How it is watched.
    #[serde(default)]
    pub watch: WatchConfig,
    /// Bookkeeping.
    pub run: RunConfig,
}

/// How a run is watched while it learns. Nothing of what is learnt depends on it. By default, as in a run that is older than
/// these keys, not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchConfig {
    /// How often the detector is evaluated on the way, evenly spread, where there are pictures to evaluate on. At the end it
    /// is in any case.
    pub evaluations: u64,
}

impl WatchConfig {
    /// Whether to evaluate when so many of so many steps are done.
    pub(super) fn is_due(&self, step: u64, steps: u64) -> bool {
        let before = |step: u64| {
            u128::from(step) * u128::from(self.evaluations.saturating_add(1)) / u128::from(steps)
        };
        (1..steps).contains(&step) && before(step) > before(step - 1)
    }
}

/// What is put on the encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorConfig {
    /// Side of the square input in pixels.
    pub size: usize,
    /// Channels of pyramid and head.
    pub channels: usize,
    /// 3x3 convolutions of each of the head's towers.
    pub tower_convs: usize,
    /// Mask prototypes, when the data have masks.
    pub prototypes: usize,
    /// Whether there is a level of half the patches' stride, for objects smaller than a patch.
    pub fine: bool,
}

/// The labelled pictures and how they vary; see [`DetectionAugmentConfig`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Pictures to learn from, chosen by the seed; 0 means all.
    pub subset: usize,
    /// Range of the factor on the size.
    pub scale: [f64; 2],
    /// Logarithm of the largest factor on the aspect.
    pub aspect: f64,
    /// Probability of mirroring.
    pub flip: f64,
    /// Colour jitter.
    pub jitter: JitterConfig,
    /// Probability of grey.
    pub grey: f64,
    /// Probability of a mosaic of four pictures.
    #[serde(default)]
    pub mosaic: f64,
    /// Probability of objects pasted from another picture.
    #[serde(default)]
    pub copy_paste: f64,
    /// Share of a box that must remain.
    pub min_visible: f64,
    /// Mean of red, green and blue, of values in `[0, 1]`, in training and in the export.
    pub mean: [f32; 3],
    /// Their standard deviation.
    pub std: [f32; 3],
    /// Side of the centred window of the field in which the picture lies, in training and in the export.
    pub window: f64,
}

/// Optimisation (METHOD section 6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimConfig {
    /// Pictures a step.
    pub batch: usize,
    /// Parts of a batch that go through the network one after another, their gradients added (gradient accumulation).
    pub accumulate: usize,
    /// Whether the backward pass computes a block's activations again instead of keeping them.
    pub recompute: bool,
    /// Passes over the pictures.
    pub epochs: f64,
    /// Peak learning rate, of the head and the last block.
    pub lr: f32,
    /// Learning rate at the end.
    pub lr_end: f32,
    /// Share of the run in which it rises.
    pub warmup: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Each block's rate over that of the next.
    pub layer_decay: f32,
    /// Global norm to which the gradient is clipped; 0 for none.
    pub clip: f32,
}

impl FinetuneConfig {
    /// Puts the detector on this encoder: but a drop path is no part of a network, but of a training; and nothing is learnt of
    /// how wide a view is.
    pub fn put_on(&mut self, encoder: &VitConfig) {
        let own = &self.model;
        self.model = VitConfig {
            drop_path: own.drop_path,
            view: if own.view > 0 { own.view } else { encoder.view },
            ..encoder.clone()
        };
    }
    /// Steps of the run on a data set of `records` pictures.
    pub fn steps(&self, records: u64) -> u64 {
        ((self.optim.epochs * self.pictures(records) as f64 / self.optim.batch as f64).ceil()
            as u64)
            .max(1)
    }
    /// Pictures that are learnt from.
    pub fn pictures(&self, records: u64) -> u64 {
        match self.data.subset as u64 {
            0 => records,
            subset => subset.min(records),
        }
    }
    /// The detector's sizes on an encoder of type `A`.
    pub fn spec<A: Arch>(&self, model: &VitConfig, classes: usize, masks: bool) -> DetectorSpec {
        DetectorSpec {
            image_size: self.detector.size,
            patch: model.patch(),
            width: A::WIDTH,
            depth: model.depth,
            heads: A::HEADS,
            classes,
            channels: self.detector.channels,
            prototypes: if masks { self.detector.prototypes } else { 0 },
            tower_convs: self.detector.tower_convs,
            fine: self.detector.fine,
            layer_scale: model.layer_scale > 0.0,
            registers: model.registers,
        }
    }
    /// The detector's sizes, checked.
    ///
    /// # Errors
    /// If they do not go together, or not with the encoder.
    pub fn checked_spec<A: Arch>(
        &self,
        model: &VitConfig,
        classes: usize,
        masks: bool,
    ) -> Result<DetectorSpec, FinetuneError> {
        let (size, patch) = (self.detector.size, model.patch());
        require(
            size.is_multiple_of(patch) && size >= 2 * patch,
            "detector.size",
            || {
                format!("is {size}, expected a multiple of the encoder's patch, {patch}, and at least two of them")
            },
        )?;
        let spec = self.spec::<A>(model, classes, masks);
        spec.validate()?;
        self.augmentation(&spec)
            .validate()
            .map_err(|e| e.within("data"))?;
        Ok(spec)
    }
    /// The augmentation for a detector of these sizes.
    pub fn augmentation(&self, spec: &DetectorSpec) -> DetectionAugmentConfig {
        DetectionAugmentConfig {
            size: spec.image_size as u32,
            patch: spec.patch as u32,
            mask_stride: spec.mask_stride().unwrap_or(spec.patch / 2) as u32,
            ..self.data.augmentation()
        }
    }
}

impl DataConfig {
    /// How pictures are normalised, in training and in the export.
    pub fn normalisation(&self) -> Normalisation {
        Normalisation {
            mean: self.mean,
            std: self.std,
        }
    }
    /// Has them normalised so.
    pub fn normalise(&mut self, colours: Normalisation) {
        (self.mean, self.std) = (colours.mean, colours.std);
    }
    /// The augmentation, of a size that is not said here.
    fn augmentation(&self) -> DetectionAugmentConfig {
        DetectionAugmentConfig {
            scale: self.scale,
            aspect: self.aspect,
            flip: self.flip,
            jitter: self.jitter.clone(),
            grey: self.grey,
            mosaic: self.mosaic,
            copy_paste: self.copy_paste,
            min_visible: self.min_visible,
            mean: self.mean,
            std: self.std,
            window: self.window,
            ..DetectionAugmentConfig::default()
        }
    }
}

impl Validate for FinetuneConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        self.model.validate()?;
        self.run.validate()?;
        for (value, key) in [
            (self.optim.batch, "optim.batch"),
            (self.detector.channels, "detector.channels"),
            (self.detector.size, "detector.size"),
            (self.assign.top_k, "assign.top_k"),
        ] {
            require(value > 0, key, || "must be at least 1".into())?;
        }
        require(
            self.optim.accumulate > 0 && self.optim.batch.is_multiple_of(self.optim.accumulate),
            "optim.accumulate",
            || {
                format!(
                    "is {}, expected a divisor of optim.batch = {}",
                    self.optim.accumulate, self.optim.batch
                )
            },
        )?;
        positive(self.optim.epochs, "optim.epochs")?;
        share(self.optim.warmup, "optim.warmup")?;
        for (value, key) in [
            (self.optim.lr, "optim.lr"),
            (self.optim.lr_end, "optim.lr_end"),
            (self.optim.weight_decay, "optim.weight_decay"),
            (self.optim.clip, "optim.clip"),
            (self.loss.class, "loss.class"),
            (self.loss.bbox, "loss.bbox"),
            (self.loss.mask, "loss.mask"),
        ] {
            not_negative(value, key)?;
        }
        self.data
            .augmentation()
            .validate()
            .map_err(|e| e.within("data"))?;
        let decay = self.optim.layer_decay;
        require(decay > 0.0 && decay <= 1.0, "optim.layer_decay", || {
            format!("is {decay}, expected more than 0, at most 1")
        })
    }
}
