//! `intertwine export`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{bail, Context};

use crate::config::resolve;
use crate::export::{export_random, DetectorSpec};
use crate::finetune::config::PRESETS;
use crate::finetune::FinetuneConfig;
use crate::nn::arch::{self, Arch, WithArch};

/// Copy out a run's detector, or write an untrained one for benchmarks.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  intertwine export runs/detector --out detector.onnx\n  intertwine export --preset pico --size 384 --random --out random.onnx"
)]
pub struct Args {
    /// A finished fine-tuning run. Its detector was checked against training when it was written.
    run: Option<PathBuf>,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
    /// An untrained detector of a preset's sizes.
    #[arg(long, conflicts_with = "run")]
    random: bool,
    /// The preset of an untrained detector.
    #[arg(long, default_value = PRESETS.default())]
    preset: String,
    /// Side of the input of an untrained detector, in pixels.
    #[arg(long)]
    size: Option<usize>,
    /// Classes of an untrained detector.
    #[arg(long, default_value_t = 80)]
    classes: usize,
    /// Changes one setting of the preset, as in --set model.arch=small16; may be given often.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match (&args.run, args.random) {
        (Some(run), _) => {
            let model = run.join("model.onnx");
            let bytes = std::fs::read(&model).with_context(|| {
                format!(
                    "{}: no exported detector there; is {} a finished fine-tuning run?",
                    model.display(),
                    run.display()
                )
            })?;
            // What is copied out must load.
            intertwine_detect::Detector::from_bytes(&bytes)
                .with_context(|| model.display().to_string())?;
            crate::files::write_atomic(&args.out, &bytes)
                .with_context(|| args.out.display().to_string())?;
        }
        (None, true) => {
            let mut config: FinetuneConfig = resolve(PRESETS, &args.preset, None, &args.set)?;
            config.detector.size = args.size.unwrap_or(config.detector.size);
            struct Spec<'a>(&'a FinetuneConfig, usize);
            impl WithArch for Spec<'_> {
                type Output = DetectorSpec;
                fn run<A: Arch>(self) -> DetectorSpec {
                    self.0.spec::<A>(&self.0.model, self.1, true)
                }
            }
            let spec = arch::dispatch(&config.model.arch, Spec(&config, args.classes))?;
            let report = export_random(&spec, config.seed, &args.out)?;
            eprintln!(
                "tract differs from the plain network by {:.1e} at most",
                report.max_abs_diff()
            );
        }
        (None, false) => bail!("expected a fine-tuning run to export, or --random; see --help"),
    }
    eprintln!("wrote {}", args.out.display());
    eprintln!(
        "next: detect --model {} PICTURES --out drawn",
        args.out.display()
    );
    Ok(ExitCode::SUCCESS)
}
