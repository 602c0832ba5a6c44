//! The ablation ladder (METHOD section 5): every rung is pretrained and fine-tuned with the same budget and the same
//! seeds, and what came out stands in one table with its spread.
//!
//! A ladder is a folder of ordinary run folders. What is finished there is not done again, so a ladder that was stopped
//! goes on, and can be given more seeds, rungs or label shares later.
//!
//! ```text
//! config.toml                     the configs that the rungs change, and the data
//! sweep/RUNG-N/                   pretraining with the N-th set of settings tried for this rung
//! pretrain/RUNG-sSEED/            pretraining, with probe.json, or with failure.txt if it came to nothing
//! finetune/RUNG-SHARExPASSES-sSEED/   fine-tuning with this share of the labels, with evaluation.json, or failure.txt
//! ladder.md, ladder.json, report.html
//! ```
//!
//! # Layout
//! - this file: what is to be done; [`run`]: it is done, by `workers`, as the `board` shows
//! - [`results`]: what came out, read from the folder, with means and spreads; `page`: for a person

mod board;
mod page;
pub mod results;
pub mod run;
mod workers;

use serde::{Deserialize, Serialize};

use crate::config::{require, vary, ConfigError, Validate};
use crate::finetune::FinetuneConfig;
use crate::nn::arch::{self, Arch, WithArch};
use crate::pretrain::config::PRESETS;
use crate::pretrain::PretrainConfig;

pub use board::Progress;
pub use run::{ladder, Job, Outcome};

/// The rung without pretraining.
pub const SCRATCH: &str = "scratch";
/// The rung that changes nothing: the paper's method.
pub const BOTH: &str = "both";

/// The names of the rungs, from the bottom to the top.
pub fn rungs() -> impl Iterator<Item = &'static str> {
    let variants = PRESETS.variants.iter().map(|(name, _)| *name);
    std::iter::once(SCRATCH).chain(variants).chain([BOTH])
}

/// What is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Names of rungs, in the order of the table.
    pub rungs: Vec<String>,
    /// Runs of each rung: seeds 0 and up, of pretraining, fine-tuning and the choice of labelled pictures alike.
    pub seeds: u64,
    /// The label shares that detectors are fine-tuned with.
    pub labels: Vec<Labels>,
    /// What every rung changes.
    pub base: Base,
}

/// The configs that the rungs change, and the settings from which each rung chooses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Base {
    /// Sets of `key=value` settings of the pretraining, one of which each rung takes, or none of them: that with which
    /// a pretraining with a seed of its own has the best k-NN accuracy on the labelled pictures.
    pub sweep: Vec<Vec<String>>,
    /// Of the pretraining of the top rung.
    pub pretrain: PretrainConfig,
    /// Of every fine-tuning.
    pub finetune: FinetuneConfig,
}

impl Base {
    /// Where in the field whole pictures lie: as in the pretraining, if they all lie in one window there.
    fn window(&self) -> f64 {
        let own = self.finetune.data.window;
        self.pretrain.crops.window.fixed().unwrap_or(own)
    }
}

/// How much is labelled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Labels {
    /// Share of the labelled pictures, more than 0, at most 1.
    pub share: f64,
    /// Passes over them.
    pub epochs: f64,
}

impl Labels {
    /// Reads `SHARE` or `SHARE=EPOCHS`. Without epochs there are as many steps as `whole` epochs of all pictures take.
    ///
    /// # Errors
    /// If a number cannot be.
    pub fn parse(text: &str, whole: f64) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<f64>().ok();
        let (share, epochs) = match text.split_once('=') {
            None => (number(text), number(text).map(|share| whole / share)),
            Some((share, epochs)) => (number(share), number(epochs)),
        };
        match (share, epochs) {
            (Some(share), Some(epochs))
                if share > 0.0 && share <= 1.0 && epochs > 0.0 && epochs.is_finite() =>
            {
                Ok(Self { share, epochs })
            }
            _ => Err(format!(
                "`{text}` is no share of the labels; expected a number above 0 and up to 1, such as 0.1, or with the passes over those pictures, such as 0.1=24"
            )),
        }
    }

    /// As it stands in names and headings.
    pub fn percent(self) -> String {
        format!("{}%", (self.share * 1e4).round() / 1e2)
    }

    /// Pictures of a set of so many.
    fn pictures(self, records: usize) -> usize {
        ((self.share * records as f64).round() as usize).clamp(1, records.max(1))
    }
}

impl Plan {
    /// The pretraining of a rung, none for [`SCRATCH`], with the settings that it has chosen.
    ///
    /// # Errors
    /// If the rung's changes or the settings make no sense with the base.
    pub fn pretraining(
        &self,
        rung: &str,
        seed: u64,
        chosen: &[String],
    ) -> Result<Option<PretrainConfig>, ConfigError> {
        if rung == SCRATCH {
            return Ok(None);
        }
        let changes = PRESETS.variant(rung).unwrap_or_default();
        let settings = [&[format!("seed={seed}")], chosen].concat();
        vary(
            &self.base.pretrain,
            (&format!("rung {rung}"), changes),
            &settings,
        )
        .map(Some)
    }

    /// How the figures of a label share are headed: with the passes where shares alone do not tell.
    pub fn heading(&self, labels: Labels) -> String {
        let percent = labels.percent();
        let alike = self
            .labels
            .iter()
            .filter(|other| other.percent() == percent);
        match alike.count() {
            1 => percent,
            _ => format!("{percent} x {}", labels.epochs),
        }
    }

    /// Checks that what a rung tries leaves alone what all rungs must have alike: budget, seed, network, bookkeeping.
    fn check_tried(&self, rung: &str, settings: &[String]) -> Result<(), ConfigError> {
        let own = self.pretraining(rung, 0, &[])?;
        let (Some(own), Some(tried)) = (own, self.pretraining(rung, 0, settings)?) else {
            return Ok(());
        };
        for (alike, what) in [
            (own.seed == tried.seed, "seed"),
            (own.precision == tried.precision, "precision"),
            (own.optim.batch == tried.optim.batch, "optim.batch"),
            (own.optim.epochs == tried.optim.epochs, "optim.epochs"),
            (own.model == tried.model, "model"),
            (
                own.crops.normalisation() == tried.crops.normalisation(),
                "crops.mean and crops.std",
            ),
            (own.run == tried.run, "run"),
            (own.watch == tried.watch, "watch"),
        ] {
            require(alike, "--try", || {
                format!(
                    "`{}` changes `{what}`, which is the same for every rung; change it for all with --set",
                    settings.join(";")
                )
            })?;
        }
        Ok(())
    }

    /// The sets of settings from which each rung chooses: none, and those of the sweep.
    fn candidates(&self) -> impl Iterator<Item = &[String]> {
        let tried = self.base.sweep.iter().map(Vec::as_slice);
        std::iter::once(&[][..]).chain(tried)
    }

    /// A fine-tuning.
    fn finetuning(&self, labels: Labels, seed: u64, records: usize) -> FinetuneConfig {
        let mut config = self.base.finetune.clone();
        config.seed = seed;
        // From scratch the encoder is of the size that the other rungs pretrain, and sees pictures as theirs do.
        config.put_on(&self.base.pretrain.model);
        (config.data).normalise(self.base.pretrain.crops.normalisation());
        config.data.window = self.base.window();
        config.data.subset = labels.pictures(records);
        config.optim.epochs = labels.epochs;
        // What is compared is where they end.
        config.watch.evaluations = 0;
        config
    }

    /// Checks that a detector can be put on what is pretrained: after hours of pretraining is too late.
    ///
    /// # Errors
    /// What does not go together.
    pub fn check_detector(&self) -> anyhow::Result<()> {
        struct Check<'a>(&'a Base);
        impl WithArch for Check<'_> {
            type Output = anyhow::Result<()>;
            fn run<A: Arch>(self) -> Self::Output {
                let Base {
                    pretrain, finetune, ..
                } = self.0;
                finetune.checked_spec::<A>(&pretrain.model, 1, true)?;
                Ok(())
            }
        }
        arch::dispatch(&self.base.pretrain.model.arch, Check(&self.base))?
    }
}

impl Validate for Plan {
    fn validate(&self) -> Result<(), ConfigError> {
        for rung in &self.rungs {
            require(rungs().any(|name| name == rung), "--rungs", || {
                let known: Vec<_> = rungs().collect();
                format!("has `{rung}`, expected some of {}", known.join(", "))
            })?;
            for settings in self.candidates() {
                self.check_tried(rung, settings)?;
            }
            let times = self.rungs.iter().filter(|other| *other == rung).count();
            require(times == 1, "--rungs", || {
                format!("has `{rung}` {times} times")
            })?;
        }
        for labels in &self.labels {
            // Their runs lie in a folder of that name.
            let same = |other: &&Labels| {
                other.percent() == labels.percent() && other.epochs == labels.epochs
            };
            let times = self.labels.iter().filter(same).count();
            require(times == 1, "--shares", || {
                format!("has {}={} {times} times", labels.share, labels.epochs)
            })?;
        }
        require(!self.rungs.is_empty(), "--rungs", || "is empty".into())?;
        require(!self.labels.is_empty(), "--shares", || "is empty".into())?;
        require(self.seeds > 0, "--seeds", || "must be at least 1".into())
    }
}
