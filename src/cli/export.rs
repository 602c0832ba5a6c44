//! `intertwine export`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{bail, ensure, Context};
use intertwine_datasets::PackedSet;

use super::evaluate::score;
use crate::config::resolve;
use crate::export::{compress, export_random, DetectorSpec, WeightFormat};
use crate::files::{make_room, save};
use crate::finetune::config::PRESETS;
use crate::finetune::FinetuneConfig;
use crate::nn::arch::{self, Arch, WithArch};

/// Copy out a run's detector, or write an untrained one for benchmarks.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  intertwine export runs/detector --out detector.onnx\n  intertwine export runs/detector --out small.onnx --weights int8 --val packed/val\n  intertwine export --preset pico --size 384 --random --out random.onnx"
)]
pub struct Args {
    /// A finished fine-tuning run. Its detector was checked against training when it was written.
    run: Option<PathBuf>,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
    /// How the file holds its weights: as trained, in half or in a quarter of the bytes.
    #[arg(long, value_enum, default_value_t, requires = "run")]
    weights: WeightFormat,
    /// A labelled packed set: the average precision of the file written and of the run's own are put into a report beside
    /// the file, as JSON.
    #[arg(long, value_name = "SET", requires = "run")]
    val: Option<PathBuf>,
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
    make_room(&args.out)?;
    let report = args.val.as_ref().map(|_| args.out.with_extension("json"));
    if let Some(report) = &report {
        ensure!(
            *report != args.out,
            "--out {}: its report would take its place; choose another name, as in model.onnx",
            args.out.display()
        );
        make_room(report)?;
    }
    match (&args.run, args.random) {
        (Some(run), _) => {
            let model = run.join("model.onnx");
            ensure!(
                !is_same(&model, &args.out),
                "--out {}: it is the run's own detector; choose another file",
                args.out.display()
            );
            let bytes = std::fs::read(&model).with_context(|| {
                format!(
                    "{}: no exported detector there; is {} a finished fine-tuning run?",
                    model.display(),
                    run.display()
                )
            })?;
            let smaller =
                compress(&bytes, args.weights).with_context(|| model.display().to_string())?;
            // What is copied out must load.
            intertwine_detect::Detector::from_bytes(&smaller)
                .with_context(|| model.display().to_string())?;
            save(&args.out, &smaller)?;
            if let (Some(val), Some(path)) = (&args.val, report) {
                let report = Report {
                    weights: args.weights.name(),
                    file: File::measure(&args.out, val)?,
                    run: File::measure(&model, val)?,
                };
                report.print();
                save(&path, &serde_json::to_vec_pretty(&report)?)?;
                eprintln!("wrote {}", path.display());
            }
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
            let report = export_random(&spec, config.data.normalisation(), config.seed, &args.out)?;
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

/// Whether both lead to one file that is there.
fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// What a file's smaller weights cost.
#[derive(serde::Serialize)]
struct Report {
    weights: &'static str,
    /// The file that was written.
    file: File,
    /// The run's own, with weights in f32.
    run: File,
}

/// A model's size and figures.
#[derive(serde::Serialize)]
struct File {
    bytes: u64,
    ap: f64,
    ap50: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mask_ap: Option<f64>,
}

impl File {
    fn measure(model: &Path, val: &Path) -> anyhow::Result<Self> {
        let report = score(model, &PackedSet::open(val)?)?;
        let [ap, ap50, ..] = report.first.stats;
        Ok(Self {
            bytes: std::fs::metadata(model)?.len(),
            ap,
            ap50,
            mask_ap: report.masks.map(|masks| masks.stats[0]),
        })
    }
}

impl Report {
    fn print(&self) {
        for (name, file) in [("f32", &self.run), (self.weights, &self.file)] {
            let masks = file
                .mask_ap
                .map_or(String::new(), |ap| format!("  mask AP {ap:.4}"));
            println!(
                "{name:>5}: {:8.1} kB  AP {:.4}  AP50 {:.4}{masks}",
                file.bytes as f64 / 1e3,
                file.ap,
                file.ap50
            );
        }
    }
}
