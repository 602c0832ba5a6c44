//! Everything a pretraining run can be told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::augment::mask::MaskConfig;
use crate::augment::MultiCropConfig;
use crate::config::{not_negative, positive, require, share, ConfigError, Presets, Validate};
use crate::nn::usual::Usual;
use crate::nn::vit::VitConfig;
use crate::nn::{arch, autocast, normalisation};
use crate::probe::LEAST_PICTURES;
use crate::run::RunConfig;

/// The presets, the default first.
pub const PRESETS: Presets = Presets {
    complete: &[
        ("pico", include_str!("presets/pico.toml")),
        ("demo", include_str!("presets/demo.toml")),
        ("tiny", include_str!("presets/tiny.toml")),
        ("vit-s-paper", include_str!("presets/vit-s-paper.toml")),
        ("vit-b-paper", include_str!("presets/vit-b-paper.toml")),
    ],
    variants: &[
        ("dino", include_str!("presets/variants/dino.toml")),
        ("ibot", include_str!("presets/variants/ibot.toml")),
        (
            "dinov2-in1k",
            include_str!("presets/variants/dinov2-in1k.toml"),
        ),
        ("field", include_str!("presets/variants/field.toml")),
        (
            "position-mask",
            include_str!("presets/variants/position-mask.toml"),
        ),
    ],
    keys: include_str!("presets/keys.toml"),
};

/// A pretraining run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Everything random follows from it.
    pub seed: u64,
    /// Of matrix products.
    pub precision: autocast::Choice,
    /// The encoder.
    pub model: VitConfig,
    /// The projection heads.
    pub head: HeadSection,
    /// The views of a picture.
    pub crops: MultiCropConfig,
    /// What the student does not see.
    pub mask: MaskConfig,
    /// What it must predict.
    pub loss: LossConfig,
    /// How it learns.
    pub optim: OptimConfig,
    /// What is watched meanwhile.
    pub watch: WatchConfig,
    /// Bookkeeping.
    pub run: RunConfig,
}

/// The projection heads (METHOD section 3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadSection {
    /// Hidden width.
    pub hidden: usize,
    /// Width before the prototypes.
    pub bottleneck: usize,
    /// K, of each head.
    pub prototypes: usize,
    /// A head of its own for the position loss, instead of the content loss's.
    pub separate_position: bool,
}

/// How the teacher's outputs are kept from collapsing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Centring {
    /// Not at all: collapse is then a matter of luck. For experiments.
    None,
    /// Subtract a moving average of the logits (DINO).
    Ema,
    /// Sinkhorn-Knopp over the batch (SwAV, DINOv2).
    SinkhornKnopp,
}

/// The loss and its weights (METHOD section 3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossConfig {
    /// Weight of L_image.
    pub image: f32,
    /// Weight of L_content.
    pub content: f32,
    /// Weight of L_pos.
    pub position: f32,
    /// Weight of the KoLeo regulariser.
    pub koleo: f32,
    /// Of the student's softmax.
    pub student_temperature: f32,
    /// Of the teacher's softmax at the start and after its warm-up.
    pub teacher_temperature: [f32; 2],
    /// Share of the run in which the teacher's temperature rises.
    pub teacher_warmup: f32,
    /// How collapse is prevented.
    pub centring: Centring,
    /// Momentum of the centres.
    pub centre_momentum: f32,
    /// Rounds of Sinkhorn-Knopp.
    pub sinkhorn_rounds: usize,
}

/// Optimisation (METHOD section 4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimConfig {
    /// Pictures a step.
    pub batch: usize,
    /// Parts of a batch that go through the network one after another, their gradients added (gradient accumulation);
    /// what looks at several pictures at once, such as Sinkhorn-Knopp and KoLeo, sees those of one part.
    pub accumulate: usize,
    /// Whether the backward pass computes a block's activations again instead of keeping them.
    pub recompute: bool,
    /// Passes over the data; may be a fraction.
    pub epochs: f64,
    /// Peak learning rate.
    pub lr: f32,
    /// Learning rate at the end.
    pub lr_end: f32,
    /// Share of the run in which the learning rate rises.
    pub warmup: f32,
    /// Each block's learning rate over that of what follows it; the embedding's is the lowest (DINOv2).
    #[serde(default = "one")]
    pub layer_decay: f32,
    /// What the learning rate of the patches' embedding is multiplied by as well (DINOv2); 0 keeps it as it is.
    #[serde(default = "one")]
    pub patch_rate: f32,
    /// Weight decay at the start and at the end.
    pub weight_decay: [f32; 2],
    /// The teacher's momentum at the start and at the end.
    pub momentum: [f32; 2],
    /// Global norm to which the gradient is clipped; 0 for none.
    pub clip: f32,
    /// Share of the run in which the prototypes stay as they are.
    pub freeze_prototypes: f32,
}

fn one() -> f32 {
    1.0
}

/// What is watched while a run learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchConfig {
    /// Steps for which signs of collapse have to last until the run is stopped; 0 for never.
    pub collapse_after: u64,
    /// Steps between two probes of the teacher's encoder, from the first step on; 0 for none.
    pub probe_every: u64,
    /// Pictures that a probe looks at.
    pub probe_pictures: usize,
    /// Steps between two drawings of what the teacher's encoder makes of a few pictures, from the first step on; 0
    /// for none.
    pub pictures_every: u64,
}

impl PretrainConfig {
    /// Steps of the run on a data set of `records` pictures, at least one.
    pub fn steps(&self, records: u64) -> u64 {
        ((self.optim.epochs * records as f64 / self.optim.batch as f64).ceil() as u64).max(1)
    }

    /// Steps for which signs of collapse have to last; 0 for never. Without centring there is nothing to wait for.
    pub fn patience(&self) -> u64 {
        match self.loss.centring {
            Centring::None => self.watch.collapse_after.min(100),
            Centring::Ema | Centring::SinkhornKnopp => self.watch.collapse_after,
        }
    }

    /// Notes in a file what whoever reads its encoder must know: the network, and how it sees pictures.
    pub fn note(&self, notes: &mut BTreeMap<String, String>) {
        let model = toml::to_string(&self.model).expect("a config is plain data");
        notes.insert("model".into(), model);
        normalisation::note(self.crops.normalisation(), notes);
        self.usual().note(notes);
    }

    /// How its encoder sees pictures.
    pub fn usual(&self) -> Usual {
        Usual {
            side: Some(self.crops.globals.size as usize),
            window: self.crops.window.fixed(),
        }
    }

    /// Whether L_image has something to compare: a weight, and two views of a picture. Without, the head of CLS learns nothing.
    fn compares_views(&self) -> bool {
        let (globals, locals) = (self.crops.globals.count, self.crops.locals.count);
        self.loss.image > 0.0 && (globals > 1 || (globals > 0 && locals > 0))
    }

    /// Whether there is anything to learn: losses without a term are 0, whatever the network does.
    fn check_signal(&self) -> Result<(), ConfigError> {
        let (mask, loss) = (&self.mask, &self.loss);
        let masked = |share: f64| mask.probability > 0.0 && (mask.both || share > 0.0);
        let content = loss.content > 0.0 && masked(1.0 - mask.position_share);
        let position = loss.position > 0.0 && masked(mask.position_share);
        require(self.compares_views() || content || position, "loss", || {
            "has no term to learn from: L_image compares two views of a picture (loss.image, crops.globals.count, \
             crops.locals.count), the others are of masked patches (loss.content, loss.position, mask.probability, \
             mask.position_share)"
                .into()
        })
    }
}

impl Validate for VitConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        arch::patch(&self.arch)?;
        require((1..=64).contains(&self.depth), "model.depth", || {
            format!("is {}, expected 1 to 64", self.depth)
        })?;
        require(
            (0.0..1.0).contains(&self.drop_path),
            "model.drop_path",
            || format!("is {}, expected at least 0 and less than 1", self.drop_path),
        )?;
        require(self.layer_scale >= 0.0, "model.layer_scale", || {
            "must not be negative".into()
        })?;
        require(self.registers <= 64, "model.registers", || {
            format!("is {}, expected at most 64", self.registers)
        })?;
        for (cells, key) in [(self.field, "model.field"), (self.view, "model.view")] {
            require(cells <= 1024, key, || {
                format!("is {cells}, expected at most 1024")
            })?;
        }
        Ok(())
    }
}

impl Validate for PretrainConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        self.model.validate()?;
        self.run.validate()?;
        require(
            self.watch.probe_every == 0 || self.watch.probe_pictures >= LEAST_PICTURES,
            "watch.probe_pictures",
            || {
                format!(
                    "is {}, expected at least {LEAST_PICTURES}; watch.probe_every = 0 for no probes",
                    self.watch.probe_pictures
                )
            },
        )?;
        self.crops.validate().map_err(|e| e.within("crops"))?;
        self.mask.validate().map_err(|e| e.within("mask"))?;
        let patch = self.model.patch();
        require(self.crops.patch as usize == patch, "crops.patch", || {
            format!(
                "is {}, but the patches of `{}` are {patch} pixels wide",
                self.crops.patch, self.model.arch
            )
        })?;
        require(patch.is_multiple_of(2), "model.arch", || {
            format!("has patches of {patch} pixels, expected an even number: a detector has maps of half that stride")
        })?;
        for (value, key) in [
            (self.head.hidden, "head.hidden"),
            (self.head.bottleneck, "head.bottleneck"),
            (self.optim.batch, "optim.batch"),
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
        require(self.head.prototypes > 1, "head.prototypes", || {
            "must be at least 2".into()
        })?;
        require(
            self.optim.batch > self.optim.accumulate || self.loss.koleo == 0.0,
            "optim.batch",
            || {
                "leaves a part of 1 picture, the KoLeo loss needs 2; set loss.koleo = 0 or a larger batch".into()
            },
        )?;
        self.check_signal()?;
        positive(self.optim.epochs, "optim.epochs")?;
        positive(
            f64::from(self.loss.student_temperature),
            "loss.student_temperature",
        )?;
        for temperature in self.loss.teacher_temperature {
            positive(f64::from(temperature), "loss.teacher_temperature")?;
        }
        for (value, key) in [
            (self.optim.lr, "optim.lr"),
            (self.optim.lr_end, "optim.lr_end"),
            (self.optim.weight_decay[0], "optim.weight_decay"),
            (self.optim.weight_decay[1], "optim.weight_decay"),
            (self.optim.clip, "optim.clip"),
            (self.loss.image, "loss.image"),
            (self.loss.content, "loss.content"),
            (self.loss.position, "loss.position"),
            (self.loss.koleo, "loss.koleo"),
        ] {
            not_negative(value, key)?;
        }
        share(self.loss.teacher_warmup, "loss.teacher_warmup")?;
        share(self.loss.centre_momentum, "loss.centre_momentum")?;
        share(self.optim.warmup, "optim.warmup")?;
        let decay = self.optim.layer_decay;
        require(decay > 0.0 && decay <= 1.0, "optim.layer_decay", || {
            format!("is {decay}, expected above 0, at most 1")
        })?;
        share(self.optim.patch_rate, "optim.patch_rate")?;
        share(self.optim.freeze_prototypes, "optim.freeze_prototypes")?;
        share(self.optim.momentum[0], "optim.momentum")?;
        share(self.optim.momentum[1], "optim.momentum")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve;

    #[test]
    fn presets_are_valid_and_differ() {
        let config = |name: &str| -> PretrainConfig {
            resolve(PRESETS, name, None, &[]).unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        let names: Vec<String> = PRESETS.names().collect();
        let all: Vec<_> = names.iter().map(|name| config(name)).collect();
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b), "{}", names[i]);
        }
        let refused = |settings: &[&str]| {
            let set: Vec<String> = settings.iter().map(|s| s.to_string()).collect();
            let found = resolve::<PretrainConfig>(PRESETS, "pico", None, &set);
            found.err().map(|e| e.to_string())
        };
        let alone = ["crops.globals.count=1", "crops.locals.count=0"];
        for settings in [
            &["loss.image=0", "mask.probability=0"][..],
            &["loss.image=0", "loss.position=0", "mask.position_share=1"],
            &["loss.image=0", "loss.content=0", "loss.position=0"],
            &[alone[0], alone[1], "mask.probability=0"],
        ] {
            let said = refused(settings).unwrap();
            assert!(said.contains("`loss`"), "{said}");
        }
        assert_eq!(refused(&alone), None);
        // ImageNet-1K: 1,281,167 pictures in batches of 1,024.
        assert_eq!(config("vit-s-paper").steps(1_281_167), 125_114);
    }
}
