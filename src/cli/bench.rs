//! `intertwine bench`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use intertwine_datasets::PackedSet;

use crate::bench::{data, encoder, pretraining};
use crate::nn::autocast::Choice;

/// Measure how long things take here.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  intertwine bench data --data packed --threads 2\n  \
                  intertwine bench train --what encoder --steps 20 --json encoder.json"
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Data(Data),
    Train(Train),
}

/// Count the pictures a second from a packed set to 2 x 224 + 8 x 96 augmented views. For a comparison with other
/// programs see tests/peers/bench_data.py.
#[derive(clap::Args)]
struct Data {
    /// The packed set.
    #[arg(long, value_name = "SHARDS", required_unless_present = "pictures")]
    data: Option<PathBuf>,
    /// Read and decode the files of a folder instead.
    #[arg(long, value_name = "FOLDER", conflicts_with = "data")]
    pictures: Option<PathBuf>,
    /// `fast` approximates the colour jitter; see docs/data.md.
    #[arg(long, value_name = "M", value_parser = ["exact", "fast"], default_value = "exact")]
    mode: String,
    /// Pictures in a round.
    #[arg(long, value_name = "N", default_value = "1000")]
    images: NonZeroUsize,
    /// Rounds, of which the median is given.
    #[arg(long, value_name = "N", default_value = "3")]
    rounds: NonZeroUsize,
    /// Write the rates as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Time training steps. For a comparison with PyTorch see tests/peers/bench_train.py.
#[derive(clap::Args)]
struct Train {
    /// The work.
    #[arg(long)]
    what: Work,
    /// Timed steps; a few more go before, untimed.
    #[arg(long, value_name = "N", default_value = "10")]
    steps: NonZeroUsize,
    /// Of matrix products; by default bf16 where the CPU has instructions for it.
    #[arg(long, value_name = "P", value_parser = ["auto", "f32", "bf16"], default_value = "auto")]
    precision: String,
    /// Write the times as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Work {
    /// ViT-Tiny/16's blocks on 8 sequences of 197 tokens: forward, backward, AdamW.
    Encoder,
    /// The whole method on ViT-S/16: 4 pictures, 2 x 224 + 8 x 96 pixels, 8,192 prototypes.
    Pretrain,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (What::Data(Data { json, .. }) | What::Train(Train { json, .. })) = &args.what;
    if let Some(path) = json {
        crate::files::make_room(path)?;
    }
    match args.what {
        What::Data(args) => run_data(args),
        What::Train(args) => run_train(args),
    }
}

fn run_data(args: Data) -> anyhow::Result<ExitCode> {
    let from = match (args.data, args.pictures) {
        (Some(shards), _) => data::Pictures::Packed(Arc::new(PackedSet::open(&shards)?)),
        (None, Some(folder)) => data::Pictures::folder(&folder)?,
        (None, None) => anyhow::bail!("neither --data nor --pictures is given"),
    };
    let (images, rounds) = (args.images.get() as u64, args.rounds.get());
    let rate = data::measure(from, args.mode == "fast", images, rounds)?;
    println!(
        "{}: {:.0} images/s on {} threads, median of {} rounds of {} pictures",
        rate.mode, rate.images_per_s, rate.threads, rounds, rate.images
    );
    write(args.json.as_deref(), &rate)
}

fn run_train(args: Train) -> anyhow::Result<ExitCode> {
    let precision = match args.precision.as_str() {
        "f32" => Choice::F32,
        "bf16" => Choice::Bf16,
        _ => Choice::Auto,
    };
    let times = match args.what {
        Work::Encoder => encoder::measure(args.steps.get(), precision.precision()),
        Work::Pretrain => pretraining::measure(args.steps.get(), precision)?,
    };
    let median = times.median_ms();
    println!(
        "{} in {}: median of {} steps {median:.1} ms, {:.1} images/s on {} threads",
        times.what,
        times.precision,
        times.steps_ms.len(),
        times.images as f64 * 1e3 / median,
        times.threads
    );
    if let Some(bytes) = times.peak_bytes {
        println!("peak memory {:.0} MiB", bytes as f64 / f64::from(1 << 20));
    }
    write(args.json.as_deref(), &times)
}

fn write(path: Option<&Path>, figures: &impl serde::Serialize) -> anyhow::Result<ExitCode> {
    if let Some(path) = path {
        crate::files::save(path, &serde_json::to_vec_pretty(figures)?)?;
        eprintln!("wrote {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
