//! The training loop of a detector.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use dfdx::prelude::*;
use intertwine_datasets::{DatasetError, Instance, PackedSet};
use intertwine_flow::FlowError;

use super::config::{FinetuneConfig, OptimConfig};
use super::data::{batches, chosen};
use super::learner::{Learner, Rates};
use super::objective::Losses;
use super::ship::ship;
use super::start::Start;
use crate::config::ConfigError;
use crate::export::{DetectorSpec, ExportError, ParityReport};
use crate::feed::{Limit, Watched};
use crate::nn::arch::{self, Arch, WithArch};
use crate::nn::checkpoint::CheckpointError;
use crate::nn::device::{Device, DeviceError, WithDevice};
use crate::nn::weights::{StateDict, WeightsError};
use crate::nn::Backend;
use crate::report::{self, run::finish};
use crate::run::{precision, Interrupt, RunError, RunFolder, Times};

const FORMAT: &str = "intertwine-finetune-1";

/// A fine-tuning to be done.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Every choice.
    pub config: &'a FinetuneConfig,
    /// The labelled pictures.
    pub data: &'a Arc<PackedSet>,
    /// A trained encoder; `None` starts from nothing.
    pub init: Option<&'a Start>,
    /// The run folder.
    pub out: &'a Path,
    /// Go on with the run in that folder, if there is one.
    pub resume: bool,
    /// What it computes on.
    pub device: Device,
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
        /// Whether the data kept up with the steps.
        data: String,
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
    Device(#[from] DeviceError),
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
    /// Pictures that show nothing.
    #[error("{}: none of the {pictures} pictures to learn from has an object; were the labels packed with them? See pack-dataset --check. (Another seed takes other pictures for data.subset.)", path.display())]
    NoObjects { path: PathBuf, pictures: u64 },
    /// The loss is no number any more.
    #[error("step {step}: {what} is not finite; start again with another --out: a lower optim.lr or a longer optim.warmup usually mends this")]
    NotFinite { step: u64, what: &'static str },
}

/// Fine-tunes on the job's device.
///
/// # Errors
/// As [`FinetuneError`].
pub fn finetune(
    job: Job<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, FinetuneError> {
    struct On<'a>(Job<'a>, &'a mut dyn FnMut(Progress));
    impl WithDevice for On<'_> {
        type Output = Result<Outcome, FinetuneError>;
        fn run<D: Backend>(self, dev: &D) -> Self::Output {
            finetune_on(dev, self.0, self.1)
        }
    }
    job.device.with(On(job, progress))?
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
    struct Run<'a, D: Backend>(&'a D, Job<'a>, &'a mut dyn FnMut(Progress));
    impl<D: Backend> WithArch for Run<'_, D> {
        type Output = Result<Outcome, FinetuneError>;
        fn run<A: Arch>(self) -> Self::Output {
            train::<A, D>(self.0, self.1, self.2)
        }
    }
    let mut config = job.config.clone();
    config.precision = precision(config.precision, job.out, job.resume, dev.has_bf16());
    if let Some(start) = job.init {
        config = start.adopted(config);
    }
    let job = Job {
        config: &config,
        ..job
    };
    arch::dispatch(&config.model.arch, Run(dev, job, progress))?
}

fn train<A: Arch, D: Backend>(
    dev: &D,
    job: Job<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, FinetuneError> {
    let Job {
        config,
        data,
        init,
        out,
        resume,
        interrupt,
        ..
    } = job;
    let spec = detector_spec::<A>(config, data)?;
    // What cannot be is refused before there is a folder that was begun with it.
    let mut learner = Learner::<A, D>::new(dev, config, spec, init.map(|start| &start.weights))?;
    let folder = RunFolder::open(out, config, resume)?;
    let (steps, data_id) = (config.steps(data.len() as u64), data.fingerprint());
    let mut step = 0;
    if folder.checkpoint().exists() {
        let (dict, at) = StateDict::read_checkpoint(&folder.checkpoint(), FORMAT, &data_id)?;
        dict.load_module("model", &mut learner.model, |_| false)?;
        dict.load_optimizer(&mut learner.optimizer, &learner.model)?;
        step = at;
    }
    let checkpoint = |learner: &Learner<A, D>, step: u64| {
        let mut dict = StateDict::checkpoint(FORMAT, step, &data_id);
        dict.insert_module("model", &learner.model);
        dict.insert_optimizer(&learner.optimizer, &learner.model);
        dict.write(&folder.checkpoint())
    };
    // Whoever goes on before the first checkpoint starts from the same encoder, whatever --init says then.
    if init.is_some() && !folder.checkpoint().exists() {
        checkpoint(&learner, step)?;
    }
    let mut log = folder.log(step)?;
    let mut feed = batches(data, config, &learner.spec, step)?;
    let (first, start) = (step, Instant::now());
    while step < steps {
        let taken = learner.step(config, step, steps, || feed.next_part());
        let (losses, rates) = match taken {
            // The data may be mended, and what was learnt is as it was before the step.
            Err(failure @ FinetuneError::Flow(_)) => {
                log.sync()?;
                checkpoint(&learner, step)?;
                return Err(failure);
            }
            taken => taken?,
        };
        let last = step + 1 == steps;
        if step.is_multiple_of(config.run.log_every) || last {
            let seconds = start.elapsed().as_secs_f64();
            let images = (step + 1 - first) as f64 * config.optim.batch as f64;
            let line = Line {
                step,
                losses,
                rates,
            };
            let times = Times {
                step,
                seconds,
                images_per_s: images / seconds,
                data_wait: feed.stats().wait_share(),
                watching: None,
            };
            log.write(&line, &times)?;
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
            checkpoint(&learner, step)?;
        }
        if stop && !last {
            return Ok(Outcome::Interrupted { step, steps });
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let stats = feed.stats();
    let (path, parity) = ship(&learner, config, data, &folder)?;
    let images = (step - first) * config.optim.batch as u64;
    let images_per_second = finish(&folder, "Fine-tuning", PLOTS, &stats, (images, seconds))?;
    Ok(Outcome::Finished {
        model: path,
        parity,
        images_per_second,
        data: stats.verdict(),
    })
}

/// The detector's sizes for this data.
fn detector_spec<A: Arch>(
    config: &FinetuneConfig,
    data: &PackedSet,
) -> Result<DetectorSpec, FinetuneError> {
    let classes = data.categories().len();
    if classes == 0 {
        return Err(FinetuneError::Unlabelled {
            path: data.folder().to_owned(),
        });
    }
    let pictures = config.pictures(data.len() as u64);
    let records = (0..pictures).map(chosen(config, data.len() as u64));
    if !any_object(data, records.clone(), |object| !object.crowd)? {
        return Err(FinetuneError::NoObjects {
            path: data.folder().to_owned(),
            pictures,
        });
    }
    let masks = any_object(data, records, |object| {
        !object.crowd && object.mask.is_some()
    })?;
    config.checked_spec::<A>(&config.model, classes, masks)
}

/// Whether there is such an object; the first one found answers.
fn any_object(
    data: &PackedSet,
    mut records: impl Iterator<Item = usize>,
    such: impl Fn(&Instance) -> bool,
) -> Result<bool, DatasetError> {
    let found = records.find_map(|record| match data.instances(record) {
        Ok(objects) => objects.iter().any(&such).then_some(Ok(true)),
        Err(error) => Some(Err(error)),
    });
    found.unwrap_or(Ok(false))
}

/// Runs the graph of a fine-tuning for a while and says where the time went; with `learn` a new detector
/// takes the batches, else nothing does. Writes nothing.
///
/// # Errors
/// As [`finetune`].
pub fn watch(
    config: &FinetuneConfig,
    data: &Arc<PackedSet>,
    limit: Limit,
    learn: bool,
) -> Result<Watched, FinetuneError> {
    struct Watch<'a>(&'a FinetuneConfig, &'a Arc<PackedSet>, Limit, bool);
    impl WithArch for Watch<'_> {
        type Output = Result<Watched, FinetuneError>;
        fn run<A: Arch>(self) -> Self::Output {
            let Watch(config, data, limit, learn) = self;
            let spec = detector_spec::<A>(config, data)?;
            let mut feed = batches(data, config, &spec, 0)?;
            let OptimConfig {
                batch, accumulate, ..
            } = config.optim;
            if !learn {
                return feed.watch(batch / accumulate, limit, |feed| {
                    Ok(feed.next_part().map(drop)?)
                });
            }
            let mut learner = Learner::<A, Cpu>::new(&Cpu::default(), config, spec, None)?;
            let steps = config.steps(data.len() as u64);
            let mut at = 0;
            feed.watch_training((batch, accumulate), limit, |part| {
                at += 1;
                let part = || part().map(Rc::unwrap_or_clone);
                learner.step(config, at - 1, steps, part).map(drop)
            })
        }
    }
    arch::dispatch(&config.model.arch, Watch(config, data, limit, learn))?
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

/// A line of `metrics.jsonl`.
#[derive(serde::Serialize)]
struct Line {
    step: u64,
    #[serde(flatten)]
    losses: Losses,
    #[serde(flatten)]
    rates: Rates,
}
