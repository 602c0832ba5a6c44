//! `intertwine bench`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::bench::{encoder, pretraining};
use crate::nn::autocast::Choice;

/// Measure how long things take here.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  intertwine bench train --what encoder --steps 20 --json encoder.json"
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Train(Train),
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
    let What::Train(args) = args.what;
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
    if let Some(path) = &args.json {
        crate::files::write_atomic(path, &serde_json::to_vec_pretty(&times)?)?;
        eprintln!("wrote {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
