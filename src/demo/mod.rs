//! The whole way on drawn pictures, from nothing: draw, pack, pretrain, fine-tune twice (pretrained and
//! from scratch, same budget), evaluate, export, detect with tract, report.
//!
//! Every stage goes the way a user's own data would, through the library. A stage whose result is there
//! already is not done again, so a demo that was stopped goes on.
//!
//! # Layout
//! - this file: the chain.
//! - `page`: the report.

mod page;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use intertwine_datasets::scenes::{draw_scene, write_coco, write_pictures, SceneConfig};
use intertwine_datasets::{pack, Mix, PackOptions, PackedSet, Source};
use intertwine_detect::Detector;

use crate::config::resolve;
use crate::evaluate::Report as Score;
use crate::files::save;
use crate::finetune::{self, FinetuneConfig, Progress, Start};
use crate::nn::device::Device;
use crate::pretrain::{self, PretrainConfig};
use crate::run::Interrupt;

/// What a demo is made of.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Where everything goes.
    pub out: PathBuf,
    /// About how long the three trainings take together on two cores.
    pub minutes: f64,
}

/// Minutes that the presets' trainings take on two cores.
pub const FULL_MINUTES: f64 = 9.0;

/// Pictures for pretraining, for fine-tuning and for evaluation.
const UNLABELLED: u64 = 4000;
const TRAIN: u64 = 1500;
const VAL: u64 = 200;
/// Pictures that no stage has seen, for the report.
const UNSEEN: u64 = 8;

/// The figures of a demo, as in `metrics.json`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Metrics {
    /// Box AP after pretraining, 0 to 1.
    pub ap: f64,
    /// Box AP at IoU 0.5 after pretraining.
    pub ap50: f64,
    /// Box AP without pretraining, same budget.
    pub ap_scratch: f64,
    /// Mask AP after pretraining.
    pub mask_ap: f64,
    /// Largest difference between tract and training, of all outputs.
    pub export_max_abs_diff: f32,
    /// Pictures a second while pretraining, when that was done.
    pub images_per_s_pretrain: f64,
    /// Median time for one picture, file excluded, in milliseconds.
    pub detect_ms: f64,
}

/// How a demo ended.
#[derive(Clone, Debug)]
pub enum DemoOutcome {
    /// The report is written.
    Finished {
        /// The figures.
        metrics: Metrics,
        /// The report.
        report: PathBuf,
    },
    /// Asked to stop.
    Interrupted,
}

/// What a stage says while it works: its name, steps done, steps in all, a remark.
pub type Say<'a> = &'a mut (dyn FnMut(&str, u64, u64, &str) + Send);

/// Runs the demo.
///
/// # Errors
/// Whatever a stage runs into, with the stage's name.
pub fn demo(
    options: &DemoOptions,
    interrupt: &Interrupt,
    say: Say<'_>,
) -> anyhow::Result<DemoOutcome> {
    let out = &options.out;
    let share = (options.minutes / FULL_MINUTES).max(0.001);
    let mut pretraining: PretrainConfig = resolve(pretrain::config::PRESETS, "demo", None, &[])?;
    pretraining.optim.epochs *= share;
    let mut finetuning: FinetuneConfig = resolve(finetune::config::PRESETS, "demo", None, &[])?;
    finetuning.optim.epochs *= share;

    let scenes = SceneConfig {
        size: 64,
        max_objects: 2,
        classes: 5,
        difficulty: 0.0,
        ..SceneConfig::default()
    };
    let sets = Sets::prepare(out, &scenes, say).context("drawing and packing the pictures")?;

    let job = pretrain::Job {
        config: &pretraining,
        data: &sets.unlabelled,
        labels: Some(&sets.train),
        out: &out.join("pretrain"),
        resume: true,
        device: Device::Cpu,
        interrupt,
    };
    let mut last = String::new();
    let outcome = pretrain::pretrain(job, &mut |p| {
        last = format!("loss {:.3}", p.losses.loss);
        say("pretrain", p.step, p.steps, &last);
    })
    .context("pretraining")?;
    let pretrain::Outcome::Finished {
        images_per_second,
        graph,
        ..
    } = outcome
    else {
        return Ok(DemoOutcome::Interrupted);
    };

    let mut trained = Vec::new();
    for (name, init) in [("finetuned", Some(out.join("pretrain"))), ("scratch", None)] {
        let folder = out.join(name);
        let init = init.as_deref().map(Start::read).transpose()?;
        let job = finetune::Job {
            config: &finetuning,
            data: &sets.train,
            val: Some(&sets.val),
            init: init.as_ref(),
            out: &folder,
            resume: true,
            device: Device::Cpu,
            interrupt,
        };
        let mut at = (0, 0);
        let outcome = finetune::finetune(job, &mut |progress| match progress {
            Progress::Learnt {
                step,
                steps,
                losses,
            } => {
                at = (step, steps);
                say(name, step, steps, &format!("loss {:.3}", losses.loss));
            }
            Progress::Scored { .. } => {}
            Progress::Evaluated { seen, pictures } => {
                say(name, at.0, at.1, &format!("evaluated {seen} of {pictures}"));
            }
        })
        .with_context(|| format!("fine-tuning ({name})"))?;
        let finetune::Outcome::Finished {
            model,
            parity,
            score,
            ..
        } = outcome
        else {
            return Ok(DemoOutcome::Interrupted);
        };
        trained.push(Trained {
            model,
            parity: parity.max_abs_diff(),
            score: *score.expect("there are pictures to evaluate on"),
        });
    }
    let [pretrained, scratch] = <[Trained; 2]>::try_from(trained).expect("two were trained");

    let unseen: Vec<_> = (0..UNSEEN)
        .map(|i| draw_scene(&scenes, SEED, UNLABELLED + TRAIN + VAL + i).image)
        .collect();
    let mut detector = Detector::load(&pretrained.model)?;
    let detect_ms = time_detection(&mut detector, &unseen)?;
    let metrics = Metrics {
        ap: pretrained.score.first.stats[0],
        ap50: pretrained.score.first.stats[1],
        ap_scratch: scratch.score.first.stats[0],
        mask_ap: pretrained.score.masks.as_ref().map_or(-1.0, |m| m.stats[0]),
        export_max_abs_diff: pretrained.parity.max(scratch.parity),
        images_per_s_pretrain: images_per_second,
        detect_ms,
    };
    save(
        &out.join("metrics.json"),
        &serde_json::to_vec_pretty(&metrics)?,
    )?;
    let facts = page::Facts {
        out,
        metrics: &metrics,
        pretraining: &pretraining,
        window: finetuning.data.window,
        pretrained: &pretrained.score,
        scratch: &scratch.score,
        unseen: &unseen,
        graph: graph.as_deref(),
    };
    let report = out.join("report.html");
    page::write(&facts, &mut detector, &report).context("writing the report")?;
    Ok(DemoOutcome::Finished { metrics, report })
}

/// The seed of the drawn pictures.
const SEED: u64 = 0;

/// A detector and its score.
#[derive(Debug)]
struct Trained {
    model: PathBuf,
    parity: f32,
    score: Score,
}

/// The packed sets.
struct Sets {
    unlabelled: Arc<Mix>,
    train: Arc<PackedSet>,
    val: Arc<PackedSet>,
}

impl Sets {
    /// Draws and packs what is not there yet.
    fn prepare(out: &Path, scenes: &SceneConfig, say: Say<'_>) -> anyhow::Result<Self> {
        let mut first = 0;
        let mut set = |name: &str, count: u64, labelled: bool| -> anyhow::Result<Arc<PackedSet>> {
            let range = first..first + count;
            first += count;
            let packed = out.join("packed").join(name);
            if !PackedSet::is_in(&packed) {
                say(name, 0, count, "drawing and packing");
                let drawn = out.join("drawn").join(name);
                let source = if labelled {
                    Source::new(write_coco(&drawn, scenes, SEED, range)?.annotations)
                } else {
                    write_pictures(&drawn, scenes, SEED, range)?;
                    Source::new(drawn)
                };
                pack(&source, &PackOptions::default(), &packed, &|_| {})?;
                say(name, count, count, "packed");
            }
            Ok(Arc::new(PackedSet::open(&packed)?))
        };
        Ok(Self {
            unlabelled: Arc::new(set("unlabelled", UNLABELLED, false)?.into()),
            train: set("train", TRAIN, true)?,
            val: set("val", VAL, true)?,
        })
    }
}

/// Median milliseconds a picture, after one round to warm up.
fn time_detection(detector: &mut Detector, pictures: &[image::RgbImage]) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for round in 0..4 {
        for picture in pictures {
            let start = Instant::now();
            detector.detect(picture)?;
            if round > 0 {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied().unwrap_or(0.0))
}
