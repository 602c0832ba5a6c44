//! The training loop of a detector.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dfdx::prelude::*;
use intertwine_datasets::PackedSet;

use super::config::{FinetuneConfig, OptimConfig};
use super::data::batches;
use super::error::FinetuneError;
use super::examine::{Brief, Examiner};
use super::labelled::{check_labels, check_val};
use super::learner::{Learner, Rates};
use super::objective::Losses;
use super::ship::{onnx, ship};
use super::start::Start;
use crate::evaluate::page::sections as evaluation;
use crate::evaluate::Report;
use crate::export::{DetectorSpec, ParityReport};
use crate::feed::{Limit, Watched};
use crate::nn::arch::{self, Arch, WithArch};
use crate::nn::device::{Device, WithDevice};
use crate::nn::weights::StateDict;
use crate::nn::Backend;
use crate::report::run::{Curves, History, Page};
use crate::run::{precision, Accept, Interrupt, RunFolder, Source, Times};

const FORMAT: &str = "intertwine-finetune-1";
/// Of its report.
const TITLE: &str = "Fine-tuning";

/// A fine-tuning to be done.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Every choice.
    pub config: &'a FinetuneConfig,
    /// The labelled pictures.
    pub data: &'a Arc<PackedSet>,
    /// Labelled pictures to evaluate on, meanwhile and at the end; their classes are the data's, or more.
    pub val: Option<&'a PackedSet>,
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
pub enum Progress {
    /// A step is done.
    Learnt {
        /// Steps done.
        step: u64,
        /// Steps in all.
        steps: u64,
        /// Figures of this step.
        losses: Losses,
    },
    /// The detector was evaluated.
    Scored {
        /// Steps done.
        step: u64,
        /// What it reaches.
        score: Brief,
    },
    /// A picture was looked at to evaluate the detector.
    Evaluated {
        /// Pictures looked at.
        seen: u64,
        /// Pictures in all.
        pictures: u64,
    },
}

/// Who is told.
pub type Tell<'a> = &'a mut (dyn FnMut(Progress) + Send);

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
        /// What it reaches, if there was something to evaluate on.
        score: Option<Box<Report>>,
    },
    /// Asked to stop; the checkpoint is written.
    Interrupted {
        /// Steps done.
        step: u64,
        /// Steps in all.
        steps: u64,
    },
}

/// Fine-tunes on the job's device.
///
/// # Errors
/// As [`FinetuneError`].
pub fn finetune(job: Job<'_>, progress: Tell<'_>) -> Result<Outcome, FinetuneError> {
    struct On<'a>(Job<'a>, Tell<'a>);
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
    progress: Tell<'_>,
) -> Result<Outcome, FinetuneError> {
    struct Run<'a, D: Backend>(&'a D, Job<'a>, Tell<'a>);
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
    progress: Tell<'_>,
) -> Result<Outcome, FinetuneError> {
    let Job {
        config,
        data,
        val,
        init,
        out,
        resume,
        interrupt,
        ..
    } = job;
    let spec = detector_spec::<A>(config, data)?;
    if let Some(val) = val {
        check_val(data, val)?;
    }
    // What cannot be is refused before there is a folder that was begun with it.
    let mut learner = Learner::<A, D>::new(dev, config, spec, init.map(|start| &start.weights))?;
    let folder = RunFolder::open(out, config, resume)?;
    let page = Page::new(&folder, TITLE, PLOTS);
    let (steps, data_id) = (config.steps(data.len() as u64), data.fingerprint());
    // Figures of different pictures make no curve.
    let is_scored = !History::read(out).curve("ap").is_empty();
    let accept_val = if is_scored {
        Accept::SameOrNone
    } else {
        Accept::Any
    };
    let origin = folder.origin(&[
        ("data", Accept::Same, Some(Source::from(&**data))),
        (
            "init",
            Accept::Copied,
            init.map(|start| start.source(config)),
        ),
        ("val", accept_val, val.map(Source::from)),
    ])?;
    let mut step = 0;
    if folder.checkpoint().exists() {
        let (dict, at) = StateDict::read_checkpoint(&folder.checkpoint(), FORMAT, &data_id)?;
        dict.load_module("model", &mut learner.model, |_| false)?;
        dict.load_optimizer(&mut learner.optimizer, &learner.model)?;
        step = at;
    }
    folder.note_origin(origin.as_ref())?;
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
    // A finished run has nothing more to say but how good it is.
    let is_over = step == steps && val.is_none();
    let mut log = folder.log(step + u64::from(is_over))?;
    let mut feed = batches(data, config, &learner.spec, step)?;
    let mut examiner = Examiner::new(val, interrupt, progress);
    let (first, start) = (step, Instant::now());
    let times = |step, images_per_s, data_wait, spent: Duration| {
        let seconds = start.elapsed();
        Times {
            step,
            seconds: seconds.as_secs_f64(),
            images_per_s,
            data_wait,
            watching: val.map(|_| spent.div_duration_f64(seconds)),
        }
    };
    // Whether all steps are done; if not, it was asked to stop.
    let mut learn = || -> Result<bool, FinetuneError> {
        while step < steps {
            let mut score = None;
            if config.watch.is_due(step, steps) {
                let export = |path: &Path| onnx(&learner, &learner.weights(), config, data, path);
                let found = examiner.on_the_way(&folder, export);
                let stop = interrupt.requested();
                if found.is_err() || stop {
                    log.sync()?;
                    checkpoint(&learner, step)?;
                }
                score = found?;
                if stop {
                    return Ok(false);
                }
                if let Some(score) = score {
                    (examiner.tell)(Progress::Scored { step, score });
                }
            }
            let taken = learner.step(config, step, steps, || feed.next_part());
            if let Err(FinetuneError::Flow(_)) = &taken {
                // The data may be mended, and what was learnt is as it was before the step.
                log.sync()?;
                checkpoint(&learner, step)?;
            }
            let (losses, rates) = taken?;
            let last = step + 1 == steps;
            if step.is_multiple_of(config.run.log_every) || last || score.is_some() {
                let spent = examiner.spent;
                let images = (step + 1 - first) as f64 * config.optim.batch as f64;
                let rate = images / (start.elapsed() - spent).as_secs_f64();
                let times = times(step, rate, feed.stats().wait_share(), spent);
                let line = Line {
                    step,
                    losses,
                    rates,
                    score,
                };
                log.write(&line, &times)?;
            }
            step += 1;
            (examiner.tell)(Progress::Learnt {
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
                return Ok(false);
            }
        }
        Ok(true)
    };
    let learnt = learn();
    let stats = feed.stats();
    let failed = |failure: FinetuneError| page.failed(failure, &stats);
    if !learnt.map_err(failed)? {
        page.asked(step, steps, &stats)?;
        return Ok(Outcome::Interrupted { step, steps });
    }
    let seconds = (start.elapsed() - examiner.spent).as_secs_f64();
    let images = (step - first) * config.optim.batch as u64;
    // The model is the sign of a run that is finished, so it is the last.
    let images_per_second = page.finish(&stats, (images, seconds))?;
    let (path, parity) = ship(&learner, config, data, &folder).map_err(failed)?;
    let score = examiner.at_the_end(&folder, &path)?;
    if let Some(val) = val {
        let Some(score) = &score else {
            return Ok(Outcome::Interrupted { step, steps });
        };
        let line = Ended {
            step,
            score: score.into(),
        };
        let times = times(step, images_per_second, stats.wait_share(), examiner.spent);
        log.write(&line, &times)?;
        log.sync()?;
        page.write(evaluation(&path, val, score)?, &stats)?;
    }
    Ok(Outcome::Finished {
        model: path,
        parity,
        images_per_second,
        data: stats.verdict(),
        score: score.map(Box::new),
    })
}

/// The detector's sizes for this data.
fn detector_spec<A: Arch>(
    config: &FinetuneConfig,
    data: &PackedSet,
) -> Result<DetectorSpec, FinetuneError> {
    let masks = check_labels(config, data)?;
    config.checked_spec::<A>(&config.model, data.categories().len(), masks)
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
const PLOTS: &[Curves<'static>] = &[
    (
        "Average precision",
        "AP",
        &[
            ("boxes", "ap"),
            ("boxes, IoU 0.5", "ap50"),
            ("masks", "mask_ap"),
        ],
    ),
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
    /// Of the detector as it was before this step.
    #[serde(flatten)]
    score: Option<Brief>,
}

/// The last line of `metrics.jsonl`, where there are pictures to evaluate on: of the finished detector.
#[derive(serde::Serialize)]
struct Ended {
    step: u64,
    #[serde(flatten)]
    score: Brief,
}
