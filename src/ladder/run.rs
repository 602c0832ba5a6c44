//! The runs of a ladder: which there are, and what each does.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use intertwine_datasets::{Mix, PackedSet};
use serde::{Deserialize, Serialize};

use super::board::{self, Board, Progress};
use super::results::{Folder, Results};
use super::workers::Workers;
use super::{page, Base, Labels, Plan, SCRATCH};
use crate::config::Validate;
use crate::files::save;
use crate::finetune::{self, check_labels, check_val, finetune, FinetuneConfig, Start};
use crate::nn::autocast::Choice;
use crate::nn::device::{Device, WithDevice};
use crate::nn::Backend;
use crate::pretrain::{self, pretrain, PretrainConfig, PretrainError};
use crate::probe::encoder::Encoder;
use crate::probe::{probe, Figures, Options, ProbeError};
use crate::run::{claim, stored, Interrupt};

/// A ladder to be climbed.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// What is compared.
    pub plan: &'a Plan,
    /// Pictures without labels.
    pub data: &'a Arc<Mix>,
    /// Labelled pictures to learn from.
    pub labels: &'a Arc<PackedSet>,
    /// Labelled pictures to score on.
    pub val: &'a PackedSet,
    /// The folder; what is finished there is not done again.
    pub out: &'a Path,
    /// Runs at a time, at least 1, which share the threads. What comes out does not depend on it.
    pub at_once: NonZeroUsize,
    /// What computes.
    pub device: Device,
    /// Stops after the step at which it is requested; is requested when a run fails, for the others to save.
    pub interrupt: &'a Interrupt,
}

/// How it ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// All runs are done.
    Finished(Results),
    /// Asked to stop.
    Interrupted,
}

/// The seed of sweeps, which no run of the table has.
const SWEEP_SEED: u64 = 1_000_003;

/// Runs what is not finished yet. After each run the table is written anew.
///
/// # Errors
/// What a run runs into, with its name; or if the folder holds a ladder of another base or of other data, or is in use.
pub fn ladder(
    job: Job<'_>,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> anyhow::Result<Outcome> {
    job.plan.validate()?;
    job.plan.check_detector()?;
    let plan = &resolved(&job)?;
    let job = Job { plan, ..job };
    check_val(job.labels, job.val)?;
    for (seed, &labels) in
        (0..plan.seeds).flat_map(|seed| plan.labels.iter().map(move |l| (seed, l)))
    {
        let config = plan.finetuning(labels, seed, job.labels.len());
        check_labels(&config, job.labels)
            .with_context(|| format!("seed {seed}, {} of the labels", labels.percent()))?;
    }
    let _lock = claim(job.out, &description(&job), true)?;
    let climb = Climb {
        job,
        board: Board::new(total_steps(&job)?, progress),
        chosen: Vec::new(),
        table: Mutex::new(()),
    };
    let workers = Workers::new(job.at_once, job.interrupt)?;

    let sweeps: Vec<_> = plan
        .rungs
        .iter()
        .filter(|rung| *rung != SCRATCH && !plan.base.sweep.is_empty())
        .flat_map(|rung| {
            plan.candidates()
                .enumerate()
                .map(move |tried| (rung, tried))
        })
        .collect();
    let Some(scores) = workers.each(&sweeps, |&(rung, (i, settings))| {
        climb.sweep(rung, i, settings)
    })?
    else {
        return Ok(Outcome::Interrupted);
    };
    let chosen = |rung: &String| -> &[String] {
        let mut best: (Option<f64>, &[String]) = (None, &[]);
        for ((of, (_, settings)), &score) in sweeps.iter().zip(&scores) {
            if *of == rung && best.0.is_none_or(|old| score > old) {
                best = (Some(score), settings);
            }
        }
        best.1
    };
    let climb = Climb {
        chosen: plan.rungs.iter().map(chosen).collect(),
        ..climb
    };
    // Rung by rung for each seed: a ladder that is stopped compares equals.
    let runs: Vec<_> = (0..plan.seeds)
        .flat_map(|seed| {
            let rungs = plan.rungs.iter().zip(&climb.chosen);
            rungs.map(move |(rung, &settings)| (rung, settings, seed))
        })
        .collect();
    match workers.each(&runs, |&(rung, settings, seed)| {
        climb.rung(rung, settings, seed)
    })? {
        Some(_) => Ok(Outcome::Finished(climb.report()?)),
        None => Ok(Outcome::Interrupted),
    }
}

/// The plan with precisions that say what they are: as a run does, a ladder goes on in those it was begun in, since the
/// difference is larger than what many parts of the method bring.
fn resolved(job: &Job<'_>) -> anyhow::Result<Plan> {
    #[derive(Deserialize)]
    struct Stored {
        pretrain: Stage,
        finetune: Stage,
    }
    #[derive(Deserialize)]
    struct Stage {
        precision: Choice,
    }
    struct HasBf16;
    impl WithDevice for HasBf16 {
        type Output = bool;
        fn run<D: Backend>(self, dev: &D) -> bool {
            dev.has_bf16()
        }
    }
    let has_bf16 = job.device.with(HasBf16)?;
    let before: Option<Stored> = stored(job.out);
    let of = |stage: fn(&Stored) -> &Stage| before.as_ref().map(|ladder| stage(ladder).precision);
    let (pretraining, finetuning) = (of(|l| &l.pretrain), of(|l| &l.finetune));
    let mut plan = job.plan.clone();
    let Base {
        pretrain, finetune, ..
    } = &mut plan.base;
    pretrain.precision = pretrain.precision.gone_on(pretraining).resolved(has_bf16);
    finetune.precision = finetune.precision.gone_on(finetuning).resolved(has_bf16);
    Ok(plan)
}

/// What must not change when a ladder goes on.
#[derive(Serialize, Deserialize)]
struct Description<'a> {
    data: String,
    labels: String,
    val: String,
    device: String,
    #[serde(flatten)]
    base: Cow<'a, Base>,
}

fn description<'a>(job: &Job<'a>) -> Description<'a> {
    Description {
        data: job.data.fingerprint(),
        labels: job.labels.fingerprint(),
        val: job.val.fingerprint(),
        device: format!("{:?}", job.device).to_lowercase(),
        base: Cow::Borrowed(&job.plan.base),
    }
}

fn total_steps(job: &Job<'_>) -> anyhow::Result<u64> {
    let plan = job.plan;
    let mut each_seed = 0;
    let mut sweeps = 0;
    for rung in &plan.rungs {
        if let Some(config) = plan.pretraining(rung, 0, &[])? {
            let steps = config.steps(job.data.len() as u64);
            each_seed += steps;
            if !plan.base.sweep.is_empty() {
                for settings in plan.candidates() {
                    let config = plan.pretraining(rung, SWEEP_SEED, settings)?;
                    sweeps += config.map_or(0, |config| config.steps(job.data.len() as u64));
                }
            }
        }
        for &labels in &plan.labels {
            let config = plan.finetuning(labels, 0, job.labels.len());
            each_seed += config.steps(job.labels.len() as u64);
        }
    }
    Ok(sweeps + plan.seeds * each_seed)
}

struct Climb<'a> {
    job: Job<'a>,
    board: Board<'a>,
    /// The settings that each rung has chosen, in the plan's order.
    chosen: Vec<&'a [String]>,
    /// Held by who writes the table.
    table: Mutex<()>,
}

/// Why a run has no result, and what one can do: it is what the table says of it, too.
fn failed(error: &PretrainError, file: &Path) -> String {
    match error {
        PretrainError::Collapsed { step, collapse } => format!(
            "step {step}: {collapse}. To wait longer delete {} and give the same command with --set {}",
            file.display(),
            collapse.patience()
        ),
        other => other.to_string(),
    }
}

/// How a run ended.
enum Ended<T> {
    Done(T),
    /// It collapsed, or its values were not finite: that is a result too, and no other run's business.
    Failed,
    /// Asked to stop.
    Interrupted,
}

impl Climb<'_> {
    /// How good settings are for a rung, by the neighbours of its features; nothing is worse than to have failed. `None`
    /// if asked to stop.
    fn sweep(&self, rung: &str, i: usize, settings: &[String]) -> anyhow::Result<Option<f64>> {
        let folder = Folder(self.job.out).sweep(rung, i);
        let what = format!("sweep of {rung}, {}", i + 1);
        let config = self.job.plan.pretraining(rung, SWEEP_SEED, settings)?;
        match self.encoder(config, SWEEP_SEED, &folder, &what)? {
            Ended::Interrupted => Ok(None),
            Ended::Failed => Ok(Some(f64::NEG_INFINITY)),
            Ended::Done(figures) => figures
                .knn
                .context("a sweep compares k-NN accuracies, and --labels has no classes")
                .map(Some),
        }
    }

    /// Everything of a rung with one seed; `None` if asked to stop.
    fn rung(&self, rung: &str, settings: &[String], seed: u64) -> anyhow::Result<Option<()>> {
        let plan = self.job.plan;
        let folder = Folder(self.job.out).pretraining(rung, seed);
        let config = plan.pretraining(rung, seed, settings)?;
        let encoder = self.encoder(config, seed, &folder, rung)?;
        for &labels in &plan.labels {
            let data = self.job.labels;
            let config = plan.finetuning(labels, seed, data.len());
            let at = self.board.run(config.steps(data.len() as u64));
            match encoder {
                Ended::Interrupted => return Ok(None),
                Ended::Failed => at.finished(),
                Ended::Done(_) => {
                    let ended = self.finetune(rung, seed, labels, &config, at)?;
                    if matches!(ended, Ended::Interrupted) {
                        return Ok(None);
                    }
                }
            }
            self.report()?;
        }
        Ok(Some(()))
    }

    /// The figures of an encoder, pretrained as the config says or, without one, as its weights are drawn.
    fn encoder(
        &self,
        config: Option<PretrainConfig>,
        seed: u64,
        folder: &Path,
        what: &str,
    ) -> anyhow::Result<Ended<Figures>> {
        let Some(config) = config else {
            let base = &self.job.plan.base.pretrain;
            let (model, normalisation) = (&base.model, base.crops.normalisation());
            let fresh = || Ok(Encoder::fresh(model, normalisation, seed)?);
            let figures = self.probe(folder, fresh)?;
            return Ok(Ended::Done(figures));
        };
        match self.pretrain(&config, folder, what)? {
            Ended::Interrupted => return Ok(Ended::Interrupted),
            Ended::Failed => return Ok(Ended::Failed),
            Ended::Done(()) => {}
        }
        match self.probe(folder, || Ok(Encoder::open(folder)?)) {
            Ok(figures) => Ok(Ended::Done(figures)),
            Err(error) if matches!(error.downcast_ref(), Some(ProbeError::NotFinite { .. })) => {
                save(&Folder::failure(folder), error.to_string().as_bytes())?;
                Ok(Ended::Failed)
            }
            Err(error) => Err(error),
        }
    }

    fn pretrain(
        &self,
        config: &PretrainConfig,
        folder: &Path,
        what: &str,
    ) -> anyhow::Result<Ended<()>> {
        let Job {
            data,
            labels,
            interrupt,
            ..
        } = self.job;
        let mut at = self.board.run(config.steps(data.len() as u64));
        let failure = Folder::failure(folder);
        let is_done = folder.join("model.safetensors").exists();
        if is_done || failure.exists() {
            // The settings that a rung has chosen may be others, if a run of its sweep was deleted.
            claim(folder, config, true).with_context(|| {
                format!("pretraining {what} is done; delete it, and what was fine-tuned from it, to do it again")
            })?;
        }
        if failure.exists() {
            at.finished();
            return Ok(Ended::Failed);
        }
        if !is_done {
            let job = pretrain::Job {
                config,
                data,
                labels: Some(labels),
                out: folder,
                resume: true,
                device: self.job.device,
                interrupt,
            };
            let outcome = pretrain(job, &mut |p| {
                at.step(
                    p.step,
                    &format!("pretraining {what}, loss {:.3}", p.losses.loss),
                );
            });
            match outcome {
                Ok(pretrain::Outcome::Interrupted { .. }) => return Ok(Ended::Interrupted),
                Ok(pretrain::Outcome::Finished { .. }) => {}
                Err(error) if error.is_divergence() => {
                    save(&failure, failed(&error, &failure).as_bytes())?;
                    at.finished();
                    return Ok(Ended::Failed);
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("pretraining {what}"));
                }
            }
        }
        at.finished();
        Ok(Ended::Done(()))
    }

    /// The figures of an encoder, measured on the labelled pictures unless that was done before.
    fn probe(
        &self,
        folder: &Path,
        encoder: impl FnOnce() -> anyhow::Result<Encoder>,
    ) -> anyhow::Result<Figures> {
        let path = Folder::probe(folder);
        if let Ok(text) = std::fs::read(&path) {
            return serde_json::from_slice(&text)
                .with_context(|| format!("{}; delete it to measure again", path.display()));
        }
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let base = &self.job.plan.base;
        let options = Options {
            // What detectors of these patches see.
            window: Some(base.window()),
            side: Some(base.finetune.detector.size),
            ..Options::default()
        };
        let pictures = Mix::from(self.job.labels.clone());
        let (figures, _) = probe(&encoder()?, &pictures, &options, &mut |_, _| {})?;
        save(&path, &serde_json::to_vec_pretty(&figures)?)?;
        Ok(figures)
    }

    fn finetune(
        &self,
        rung: &str,
        seed: u64,
        labels: Labels,
        config: &FinetuneConfig,
        mut at: board::Run<'_, '_>,
    ) -> anyhow::Result<Ended<()>> {
        let folder = Folder(self.job.out);
        let out = folder.finetuning(rung, labels, seed);
        let data = self.job.labels;
        let failure = Folder::failure(&out);
        if failure.exists() {
            at.finished();
            return Ok(Ended::Failed);
        }
        if !Folder::evaluation(&out).exists() {
            let what = format!("{rung} with {} of the labels", labels.percent());
            let pretrained = (rung != SCRATCH).then(|| folder.pretraining(rung, seed));
            let init = pretrained.as_deref().map(Start::read).transpose()?;
            let job = finetune::Job {
                config,
                data,
                val: Some(self.job.val),
                init: init.as_ref(),
                out: &out,
                resume: true,
                device: self.job.device,
                interrupt: self.job.interrupt,
            };
            let outcome = finetune(job, &mut |progress| match progress {
                finetune::Progress::Learnt { step, losses, .. } => {
                    at.step(
                        step,
                        &format!("fine-tuning {what}, loss {:.3}", losses.loss),
                    );
                }
                finetune::Progress::Scored { .. } => {}
                finetune::Progress::Evaluated { seen, pictures } => {
                    at.meanwhile(&format!("evaluating {what}, {seen} of {pictures}"));
                }
            });
            match outcome {
                Ok(finetune::Outcome::Interrupted { .. }) => return Ok(Ended::Interrupted),
                Ok(finetune::Outcome::Finished { .. }) => {}
                Err(error) if error.is_divergence() => {
                    save(&failure, error.to_string().as_bytes())?;
                    at.finished();
                    return Ok(Ended::Failed);
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("fine-tuning {what}"));
                }
            }
        }
        at.finished();
        Ok(Ended::Done(()))
    }

    /// Writes the table of what is done.
    fn report(&self) -> anyhow::Result<Results> {
        let Job { plan, out, .. } = self.job;
        let _one_at_a_time = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let results = Results::read(out, plan, &self.chosen);
        save(
            &out.join("ladder.json"),
            &serde_json::to_vec_pretty(&results)?,
        )?;
        save(&out.join("ladder.md"), page::markdown(&results).as_bytes())?;
        page::html(&results, plan).write(&out.join("report.html"))?;
        Ok(results)
    }
}
