//! The training loop.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use dfdx::prelude::*;
use intertwine_datasets::{DatasetError, Mix, Rank};
use intertwine_flow::FlowError;

use super::checkpoint::State;
use super::config::{OptimConfig, PretrainConfig};
use super::data::batches;
use super::health::Collapse;
use super::objective::Losses;
use super::step::{step, Rates};
use crate::config::ConfigError;
use crate::feed::{Limit, Watched};
use crate::nn::arch::{self, Arch, WithArch};
use crate::nn::checkpoint::CheckpointError;
use crate::nn::positions::Encoding;
use crate::nn::weights::{StateDict, WeightsError};
use crate::nn::Backend;
use crate::report;
use crate::run::{Interrupt, RunError, RunFolder, Times};

/// A pretraining to be done.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Every choice.
    pub config: &'a PretrainConfig,
    /// The pictures.
    pub data: &'a Arc<Mix>,
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
    /// Pictures a step.
    pub batch: usize,
    /// The figures of the last step.
    pub losses: Losses,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// All steps are done and the model is written.
    Finished {
        /// Pictures a second over the steps of this call.
        images_per_second: f64,
        /// The data graph with its counters, as Mermaid.
        graph: String,
        /// Whether the data kept up with the steps.
        data: String,
    },
    /// It was asked to stop; the checkpoint is written.
    Interrupted {
        /// Steps done.
        step: u64,
        /// Steps in all.
        steps: u64,
    },
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum PretrainError {
    /// A config that makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The run folder.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Writing weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// A picture that could not be read or augmented.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// The report.
    #[error(transparent)]
    Report(#[from] report::ReportError),
    /// Too few pictures.
    #[error("the data set has {records} pictures, fewer than one batch of {batch}; lower optim.batch or add pictures")]
    TooFew {
        /// Pictures.
        records: usize,
        /// `optim.batch`.
        batch: usize,
    },
    /// The loss is no number any more.
    #[error("step {step}: {what} is not finite; the last checkpoint is kept. A lower optim.lr or a longer optim.warmup usually mends this")]
    NotFinite {
        /// The step.
        step: u64,
        /// The part of the loss, or the parameters whose values or gradients are not finite.
        what: String,
    },
    /// The network tells pictures apart no longer.
    #[error("step {step}: {collapse}. The checkpoint and report.html are kept; watch.collapse_after says how long to wait")]
    Collapsed {
        /// The step that was done last.
        step: u64,
        /// How, and what to do.
        collapse: Box<Collapse>,
    },
}

/// Pretrains on the CPU. Everything written follows from config and data alone (but `times.jsonl`),
/// whatever the number of threads and however often the run is stopped and resumed.
///
/// # Errors
/// As [`PretrainError`]; what was written before stays usable.
pub fn pretrain(
    job: Job<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, PretrainError> {
    pretrain_on(&Cpu::default(), job, progress)
}

/// Pretrains on a device.
///
/// # Errors
/// As [`pretrain`].
pub fn pretrain_on<D: Backend>(
    dev: &D,
    job: Job<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, PretrainError> {
    struct Run<'a, D: Backend>(&'a D, Job<'a>, &'a mut dyn FnMut(Progress));
    impl<D: Backend> WithArch for Run<'_, D> {
        type Output = Result<Outcome, PretrainError>;
        fn run<A: Arch>(self) -> Self::Output {
            train::<A, D>(self.0, self.1, self.2)
        }
    }
    arch::dispatch(&job.config.model.arch, Run(dev, job, progress))?
}

fn train<A: Arch, D: Backend>(
    dev: &D,
    job: Job<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, PretrainError> {
    let Job {
        config,
        data,
        out,
        resume,
        interrupt,
    } = job;
    let records = data.len();
    if records < config.optim.batch {
        return Err(PretrainError::TooFew {
            records,
            batch: config.optim.batch,
        });
    }
    // As it is on this machine: the run says what it did, and is resumed with it elsewhere too.
    let config = &PretrainConfig {
        precision: config.precision.resolved(),
        ..config.clone()
    };
    let steps = config.steps(records as u64);
    let data_id = data.fingerprint();
    let text = toml::to_string(config).expect("a config is plain data");
    let folder = RunFolder::open(out, &text, resume)?;

    let mut state = State::<A, D>::new(dev, config);
    if folder.checkpoint().exists() {
        state.load(&folder.checkpoint(), &data_id)?;
    }
    let mut log = folder.log(state.step)?;
    let encoding = (Encoding::of(&config.model), A::WIDTH);
    let mut feed = batches(data, config, encoding, Rank::ALONE, state.step)?;
    let (first, start) = (state.step, Instant::now());
    while state.step < steps {
        let losses = step(&mut state, config, steps, || Ok(feed.next_part()?))?;
        let collapse = check(&mut state, config, &losses);
        let last = state.step == steps;
        if (state.step - 1).is_multiple_of(config.run.log_every) || last || collapse.is_some() {
            let seconds = start.elapsed().as_secs_f64();
            let images = (state.step - first) as f64 * config.optim.batch as f64;
            let line = Line {
                step: state.step - 1,
                losses: losses.0,
                rates: losses.1,
            };
            let times = Times {
                step: line.step,
                seconds,
                images_per_s: images / seconds,
                data_wait: feed.stats().wait_share(),
            };
            log.write(&line, &times)?;
        }
        progress(Progress {
            step: state.step,
            steps,
            batch: config.optim.batch,
            losses: losses.0,
        });
        let stop = interrupt.requested() || collapse.is_some();
        if state.step.is_multiple_of(config.run.checkpoint_every) || stop || last {
            log.sync()?;
            state.save(&folder.checkpoint(), &data_id)?;
        }
        if let Some(collapse) = collapse {
            report::run::write(folder.path(), "Pretraining", PLOTS, &feed.stats())?;
            return Err(PretrainError::Collapsed {
                step: state.step,
                collapse: Box::new(collapse),
            });
        }
        if stop && !last {
            return Ok(Outcome::Interrupted {
                step: state.step,
                steps,
            });
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let images_per_second =
        (state.step - first) as f64 * config.optim.batch as f64 / seconds.max(1e-9);
    let stats = feed.stats();
    export_encoder(&state, config)?.write(&folder.model())?;
    report::run::write(folder.path(), "Pretraining", PLOTS, &stats)?;
    Ok(Outcome::Finished {
        images_per_second,
        graph: feed.describe().mermaid(),
        data: stats.verdict(),
    })
}

/// Whether the step that was done is one too many with signs of collapse.
fn check<A: Arch, D: Backend>(
    state: &mut State<A, D>,
    config: &PretrainConfig,
    (losses, rates): &(Losses, Rates),
) -> Option<Collapse> {
    let part = config.optim.batch / config.optim.accumulate;
    let views = part * config.crops.globals.count;
    state.health.after(
        losses,
        (config.head.prototypes, views),
        &config.loss,
        rates.teacher_temperature,
        config.watch.collapse_after,
    )
}

/// Runs the graph of a pretraining for a while and says where the time went; with `learn` a new network
/// takes the batches, else nothing does. Writes nothing.
///
/// # Errors
/// As [`pretrain`].
pub fn watch(
    config: &PretrainConfig,
    data: &Arc<Mix>,
    limit: Limit,
    learn: bool,
) -> Result<Watched, PretrainError> {
    struct Watch<'a>(&'a PretrainConfig, &'a Arc<Mix>, Limit, bool);
    impl WithArch for Watch<'_> {
        type Output = Result<Watched, PretrainError>;
        fn run<A: Arch>(self) -> Self::Output {
            let Watch(config, data, limit, learn) = self;
            let encoding = (Encoding::of(&config.model), A::WIDTH);
            let mut feed = batches(data, config, encoding, Rank::ALONE, 0)?;
            let OptimConfig {
                batch, accumulate, ..
            } = config.optim;
            if !learn {
                return feed.watch(batch / accumulate, limit, |feed| {
                    Ok(feed.next_part().map(drop)?)
                });
            }
            let mut state = State::<A, Cpu>::new(&Cpu::default(), config);
            let steps = config.steps(data.len() as u64);
            feed.watch_training((batch, accumulate), limit, |part| {
                step(&mut state, config, steps, || Ok(part()?)).map(drop)
            })
        }
    }
    arch::dispatch(&config.model.arch, Watch(config, data, limit, learn))?
}

/// The curves of a run's report.
const PLOTS: &[report::run::Curves<'static>] = &[
    (
        "Parts of the loss",
        "nats",
        &[
            ("image", "image"),
            ("content", "content"),
            ("position", "position"),
            ("KoLeo", "koleo"),
        ],
    ),
    (
        "The teacher's entropy: of each output, and of their mean",
        "nats",
        &[("each", "teacher_entropy"), ("mean", "mean_entropy")],
    ),
    (
        "Spread of the features; near 0 at collapse",
        "deviation",
        &[("features", "feature_std")],
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

/// The teacher's encoder, under timm's names, with what a later stage must know.
fn export_encoder<A: Arch, D: Backend>(
    state: &State<A, D>,
    config: &PretrainConfig,
) -> Result<StateDict, PretrainError> {
    let mut dict = StateDict::default();
    dict.insert_module("", &state.teacher.vit);
    let model = toml::to_string(&config.model).expect("a config is plain data");
    dict.metadata
        .insert("format".into(), "intertwine-encoder-1".into());
    dict.metadata.insert("model".into(), model);
    Ok(dict)
}
