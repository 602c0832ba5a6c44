//! The training loop.

use std::borrow::Borrow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use dfdx::prelude::*;
use intertwine_datasets::{DatasetError, Mix, Rank};
use intertwine_flow::FlowError;

use super::batch::Batch;
use super::batch::Encoding;
use super::checkpoint::State;
use super::config::{OptimConfig, PretrainConfig};
use super::data::batches;
use super::objective::{objective, Losses};
use crate::config::ConfigError;
use crate::feed::{Limit, Watched};
use crate::nn::arch::{self, Arch, WithArch};
use crate::nn::autocast;
use crate::nn::backend::tape_onto;
use crate::nn::checkpoint::CheckpointError;
use crate::nn::optim::Follower;
use crate::nn::vit::DropPath;
use crate::nn::weights::{StateDict, WeightsError};
use crate::nn::Backend;
use crate::report;
use crate::run::{Interrupt, RunError, RunFolder, Times};
use crate::schedule::{cosine, learning_rate, linear_warmup};

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
        /// The part of the loss, or the gradient.
        what: &'static str,
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
    let mut feed = batches(data, config, encoding::<A>(config), Rank::ALONE, state.step)?;
    let (first, start) = (state.step, Instant::now());
    while state.step < steps {
        let losses = step(&mut state, config, steps, || Ok(feed.next_part()?))?;
        let last = state.step == steps;
        if (state.step - 1).is_multiple_of(config.run.log_every) || last {
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
        let stop = interrupt.requested();
        if state.step.is_multiple_of(config.run.checkpoint_every) || stop || last {
            log.sync()?;
            state.save(&folder.checkpoint(), &data_id)?;
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

fn encoding<A: Arch>(config: &PretrainConfig) -> Encoding {
    match config.model.field {
        0 => Encoding::Sincos(A::WIDTH),
        side => Encoding::Field(side),
    }
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
            let mut feed = batches(data, config, encoding::<A>(config), Rank::ALONE, 0)?;
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
            let mut watched = feed.watch(batch, limit, |feed| {
                step(&mut state, config, steps, || Ok(feed.next_part()?)).map(drop)
            })?;
            let held = feed.into_parts(accumulate)?;
            watched.try_alone(batch, || {
                let mut parts = held.iter();
                let part = || Ok(parts.next().expect("a step takes these parts"));
                step(&mut state, config, steps, part).map(drop)
            })?;
            Ok(watched)
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

/// The scheduled values of a step.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Rates {
    lr: f32,
    weight_decay: f32,
    momentum: f32,
    teacher_temperature: f32,
    grad_norm: f64,
}

/// A line of `metrics.jsonl`.
#[derive(serde::Serialize)]
struct Line {
    step: u64,
    #[serde(flatten)]
    losses: Losses,
    #[serde(flatten)]
    rates: Rates,
}

/// The scheduled values of step `at` of `steps`.
fn rates(at: u64, config: &PretrainConfig, steps: u64) -> Rates {
    let (optim, loss) = (&config.optim, &config.loss);
    let [t0, t1] = loss.teacher_temperature;
    Rates {
        lr: learning_rate(optim.lr, optim.lr_end, optim.warmup, at, steps),
        weight_decay: cosine(optim.weight_decay[0], optim.weight_decay[1], at, steps),
        momentum: cosine(optim.momentum[0], optim.momentum[1], at, steps),
        teacher_temperature: linear_warmup(t0, t1, loss.teacher_warmup, at, steps),
        grad_norm: 0.0,
    }
}

/// One step: loss and backward pass of each part of the batch, AdamW, the teacher follows. `part` gives the next part
/// of the batch, `steps` is the length of the run.
pub(crate) fn step<A: Arch, D: Backend, B: Borrow<Batch>>(
    state: &mut State<A, D>,
    config: &PretrainConfig,
    steps: u64,
    mut part: impl FnMut() -> Result<B, PretrainError>,
) -> Result<(Losses, Rates), PretrainError> {
    let _precision = autocast::scope(config.precision.precision());
    let (at, optim) = (state.step, &config.optim);
    let mut rates = rates(at, config, steps);
    let mut losses = Losses::default();
    let mut gradients = Gradients::leaky();
    for i in 0..optim.accumulate as u64 {
        let drop_path = DropPath {
            seed: config.seed,
            step: at * optim.accumulate as u64 + i,
        };
        let (total, parts) = objective(
            &state.student,
            &state.teacher,
            part()?.borrow(),
            &config.loss,
            rates.teacher_temperature,
            &mut state.centres,
            drop_path,
            tape_onto(state.student.vit.cls_token.device(), gradients),
        );
        let figures = [
            (parts.image, "the image loss"),
            (parts.content, "the content loss"),
            (parts.position, "the position loss"),
            (parts.koleo, "the KoLeo loss"),
        ];
        if let Some((_, what)) = figures.into_iter().find(|(v, _)| !v.is_finite()) {
            return Err(PretrainError::NotFinite { step: at, what });
        }
        let share = 1.0 / optim.accumulate as f32;
        losses.add(&parts, f64::from(share));
        gradients = (total * share).backward();
    }
    let frozen = at < (f64::from(optim.freeze_prototypes) * steps as f64) as u64;
    let report = state.optimizer.step(
        &mut state.student,
        Some(Follower {
            module: &mut state.teacher,
            momentum: rates.momentum,
        }),
        &mut gradients,
        rates.lr,
        rates.weight_decay,
        optim.clip,
        |name| frozen && name.ends_with("prototypes"),
    );
    rates.grad_norm = report.grad_norm;
    if !report.grad_norm.is_finite() {
        return Err(PretrainError::NotFinite {
            step: at,
            what: "the gradient",
        });
    }
    state.step += 1;
    Ok((losses, rates))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::{MultiCrop, Scratch, Views};
    use crate::config::resolve;
    use crate::nn::arch::Tiny8;
    use crate::nn::Module;
    use crate::pretrain::batch::Encoding;
    use crate::pretrain::config::PRESETS;
    use intertwine_datasets::scenes::{draw_scene, SceneConfig};
    use intertwine_flow::random::{stream, Purpose};

    /// The parameters after one step, with these settings, on the same four pictures.
    fn after_a_step(settings: &[&str]) -> Vec<f32> {
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        let config: PretrainConfig = resolve(PRESETS, "pico", None, &settings).unwrap();
        let crops = MultiCrop::new(config.crops.clone()).unwrap();
        let views: Vec<Box<Views>> = (0..4)
            .map(|i| {
                let picture = draw_scene(&SceneConfig::default(), 1, i).image;
                let mut rng = stream(1, Purpose::Augment, 0, i);
                let (mut scratch, mut views) = (Scratch::default(), Box::<Views>::default());
                let cropped = crops.apply_into(&picture, &mut rng, &mut scratch, &mut views);
                cropped.unwrap();
                views
            })
            .collect();
        let part = 4 / config.optim.accumulate;
        let mut parts = views.chunks(part).enumerate().map(|(i, views)| {
            let encoding = Encoding::Field(config.model.field);
            Batch::new(views, encoding, &config.mask, config.seed, i as u64)
        });
        let mut state = State::<Tiny8, Cpu>::new(&Cpu::default(), &config);
        state.step = 500;
        step(&mut state, &config, 1000, || Ok(parts.next().unwrap())).unwrap();
        assert!(parts.next().is_none(), "a part was left");
        let mut values = Vec::new();
        state
            .student
            .walk("", &mut |_, _, t| values.extend(t.to_host()));
        values
    }

    /// Without masks and with a loss of each picture for itself, parts add up to the whole.
    const SEPARABLE: &[&str] = &[
        "optim.batch=4",
        "precision=\"f32\"",
        "mask.probability=0.0",
        "loss.koleo=0.0",
        "loss.centring=\"ema\"",
        "loss.centre_momentum=1.0",
    ];

    #[test]
    fn parts_of_a_batch_add_up_to_the_batch() {
        let whole = after_a_step(SEPARABLE);
        let before = after_a_step(&[SEPARABLE, &["optim.lr=0.0", "optim.lr_end=0.0"]].concat());
        let change = |a: &[f32], b: &[f32]| -> f64 {
            let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
            squares.sum::<f64>().sqrt()
        };
        for parts in ["optim.accumulate=2", "optim.accumulate=4"] {
            let found = after_a_step(&[SEPARABLE, &[parts]].concat());
            let (error, size) = (change(&found, &whole), change(&before, &whole));
            assert!(
                size > 0.0 && error < 0.02 * size,
                "{parts}: {error} of {size}"
            );
        }
    }

    #[test]
    fn computing_activations_again_changes_no_bit() {
        let settings = ["optim.batch=4"];
        assert_eq!(
            after_a_step(&settings),
            after_a_step(&[&settings[..], &["optim.recompute=true"]].concat())
        );
    }
}
