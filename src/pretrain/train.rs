//! The training loop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use dfdx::prelude::*;
use intertwine_datasets::{Mix, PackedSet, Rank};

use super::centres::CentreNorms;
use super::checkpoint::{Inputs, State};
use super::config::{OptimConfig, PretrainConfig};
use super::curves::PLOTS;
use super::data::batches;
use super::error::PretrainError;
use super::health::Collapse;
use super::instruments::Instruments;
use super::objective::Losses;
use super::replay;
use super::step::{step, Rates};
use crate::feed::{Limit, Watched};
use crate::nn::arch::{self, Arch, WithArch};
use crate::nn::device::{Device, WithDevice};
use crate::nn::positions::Encoding;
use crate::nn::weights::StateDict;
use crate::nn::Backend;
use crate::probe::Figures;
use crate::report::run::Page;
use crate::run::{precision, Accept, Interrupt, RunFolder, Source, Times};

/// Of its report.
const TITLE: &str = "Pretraining";

/// A pretraining to be done.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Every choice.
    pub config: &'a PretrainConfig,
    /// The pictures.
    pub data: &'a Arc<Mix>,
    /// Labelled pictures on which the encoder is probed meanwhile; without them, that is done on the run's own, and
    /// without classes.
    pub labels: Option<&'a Arc<PackedSet>>,
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
        /// The data graph with its counters, as Mermaid, if there was anything left to learn.
        graph: Option<String>,
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

/// Pretrains on the job's device. Everything written follows from config, data and kind of device alone (but `times.jsonl`,
/// and paths in `origin.toml`), whatever the number of threads and however often the run is stopped and resumed.
///
/// # Errors
/// As [`PretrainError`]; what was written before stays usable.
pub fn pretrain(
    job: Job<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, PretrainError> {
    struct On<'a>(Job<'a>, &'a mut dyn FnMut(Progress));
    impl WithDevice for On<'_> {
        type Output = Result<Outcome, PretrainError>;
        fn run<D: Backend>(self, dev: &D) -> Self::Output {
            pretrain_on(dev, self.0, self.1)
        }
    }
    job.device.with(On(job, progress))?
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
        labels,
        out,
        resume,
        interrupt,
        ..
    } = job;
    let records = data.len();
    if records < config.optim.batch {
        return Err(PretrainError::TooFew {
            records,
            batch: config.optim.batch,
        });
    }
    let config = &PretrainConfig {
        precision: precision(config.precision, out, resume, dev.has_bf16()),
        ..config.clone()
    };
    let steps = config.steps(records as u64);
    let inputs = Inputs {
        data: data.fingerprint(),
        labels: labels.map(|set| set.fingerprint()),
    };
    let mut instruments = Instruments::new(config, data, labels)?;
    let folder = RunFolder::open(out, config, resume)?;
    let page = Page::new(&folder, TITLE, PLOTS);
    let origin = folder.origin(&[
        ("data", Accept::Same, Some(Source::from(&**data))),
        (
            "labels",
            Accept::Same,
            labels.map(|set| Source::from(&**set)),
        ),
    ])?;
    let mut state = State::<A, D>::new(dev, config);
    if folder.checkpoint().exists() {
        state.load(&folder.checkpoint(), &inputs)?;
    }
    folder.note_origin(origin.as_ref())?;
    let mut log = folder.log(state.step)?;
    let encoding = (Encoding::of(&config.model), A::WIDTH);
    let mut feed = batches(data, config, encoding, Rank::ALONE, state.step)?;
    let (first, start) = (state.step, Instant::now());
    // Whether all steps are done; if not, it was asked to stop.
    let mut learn = || -> Result<bool, PretrainError> {
        while state.step < steps {
            let taken = step(&mut state, config, steps, || Ok(feed.next_part()?));
            let losses = match taken {
                Err(PretrainError::NotFinite { step, what, .. }) => {
                    let kept = replay::keep(&folder, &state, config, steps, (data, &inputs));
                    let began = kept
                        .as_ref()
                        .ok()
                        .and_then(|kept| replay::began(kept, &state, config, steps));
                    let what = match began {
                        Some(first) => format!("`{first}`, and then {what},"),
                        None => what,
                    };
                    return Err(not_finite(step, what, kept));
                }
                // The data may be mended, and what was learnt is as it was before the step.
                Err(failure) => {
                    log.sync()?;
                    state.save(&folder.checkpoint(), config, &inputs)?;
                    return Err(failure);
                }
                Ok(losses) => losses,
            };
            let collapse = check(&mut state, config, &losses);
            let (at, last) = (state.step - 1, state.step == steps);
            let probe = instruments.after(at, last, &folder, || encoder_weights(&state))?;
            let due = at.is_multiple_of(config.run.log_every) || instruments.any_due(at, last);
            if due || last || collapse.is_some() {
                let seconds = start.elapsed().as_secs_f64();
                let images = (state.step - first) as f64 * config.optim.batch as f64;
                let line = Line {
                    step: at,
                    losses: losses.0,
                    rates: losses.1,
                    centres: state.centres.norms(config.loss.centring),
                    probe,
                };
                let times = Times {
                    step: at,
                    seconds,
                    images_per_s: images / seconds,
                    data_wait: feed.stats().wait_share(),
                    watching: Some(instruments.spent.as_secs_f64() / seconds),
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
                state.save(&folder.checkpoint(), config, &inputs)?;
            }
            if let Some(collapse) = collapse {
                return Err(PretrainError::Collapsed {
                    step: state.step,
                    collapse: Box::new(collapse),
                });
            }
            if stop && !last {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let learnt = learn();
    let stats = feed.stats();
    let is_done = learnt.map_err(|failure| page.failed(failure, &stats))?;
    if !is_done {
        let step = state.step;
        page.asked(step, steps, &stats)?;
        return Ok(Outcome::Interrupted { step, steps });
    }
    let seconds = start.elapsed().as_secs_f64();
    let images = (state.step - first) * config.optim.batch as u64;
    // The model is the sign of a run that is finished, so it is the last.
    let images_per_second = page.finish(&stats, (images, seconds))?;
    export_encoder(&state, config).write(&folder.model())?;
    Ok(Outcome::Finished {
        images_per_second,
        graph: (images > 0).then(|| feed.describe().mermaid()),
        data: stats.verdict(),
    })
}

/// Why a run ends at a step that was kept, or could not be.
fn not_finite(step: u64, what: String, kept: Result<PathBuf, PretrainError>) -> PretrainError {
    match kept {
        Ok(folder) => PretrainError::NotFinite {
            step,
            what,
            kept: Some(folder),
        },
        Err(reason) => PretrainError::NotKept {
            failure: Box::new(PretrainError::not_finite(step, what)),
            reason: Box::new(reason),
        },
    }
}

/// Whether the step that was done is one too many with signs of collapse.
fn check<A: Arch, D: Backend>(
    state: &mut State<A, D>,
    config: &PretrainConfig,
    (losses, rates): &(Losses, Rates),
) -> Option<Collapse> {
    let pictures = config.optim.batch / config.optim.accumulate;
    state.health.after(
        losses,
        (config.head.prototypes, pictures),
        &config.loss,
        rates.teacher_temperature,
        config.patience(),
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

/// A line of `metrics.jsonl`.
#[derive(serde::Serialize)]
struct Line {
    step: u64,
    #[serde(flatten)]
    losses: Losses,
    #[serde(flatten)]
    rates: Rates,
    #[serde(flatten)]
    centres: Option<CentreNorms>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<Figures>,
}

/// The teacher's encoder, under timm's names.
fn encoder_weights<A: Arch, D: Backend>(state: &State<A, D>) -> StateDict {
    let mut dict = StateDict::default();
    dict.insert_module("", &state.teacher.vit);
    dict
}

/// The same with what a later stage must know.
fn export_encoder<A: Arch, D: Backend>(state: &State<A, D>, config: &PretrainConfig) -> StateDict {
    let mut dict = encoder_weights(state);
    dict.metadata
        .insert("format".into(), "intertwine-encoder-1".into());
    config.note(&mut dict.metadata);
    dict
}
