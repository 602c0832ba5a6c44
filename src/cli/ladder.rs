//! `intertwine ladder`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use intertwine_datasets::PackedSet;

use super::bar::Bar;
use super::data::Data;
use super::settings::Choices;
use crate::config::resolve;
use crate::ladder::{ladder, rungs, Base, Job, Labels, Outcome, Plan};
use crate::nn::device::Device;
use crate::run::Interrupt;
use crate::{finetune, pretrain};

/// Compare the method with its parts: pretrain and fine-tune every rung of the ablation ladder alike.
#[derive(clap::Args)]
#[command(
    after_help = "Rungs: scratch, dino, ibot, dinov2-in1k (the paper's base), field, position-mask, both (the paper).\n\nExample:\n  intertwine ladder --data packed/pictures --labels packed/train --val packed/val --out ladder\nRun again to go on after Ctrl-C, or to add --seeds, --rungs or --shares. --jobs 2 does two runs at a time."
)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    /// A labelled packed set to fine-tune on.
    #[arg(long)]
    labels: PathBuf,
    /// A labelled packed set to score on.
    #[arg(long)]
    val: PathBuf,
    /// The folder of all runs, with ladder.md and report.html.
    #[arg(long)]
    out: PathBuf,
    /// What to compare; all rungs by default.
    #[arg(long, value_delimiter = ',', value_name = "RUNG,..")]
    rungs: Vec<String>,
    /// Runs of each rung.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Runs at a time. They share the threads; a small model is done sooner with as many as there are threads, if the
    /// memory holds them.
    #[arg(long, default_value = "1", value_name = "N")]
    jobs: NonZeroUsize,
    /// What computes.
    #[arg(long, value_enum, default_value_t)]
    device: Device,
    /// Shares of the labels to fine-tune with; with =N passes over them, else as many steps as with all labels.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,0.1",
        value_name = "SHARE[=N],.."
    )]
    shares: Vec<String>,
    /// Of the pretraining, before each rung's changes.
    #[command(flatten)]
    choices: Choices,
    /// Settings of the fine-tuning; `intertwine presets` lists them.
    #[arg(long, default_value = finetune::config::PRESETS.default(), value_name = "PRESET")]
    finetune_preset: String,
    /// A TOML file that changes some of them.
    #[arg(long, value_name = "FILE")]
    finetune_config: Option<PathBuf>,
    /// Changes one of them; may be given often.
    #[arg(long, value_name = "KEY=VALUE")]
    finetune_set: Vec<String>,
    /// Settings of the pretraining that each rung tries, and takes if they suit it better; may be given often.
    #[arg(long = "try", value_name = "KEY=VALUE[;KEY=VALUE..]")]
    tried: Vec<String>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let pretrain = args.choices.resolve(pretrain::config::PRESETS)?;
    let finetune: finetune::FinetuneConfig = resolve(
        finetune::config::PRESETS,
        &args.finetune_preset,
        args.finetune_config.as_deref(),
        &args.finetune_set,
    )?;
    let share = |text: &String| Labels::parse(text, finetune.optim.epochs);
    let labels = args.shares.iter().map(share).collect::<Result<_, _>>();
    let settings = |text: &String| text.split(';').map(|s| s.trim().to_owned()).collect();
    let plan = Plan {
        rungs: match args.rungs.is_empty() {
            true => rungs().map(str::to_owned).collect(),
            false => args.rungs,
        },
        seeds: args.seeds,
        labels: labels.map_err(|e| anyhow::anyhow!("--shares: {e}"))?,
        base: Base {
            sweep: args.tried.iter().map(settings).collect(),
            pretrain,
            finetune,
        },
    };
    let (data, labels) = (args.data.open()?, Arc::new(PackedSet::open(&args.labels)?));
    let val = PackedSet::open(&args.val)?;
    let interrupt = Interrupt::listen();
    let job = Job {
        plan: &plan,
        data: &data,
        labels: &labels,
        val: &val,
        out: &args.out,
        at_once: args.jobs,
        device: args.device,
        interrupt: &interrupt,
    };
    let mut bar = Bar::new("ladder", 0);
    let outcome = ladder(job, &mut |p| {
        bar.set_length(p.steps);
        bar.advance(p.done, p.what.to_owned());
    })?;
    bar.abandon();
    match outcome {
        Outcome::Finished(_) => {
            let out = args.out.display();
            print!("{}", std::fs::read_to_string(args.out.join("ladder.md"))?);
            eprintln!("wrote {out}/ladder.md, {out}/ladder.json and {out}/report.html");
            eprintln!(
                "next: look at {out}/report.html; more seeds: the same command with --seeds {}",
                args.seeds + 2
            );
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Interrupted => {
            eprintln!("stopped; the same command goes on from here");
            Ok(ExitCode::from(130))
        }
    }
}
