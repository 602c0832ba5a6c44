//! The runs of a ladder, one after another.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use intertwine_datasets::{Mix, PackedSet};
use serde::Serialize;

use super::results::{Folder, Results};
use super::{page, Base, Labels, Plan, SCRATCH};
use crate::config::Validate;
use crate::evaluate::model::evaluate_detector;
use crate::files::write_atomic;
use crate::finetune::{self, finetune};
use crate::pretrain::{self, pretrain, PretrainConfig};
use crate::probe::encoder::Encoder;
use crate::probe::{probe, Figures, Options};
use crate::run::{claim, Interrupt};

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
    /// Stops after the step at which it is requested.
    pub interrupt: &'a Interrupt,
}

/// What happens, for a progress bar.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Training steps done in all runs, those found finished included.
    pub done: u64,
    /// Training steps of the whole ladder.
    pub steps: u64,
    /// What is being done.
    pub what: &'a str,
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

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Ended {
    Done,
    Stopped,
}

/// Runs what is not finished yet. After each run the table is written anew.
///
/// # Errors
/// What a run runs into, with its name; or if the folder holds a ladder of another base or of other data.
pub fn ladder(job: Job<'_>, progress: &mut dyn FnMut(Progress<'_>)) -> anyhow::Result<Outcome> {
    let plan = job.plan;
    plan.validate()?;
    claim(job.out, &description(&job), true)?;
    let mut climb = Climb {
        steps: total_steps(&job)?,
        job,
        done: 0,
        progress,
    };
    let mut chosen = Vec::new();
    for rung in &plan.rungs {
        let Some(settings) = climb.choose(rung)? else {
            return Ok(Outcome::Interrupted);
        };
        chosen.push(settings);
    }
    for seed in 0..plan.seeds {
        // Rung by rung for each seed: a ladder that is stopped compares equals.
        for (rung, settings) in plan.rungs.iter().zip(&chosen) {
            if climb.rung(rung, settings, seed)? == Ended::Stopped {
                return Ok(Outcome::Interrupted);
            }
        }
    }
    Ok(Outcome::Finished(climb.report()?))
}

/// What must not change when a ladder goes on.
fn description(job: &Job<'_>) -> String {
    #[derive(Serialize)]
    struct Description<'a> {
        data: String,
        labels: String,
        val: String,
        #[serde(flatten)]
        base: &'a Base,
    }
    let description = Description {
        data: job.data.fingerprint(),
        labels: job.labels.fingerprint(),
        val: job.val.fingerprint(),
        base: &job.plan.base,
    };
    toml::to_string(&description).expect("a plan is plain data")
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
                sweeps += steps * plan.candidates().count() as u64;
            }
        }
        for &labels in &plan.labels {
            let config = plan.finetuning(labels, 0, job.labels.len());
            each_seed += config.steps(job.labels.len() as u64);
        }
    }
    Ok(sweeps + plan.seeds * each_seed)
}

struct Climb<'a, 'p> {
    job: Job<'a>,
    done: u64,
    steps: u64,
    progress: &'p mut dyn FnMut(Progress<'_>),
}

impl<'a> Climb<'a, '_> {
    /// The settings that a rung takes of those that are tried; `None` if asked to stop.
    fn choose(&mut self, rung: &str) -> anyhow::Result<Option<&'a [String]>> {
        let plan = self.job.plan;
        let mut best: (Option<f64>, &[String]) = (None, &[]);
        if rung == SCRATCH || plan.base.sweep.is_empty() {
            return Ok(Some(best.1));
        }
        for (i, settings) in plan.candidates().enumerate() {
            let folder = Folder(self.job.out).sweep(rung, i);
            let what = format!("sweep of {rung}, {}", i + 1);
            let config = plan.pretraining(rung, SWEEP_SEED, settings)?;
            let figures = match self.encoder(config, SWEEP_SEED, &folder, &what)? {
                Some(figures) => figures,
                None => return Ok(None),
            };
            let score = figures
                .knn
                .context("a sweep compares k-NN accuracies, and --labels has no classes")?;
            if best.0.is_none_or(|old| score > old) {
                best = (Some(score), settings);
            }
        }
        Ok(Some(best.1))
    }

    /// Everything of a rung with one seed.
    fn rung(&mut self, rung: &str, settings: &[String], seed: u64) -> anyhow::Result<Ended> {
        let plan = self.job.plan;
        let folder = Folder(self.job.out).pretraining(rung, seed);
        let config = plan.pretraining(rung, seed, settings)?;
        if self.encoder(config, seed, &folder, rung)?.is_none() {
            return Ok(Ended::Stopped);
        }
        for &labels in &plan.labels {
            if self.finetune(rung, seed, labels)? == Ended::Stopped {
                return Ok(Ended::Stopped);
            }
            self.report()?;
        }
        Ok(Ended::Done)
    }

    /// The figures of an encoder, pretrained as the config says or, without one, as its weights are drawn; `None` if
    /// asked to stop.
    fn encoder(
        &mut self,
        config: Option<PretrainConfig>,
        seed: u64,
        folder: &Path,
        what: &str,
    ) -> anyhow::Result<Option<Figures>> {
        let Some(config) = config else {
            let model = &self.job.plan.base.pretrain.model;
            let figures = self.probe(folder, || Ok(Encoder::fresh(model, seed)?));
            return figures.map(Some);
        };
        if self.pretrain(&config, folder, what)? == Ended::Stopped {
            return Ok(None);
        }
        self.probe(folder, || Ok(Encoder::open(folder)?)).map(Some)
    }

    fn pretrain(
        &mut self,
        config: &PretrainConfig,
        folder: &Path,
        what: &str,
    ) -> anyhow::Result<Ended> {
        let (before, whole) = (self.done, self.steps);
        let Job {
            data,
            labels,
            interrupt,
            ..
        } = self.job;
        let steps = config.steps(data.len() as u64);
        if !folder.join("model.safetensors").exists() {
            let job = pretrain::Job {
                config,
                data,
                labels: Some(labels),
                out: folder,
                resume: true,
                interrupt,
            };
            let outcome = pretrain(job, &mut |p| {
                (self.progress)(Progress {
                    done: before + p.step,
                    steps: whole,
                    what: &format!("pretraining {what}, loss {:.3}", p.losses.loss),
                });
            })
            .with_context(|| format!("pretraining {what}"))?;
            if let pretrain::Outcome::Interrupted { .. } = outcome {
                return Ok(Ended::Stopped);
            }
        }
        self.done = before + steps;
        Ok(Ended::Done)
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
        let options = Options {
            window: self.job.plan.base.finetune.data.window,
            // What detectors of these patches see.
            side: Some(self.job.plan.base.finetune.detector.size),
            ..Options::default()
        };
        let pictures = Mix::from(self.job.labels.clone());
        let (figures, _) = probe(&encoder()?, &pictures, &options, &mut |_, _| {})?;
        write_atomic(&path, &serde_json::to_vec_pretty(&figures)?)?;
        Ok(figures)
    }

    fn finetune(&mut self, rung: &str, seed: u64, labels: Labels) -> anyhow::Result<Ended> {
        let (before, whole) = (self.done, self.steps);
        let at = Folder(self.job.out);
        let out = at.finetuning(rung, labels, seed);
        let init = at.pretraining(rung, seed);
        let data = self.job.labels;
        let config = &self.job.plan.finetuning(labels, seed, data.len());
        if !Folder::evaluation(&out).exists() {
            let what = format!("{rung} with {} of the labels", labels.percent());
            let job = finetune::Job {
                config,
                data,
                init: (rung != SCRATCH).then_some(&*init),
                out: &out,
                resume: true,
                interrupt: self.job.interrupt,
            };
            let outcome = finetune(job, &mut |p| {
                (self.progress)(Progress {
                    done: before + p.step,
                    steps: whole,
                    what: &format!("fine-tuning {what}, loss {:.3}", p.losses.loss),
                });
            })
            .with_context(|| format!("fine-tuning {what}"))?;
            let finetune::Outcome::Finished { model, .. } = outcome else {
                return Ok(Ended::Stopped);
            };
            let score = evaluate_detector(&model, self.job.val)
                .with_context(|| format!("evaluating {what}"))?;
            write_atomic(
                &Folder::evaluation(&out),
                &serde_json::to_vec_pretty(&score)?,
            )?;
        }
        self.done = before + config.steps(data.len() as u64);
        Ok(Ended::Done)
    }

    /// Writes the table of what is done.
    fn report(&self) -> anyhow::Result<Results> {
        let Job { plan, out, .. } = self.job;
        let results = Results::read(out, plan);
        write_atomic(
            &out.join("ladder.json"),
            &serde_json::to_vec_pretty(&results)?,
        )?;
        write_atomic(&out.join("ladder.md"), page::markdown(&results).as_bytes())?;
        page::html(&results, plan).write(&out.join("report.html"))?;
        Ok(results)
    }
}
