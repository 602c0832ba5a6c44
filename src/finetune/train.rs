//! The training loop of a detector.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use dfdx::prelude::*;
use intertwine_datasets::{DatasetError, PackedSet};
use intertwine_flow::FlowError;

use super::assign::anchors;
use super::config::FinetuneConfig;
use super::data::{Batch, Batches};
use super::model::Detector;
use super::objective::{batch_loss, Losses};
use super::ship::ship;
use crate::config::ConfigError;
use crate::export::{ExportError, ParityReport};
use crate::nn::arch::{self, Arch, WithArch};
use crate::nn::autocast;
use crate::nn::backend::tape_onto;
use crate::nn::checkpoint::CheckpointError;
use crate::nn::module::Init;
use crate::nn::optim::{decays, layer_scale, Group, Optimizer};
use crate::nn::positions::WholePicture;
use crate::nn::vit::{DropPath, Vit, VitConfig};
use crate::nn::weights::{StateDict, WeightsError};
use crate::nn::Backend;
use crate::records::fingerprint;
use crate::report;
use crate::run::{Interrupt, RunError, RunFolder};
use crate::schedule::learning_rate;

const FORMAT: &str = "intertwine-finetune-1";

/// A fine-tuning to be done.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Every choice.
    pub config: &'a FinetuneConfig,
    /// The labelled pictures.
    pub data: &'a Arc<PackedSet>,
    /// A pretraining run's folder or a safetensors file; `None` starts from nothing.
    pub init: Option<&'a Path>,
    /// The run folder.
    pub out: &'a Path,
    /// Go on with the run in that folder, if there is one.
    pub resume: bool,
    /// Stops the run after the step at which it is requested.
    pub interrupt: &'a Interrupt,
}

/// What happens, for a progress bar.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Figures of the last step.
    pub losses: Losses,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Done; the model is exported.
    Finished {
        /// The exported detector.
        model: PathBuf,
        /// How far tract is from training.
        parity: ParityReport,
        /// Pictures a second over the steps of this call.
        images_per_second: f64,
    },
    /// Asked to stop; the checkpoint is written.
    Interrupted {
        /// Steps done.
        step: u64,
        /// Steps in all.
        steps: u64,
    },
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum FinetuneError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Data(#[from] DatasetError),
    #[error(transparent)]
    Flow(#[from] FlowError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Report(#[from] report::ReportError),
    /// Nothing to learn.
    #[error("{}: the set has no categories; pack a labelled set (a COCO JSON, see pack-dataset --help)", path.display())]
    Unlabelled { path: PathBuf },
    /// The loss is no number any more.
    #[error("step {step}: {what} is not finite; the last checkpoint is kept. A lower optim.lr or a longer optim.warmup usually mends this")]
    NotFinite { step: u64, what: &'static str },
}

/// Fine-tunes on the CPU.
///
/// # Errors
/// As [`FinetuneError`].
pub fn finetune(
    job: Job<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, FinetuneError> {
    finetune_on(&Cpu::default(), job, progress)
}

/// Fine-tunes on a device.
///
/// # Errors
/// As [`finetune`].
pub fn finetune_on<D: Backend>(
    dev: &D,
    job: Job<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, FinetuneError> {
    struct Run<'a, D: Backend>(
        &'a D,
        Job<'a>,
        Option<StateDict>,
        VitConfig,
        &'a mut dyn FnMut(Progress),
    );
    impl<D: Backend> WithArch for Run<'_, D> {
        type Output = Result<Outcome, FinetuneError>;
        fn run<A: Arch>(self) -> Self::Output {
            train::<A, D>(self.0, self.1, self.2, self.3, self.4)
        }
    }
    let (encoder, model) = match job.init {
        None => (None, job.config.model.clone()),
        Some(path) => {
            let path = if path.is_dir() {
                path.join("model.safetensors")
            } else {
                path.to_owned()
            };
            let dict = StateDict::read(&path)?;
            let model = match dict.metadata.get("model") {
                // Not one of ours: the config must say what it is.
                None => job.config.model.clone(),
                Some(text) => toml::from_str(text).map_err(|e| WeightsError::Format {
                    path: path.clone(),
                    reason: format!("its note `model` cannot be read: {e}"),
                })?,
            };
            (Some(dict), model)
        }
    };
    let name = model.arch.clone();
    arch::dispatch(&name, Run(dev, job, encoder, model, progress))?
}

fn train<A: Arch, D: Backend>(
    dev: &D,
    job: Job<'_>,
    encoder: Option<StateDict>,
    vit_config: VitConfig,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, FinetuneError> {
    let Job {
        config,
        data,
        out,
        resume,
        interrupt,
        ..
    } = job;
    if data.categories().is_empty() {
        return Err(FinetuneError::Unlabelled {
            path: data.folder().to_owned(),
        });
    }
    let masks = (0..data.len().min(64)).any(|i| {
        data.instances(i)
            .is_ok_and(|l| l.iter().any(|o| o.mask.is_some()))
    });
    let spec = config.spec::<A>(&vit_config, data.categories().len(), masks);
    spec.validate()?;
    // With the encoder's own sizes: what is resumed must be what was started.
    let stored = FinetuneConfig {
        model: vit_config.clone(),
        precision: config.precision.resolved(),
        ..config.clone()
    };
    let text = toml::to_string(&stored).expect("a config is plain data");
    let folder = RunFolder::open(out, &text, resume)?;
    let mut init = Init::new(dev, config.seed);
    let mut vit = Vit::<A, D>::new(&mut init, &vit_config);
    vit.recompute = config.optim.recompute;
    if let Some(dict) = &encoder {
        dict.load_module("", &mut vit, |name| {
            name.ends_with("mask_token") || name.starts_with("pos_field")
        })?;
    }
    let positions = WholePicture::new(&vit, spec.grid(), config.data.window);
    let mut model = Detector::new(&mut init, vit, &spec);
    let (depth, decay) = (vit_config.depth, config.optim.layer_decay);
    let mut optimizer = Optimizer::new(dev, &model, |name, sizes| Group {
        lr_scale: if is_head(name) {
            1.0
        } else {
            layer_scale(name, depth, decay)
        },
        decay: decays(name, sizes),
    });
    let records = data.len() as u64;
    let (steps, data_id) = (config.steps(records), fingerprint(data));
    let mut step = 0;
    if folder.checkpoint().exists() {
        let (dict, at) = StateDict::read_checkpoint(&folder.checkpoint(), FORMAT, &data_id)?;
        dict.load_module("model", &mut model, |_| false)?;
        dict.load_optimizer(&mut optimizer, &model)?;
        step = at;
    }
    let anchors = anchors(&spec);
    let mut log = folder.log(step)?;
    let mut batches = Batches::new(data, config, &spec, step)?;
    let (first, start) = (step, Instant::now());
    let products = stored.precision.precision();
    let accumulate = config.optim.accumulate as u64;
    while step < steps {
        let _precision = autocast::scope(products);
        let lr = learning_rate(
            config.optim.lr,
            config.optim.lr_end,
            config.optim.warmup,
            step,
            steps,
        );
        let mut losses = Losses::default();
        let mut gradients = Gradients::leaky();
        for part in 0..accumulate {
            let drop_path = Some(DropPath {
                seed: config.seed,
                step: step * accumulate + part,
            });
            let Batch { patches, targets } = batches.next_part()?;
            let repeated = positions.repeat(targets.len());
            let (outputs, tape) = model.forward(
                patches,
                repeated.view(),
                targets.len(),
                spec.grid(),
                drop_path,
                tape_onto(dev, gradients),
            );
            let (loss, parts) = batch_loss(&spec, config, &anchors, outputs, tape, &targets);
            if !parts.loss.is_finite() {
                return Err(FinetuneError::NotFinite {
                    step,
                    what: "the loss",
                });
            }
            let share = 1.0 / accumulate as f32;
            losses.add(&parts, f64::from(share));
            gradients = (loss * share).backward();
        }
        let report = optimizer.step(
            &mut model,
            None,
            &mut gradients,
            lr,
            config.optim.weight_decay,
            config.optim.clip,
            |_| false,
        );
        if !report.grad_norm.is_finite() {
            return Err(FinetuneError::NotFinite {
                step,
                what: "the gradient",
            });
        }
        let last = step + 1 == steps;
        if step.is_multiple_of(config.run.log_every) || last {
            let seconds = start.elapsed().as_secs_f64();
            let images = (step + 1 - first) as f64 * config.optim.batch as f64;
            let line = Line {
                step,
                losses,
                lr,
                grad_norm: report.grad_norm,
            };
            log.write(&line, &serde_json::json!({"step": step, "seconds": seconds, "images_per_s": images / seconds}))?;
        }
        step += 1;
        progress(Progress {
            step,
            steps,
            losses,
        });
        let stop = interrupt.requested();
        if step.is_multiple_of(config.run.checkpoint_every) || stop || last {
            log.sync()?;
            let mut dict = StateDict::checkpoint(FORMAT, step, &data_id);
            dict.insert_module("model", &model);
            dict.insert_optimizer(&optimizer, &model);
            dict.write(&folder.checkpoint())?;
        }
        if stop && !last {
            return Ok(Outcome::Interrupted { step, steps });
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let images_per_second = (step - first) as f64 * config.optim.batch as f64 / seconds.max(1e-9);
    let (path, parity) = ship(&model, &spec, &positions, data, &anchors, &folder)?;
    report::run::write(folder.path(), "Fine-tuning", PLOTS)?;
    Ok(Outcome::Finished {
        model: path,
        parity,
        images_per_second,
    })
}

/// The curves of a run's report.
const PLOTS: &[report::run::Curves<'static>] = &[
    (
        "Loss",
        "loss",
        &[
            ("sum", "loss"),
            ("class", "class"),
            ("box", "bbox"),
            ("mask", "mask"),
        ],
    ),
    (
        "Anchors assigned in a picture",
        "anchors",
        &[("positives", "positives")],
    ),
    ("Gradient", "norm", &[("gradient", "grad_norm")]),
    ("Learning rate", "rate", &[("lr", "lr")]),
];

fn is_head(name: &str) -> bool {
    ["fpn.", "head.", "proto."]
        .iter()
        .any(|part| name.starts_with(part))
}

/// A line of `metrics.jsonl`.
#[derive(serde::Serialize)]
struct Line {
    step: u64,
    #[serde(flatten)]
    losses: Losses,
    lr: f32,
    grad_norm: f64,
}
