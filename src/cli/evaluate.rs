//! `intertwine evaluate`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{bail, ensure};
use intertwine_datasets::PackedSet;

use super::bar::Bar;
use crate::evaluate::model::{evaluate_detector, ScoreError};
use crate::evaluate::{self, page, IouType, Report};
use crate::files::{make_room, save};
use crate::report::Report as Page;

/// Score a detector, or any COCO result file, with COCO's average precision.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  intertwine evaluate --model runs/detector --data packed/val --json ap.json --report ap.html\n  intertwine evaluate --gt instances_val.json --dt results.json --iou segm"
)]
pub struct Args {
    /// A fine-tuning run, or an exported ONNX file.
    #[arg(long, value_name = "RUN|ONNX", requires = "data", conflicts_with_all = ["gt", "dt"])]
    model: Option<PathBuf>,
    /// A labelled packed set.
    #[arg(long)]
    data: Option<PathBuf>,
    /// A COCO label file.
    #[arg(long, requires = "dt")]
    gt: Option<PathBuf>,
    /// A COCO result file.
    #[arg(long, requires = "gt")]
    dt: Option<PathBuf>,
    /// What is compared of --gt and --dt; a model is scored by its boxes, and by its masks if it makes any.
    #[arg(long, default_value = "bbox", conflicts_with = "model")]
    iou: Iou,
    /// Write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with the figures, and pictures with what is labelled beside what the model finds.
    #[arg(long, value_name = "FILE.html", requires = "model")]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Iou {
    Bbox,
    Segm,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    for path in args.json.iter().chain(&args.report) {
        make_room(path)?;
    }
    match (&args.model, &args.data, &args.gt, &args.dt) {
        (Some(model), Some(data), None, None) => {
            let model = match model.is_dir() {
                true => model.join("model.onnx"),
                false => model.clone(),
            };
            ensure!(
                model.exists(),
                "{}: no detector there; is it a finished fine-tuning? (One that was stopped goes on with --resume.)",
                model.display()
            );
            let data = PackedSet::open(data)?;
            let report = score(&model, &data)?;
            tell(&report, args.json.as_deref())?;
            if let Some(path) = &args.report {
                let sections = page::sections(&model, &data, &report)?;
                let page = Page::new(format!("Evaluation of {}", model.display()));
                sections.into_iter().fold(page, Page::section).write(path)?;
                eprintln!("wrote {}", path.display());
            }
        }
        (None, None, Some(gt), Some(dt)) => {
            let iou = match args.iou {
                Iou::Bbox => IouType::Bbox,
                Iou::Segm => IouType::Segm,
            };
            let report = Report::from(evaluate::run(gt, dt, iou)?);
            tell(&report, args.json.as_deref())?;
        }
        _ => bail!("expected either --model and --data, or --gt and --dt; see --help"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the figures, and writes them.
fn tell(report: &Report, json: Option<&Path>) -> anyhow::Result<()> {
    print(report);
    if let Some(path) = json {
        save(path, &serde_json::to_vec_pretty(report)?)?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

/// The detector's figures on a set, with a bar meanwhile.
///
/// # Errors
/// As [`evaluate_detector`].
pub fn score(model: &Path, data: &PackedSet) -> Result<Report, ScoreError> {
    let mut bar = Bar::of("evaluate", data.len() as u64, "pictures");
    let report = evaluate_detector(model, data, &mut |seen, _| {
        bar.advance(seen as u64, String::new());
        ControlFlow::Continue(())
    });
    bar.clear();
    report
}

/// COCO's tables.
pub fn print(report: &Report) {
    println!("{report}");
    if let Some(remark) = report.remark() {
        eprintln!("{remark}");
    }
    if let Some(best) = report.first.best_threshold() {
        eprintln!("{}", page::advice(best));
    }
}
