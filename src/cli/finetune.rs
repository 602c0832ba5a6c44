//! `intertwine finetune`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use intertwine_datasets::PackedSet;

use super::bar::{announce, Bar, Needed};
use super::evaluate;
use super::settings::Settings;
use crate::finetune::config::PRESETS;
use crate::finetune::{finetune, too_small, Brief, FinetuneConfig, Job, Outcome, Progress, Start};
use crate::run::{is_begun, Interrupt};

/// With 500 pictures 375 steps of 16 gave 17 AP, 750 steps 23, 1,500 steps 25 (docs/results.md).
const NEEDED: Needed = Needed {
    few: 1000,
    enough: 1500,
};

/// Fine-tune a detector on labelled pictures.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  pack-dataset my-labels/train.json packed/train --images my-labels/train\n  intertwine finetune --data packed/train --val packed/val --init runs/first --out runs/detector"
)]
pub struct Args {
    /// A labelled packed set to learn from.
    #[arg(long)]
    data: PathBuf,
    /// A labelled packed set to evaluate on: at the end, and as often as watch.evaluations says before.
    #[arg(long)]
    val: Option<PathBuf>,
    /// A pretraining run, or a safetensors file, ours or a vision transformer under timm's names; without it the encoder
    /// starts from nothing. Ours say how colours are normalised; for others it is as for ImageNet unless data.mean and
    /// data.std say otherwise.
    #[arg(long, value_name = "RUN|FILE")]
    init: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = &args.settings;
    let config: FinetuneConfig = settings.choices.resolve(PRESETS)?;
    let data = Arc::new(PackedSet::open(&args.data)?);
    let val = args.val.as_deref().map(PackedSet::open).transpose()?;
    let init = args.init.as_deref().map(Start::read).transpose()?;
    let interrupt = Interrupt::listen();
    let job = Job {
        config: &config,
        data: &data,
        val: val.as_ref(),
        init: init.as_ref(),
        out: &settings.out,
        resume: settings.resume,
        device: settings.device,
        interrupt: &interrupt,
    };
    let pictures = data.len() as u64;
    let steps = config.steps(pictures);
    match settings.resume && is_begun(&settings.out) {
        true => eprintln!(
            "finetune: goes on with the run in {}",
            settings.out.display()
        ),
        false => {
            announce(
                "finetune",
                config.pictures(pictures),
                config.optim.batch,
                steps,
                &NEEDED,
                &settings.out,
            );
            let mut detector = config.clone();
            if let Some(start) = &init {
                eprintln!("starts from {}", start.described(&config));
                detector = start.adopted(detector);
            }
            if let Some(note) = too_small(&detector, &data)? {
                eprintln!("note: {note}");
            }
        }
    }
    let mut bars = Bars::new(steps);
    let outcome = finetune(job, &mut |progress| bars.advance(progress))?;
    bars.end();
    match outcome {
        Outcome::Finished {
            model,
            parity,
            images_per_second,
            data,
            score,
        } => {
            eprintln!(
                "fine-tuned at {images_per_second:.0} images/s; wrote {} (differs from training by {:.1e})",
                model.display(),
                parity.max_abs_diff()
            );
            eprintln!("{data}");
            if let Some(score) = score {
                evaluate::print(&score);
            }
            eprintln!("report: {}", settings.out.join("report.html").display());
            eprintln!(
                "next: detect --model {} PICTURES --out drawn",
                model.display()
            );
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Interrupted { step, steps } => {
            match step == steps {
                true => eprintln!(
                    "stopped; the detector is written; the same command and --resume evaluates it"
                ),
                false => eprintln!(
                    "stopped after step {step} of {steps}; go on with the same command and --resume"
                ),
            }
            eprintln!("report: {}", settings.out.join("report.html").display());
            Ok(ExitCode::from(130))
        }
    }
}

/// A bar for the training, and now and then one for an evaluation in its place.
struct Bars {
    training: Bar,
    evaluation: Option<Bar>,
    is_learnt: bool,
}

impl Bars {
    fn new(steps: u64) -> Self {
        Self {
            training: Bar::new("finetune", steps),
            evaluation: None,
            is_learnt: false,
        }
    }

    fn advance(&mut self, progress: Progress) {
        match progress {
            Progress::Learnt {
                step,
                steps,
                losses: l,
            } => {
                let mut parts = format!("class {:.3} box {:.3}", l.class, l.bbox);
                if let Some(mask) = l.mask {
                    parts += &format!(" mask {mask:.3}");
                }
                self.training
                    .advance(step, format!("loss {:.3} ({parts})", l.loss));
                self.is_learnt = step == steps;
                if self.is_learnt {
                    self.training.abandon();
                }
            }
            Progress::Scored { step, score } => {
                let Brief { ap, ap50, mask_ap } = score;
                let figures = [("box AP", ap), ("AP50", ap50), ("mask AP", mask_ap)];
                let figures = figures
                    .iter()
                    .filter_map(|(name, ap)| Some(format!("{name} {:.3}", (*ap)?)));
                let figures = Vec::from_iter(figures).join(", ");
                if let Some(evaluation) = self.evaluation.take() {
                    evaluation.clear();
                }
                self.training.line(&format!("after step {step}: {figures}"));
            }
            Progress::Evaluated { seen, pictures } => {
                let bar = || Bar::of("evaluate", pictures, "pictures");
                let evaluation = self.evaluation.get_or_insert_with(bar);
                evaluation.advance(seen, String::new());
            }
        }
    }

    /// Leaves the bars as they stand.
    fn end(&self) {
        if !self.is_learnt {
            self.training.abandon();
        }
        if let Some(evaluation) = &self.evaluation {
            evaluation.abandon();
        }
    }
}
