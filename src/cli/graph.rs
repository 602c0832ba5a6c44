//! `intertwine graph`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, Context};
use image::RgbImage;
use intertwine_datasets::{Mix, Scratch};
use intertwine_detect::Detector;

use super::data::Data;
use super::settings::Choices;
use crate::feed::{Limit, Watched};
use crate::{finetune, pretrain};

/// Run a graph for a while and show where its time goes.
///
/// The graph, with its numbers, goes to standard output, the sentence that sums it up to standard error.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  intertwine graph --data packed/pictures --form table --step\n  intertwine graph --data packed/val --what detect --model runs/detector/model.onnx | mmdc -i - -o graph.svg"
)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    /// The graph to run.
    #[arg(long, default_value = "pretrain")]
    what: What,
    #[command(flatten)]
    choices: Choices,
    /// The exported detector, for --what detect.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Take training steps with the batches, on a new network that is thrown away, and as many more on one
    /// batch that lies in memory, for comparison; otherwise batches are dropped as fast as they come.
    #[arg(long)]
    step: bool,
    /// Stop after so many pictures.
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    items: Option<u64>,
    /// Stop after so many seconds.
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    seconds: f64,
    /// How to show it.
    #[arg(long, default_value = "mermaid")]
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// From shards to a pretraining step.
    Pretrain,
    /// From shards to a fine-tuning step; the set must have labels.
    Finetune,
    /// From a picture to detections; needs --model.
    Detect,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Form {
    /// A Mermaid flowchart.
    Mermaid,
    /// A Graphviz digraph.
    Dot,
    /// Tables.
    Table,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let limit = match args.items {
        Some(items) => Limit::Pictures(items),
        None => Limit::Time(
            Duration::try_from_secs_f64(args.seconds)
                .with_context(|| format!("--seconds {}", args.seconds))?,
        ),
    };
    let sets = args.data.open()?;
    let watched = match args.what {
        What::Pretrain => {
            let config = args.choices.resolve(pretrain::config::PRESETS)?;
            pretrain::watch(&config, &sets, limit, args.step)?
        }
        What::Finetune => {
            let config = args.choices.resolve(finetune::config::PRESETS)?;
            let [set] = sets.sets() else {
                bail!(
                    "--data: fine-tuning reads one set, {} were given",
                    sets.sets().len()
                )
            };
            finetune::watch(&config, set, limit, args.step)?
        }
        What::Detect => {
            if args.step {
                bail!("--step: a detector takes no training steps; leave it out");
            }
            let model = args.model.context("--what detect needs --model M.onnx")?;
            watch_detector(&mut Detector::load(&model)?, &sets, limit)?
        }
    };
    match args.form {
        Form::Mermaid => print!("{}", watched.graph.mermaid()),
        Form::Dot => print!("{}", watched.graph.dot()),
        Form::Table => {
            print!("{}", watched.stats.work_table());
            if args.what != What::Detect {
                print!("\n{}", watched.stats.consumer_table());
            }
        }
    }
    eprintln!(
        "{} pictures, {:.1} a second",
        watched.pictures,
        watched.rate()
    );
    if let Some(rate) = watched.alone {
        eprintln!("the step alone, on a batch that lies in memory: {rate:.1} a second");
    }
    if args.what != What::Detect {
        eprintln!("{}", watched.stats.verdict());
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the edge graph on the pictures of a set, one after the other; reading them is not its work.
fn watch_detector(
    detector: &mut Detector,
    sets: &Arc<Mix>,
    limit: Limit,
) -> anyhow::Result<Watched> {
    let (mut image, mut scratch) = (RgbImage::default(), Scratch::default());
    let counters = detector.counters();
    let mut detect = |picture: u64| -> anyhow::Result<()> {
        let (set, number) = sets.locate((picture % sets.len() as u64) as usize);
        set.read_image_into(number, &mut image, &mut scratch)?;
        detector.detect(&image)?;
        Ok(())
    };
    // The first finds nothing prepared.
    detect(0)?;
    let (before, start) = (counters.snapshot(), Instant::now());
    let mut pictures = 0;
    loop {
        pictures += 1;
        detect(pictures)?;
        let time = start.elapsed();
        if limit.is_reached(pictures, time) {
            let stats = counters.snapshot().since(&before);
            return Ok(Watched {
                graph: Detector::describe().with(&stats),
                stats,
                pictures,
                time,
                alone: None,
            });
        }
    }
}
