//! `intertwine pretrain`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use intertwine_datasets::PackedSet;

use super::bar::{announce, Bar, Needed};
use super::data::Data;
use super::settings::Settings;
use crate::pretrain::config::PRESETS;
use crate::pretrain::{pretrain, Job, Outcome, PretrainConfig};
use crate::run::Interrupt;

/// A network of six blocks has learnt something that a probe can tell after 500 (docs/results.md).
const NEEDED: Needed = Needed {
    few: 200,
    enough: 500,
};

/// Pretrain an encoder on unlabelled pictures.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  pack-dataset my-pictures packed/pictures --min-side 256\n  intertwine pretrain --data packed/pictures --out runs/first\n  intertwine pretrain --data packed/pictures --out runs/first --resume    # after Ctrl-C"
)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    /// A labelled packed set on which the encoder is probed meanwhile (watch.probe_every); nothing is learnt from it.
    /// Without it, that is done on the pictures of --data, and classes are not looked at.
    #[arg(long, value_name = "SET")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = &args.settings;
    let config: PretrainConfig = settings.choices.resolve(PRESETS)?;
    let data = args.data.open()?;
    let labels = args.labels.as_deref().map(PackedSet::open);
    let labels = labels.transpose()?.map(Arc::new);
    let interrupt = Interrupt::listen();
    let job = Job {
        config: &config,
        data: &data,
        labels: labels.as_ref(),
        out: &settings.out,
        resume: settings.resume,
        device: settings.device,
        interrupt: &interrupt,
    };
    let (pictures, out) = (data.len() as u64, &settings.out);
    let steps = config.steps(pictures);
    announce(
        "pretrain",
        pictures,
        config.optim.batch,
        steps,
        &NEEDED,
        out,
    );
    let mut bar = Bar::new("pretrain", steps);
    let outcome = pretrain(job, &mut |p| {
        let l = p.losses;
        bar.advance(
            p.step,
            format!(
                "loss {:.3} (image {:.3} content {:.3} position {:.3})",
                l.loss, l.image, l.content, l.position
            ),
        );
    })?;
    bar.abandon();
    let out = out.display();
    match outcome {
        Outcome::Finished {
            images_per_second,
            data,
            ..
        } => {
            eprintln!(
                "pretrained at {images_per_second:.1} images/s; wrote {out}/model.safetensors"
            );
            eprintln!("{data}");
            eprintln!("report: {out}/report.html");
            eprintln!(
                "next: intertwine finetune --data TRAIN --val VAL --init {out} --out runs/detector"
            );
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Interrupted { step, steps } => {
            eprintln!(
                "stopped after step {step} of {steps}; go on with the same command and --resume"
            );
            eprintln!("report: {out}/report.html");
            Ok(ExitCode::from(130))
        }
    }
}
