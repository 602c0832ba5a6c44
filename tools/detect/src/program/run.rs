//! `detect`: pictures in; drawn copies, a COCO result file and a line each out.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use image::codecs::{jpeg::JpegEncoder, png::PngEncoder};
use image::RgbImage;
use indicatif::{ProgressBar, ProgressStyle};
use intertwine_detect::coco::{self, ImageIds, ResultEntry};
use intertwine_detect::draw::draw;
use intertwine_detect::{picture, write, Detection, Detector, ModelCard, Thresholds};
use intertwine_flow::{source, stage, stage_with, Source};

use super::inputs::{self, Input};

/// From this many pictures on, a progress bar is shown.
const PROGRESS_FROM: usize = 5;
/// Quality of drawn JPEG pictures: above 90 the labels stay sharp.
const JPEG_QUALITY: u8 = 92;

/// What to look at, with what, and where the results go.
#[derive(clap::Args)]
pub struct Args {
    /// Model written by `intertwine export`.
    #[arg(long, value_name = "M.onnx")]
    model: PathBuf,
    /// Pictures, or folders that are searched for pictures.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write copies of the pictures with boxes, masks and labels into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write all detections to this file, as COCO results.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// COCO label file that gives the pictures' ids for --json, by file name. Without it the pictures are
    /// numbered from 1 in the order in which they are listed, and their names are written too.
    #[arg(long, value_name = "FILE", requires = "json")]
    ids: Option<PathBuf>,
    /// Lowest score that counts. Without it, what is drawn and listed is the model's choice for people, and
    /// --json holds weaker detections too, as measuring average precision needs them.
    #[arg(long, value_name = "T", value_parser = super::probability)]
    score: Option<f32>,
    /// Most detections in a picture [default: the model's choice].
    #[arg(long, value_name = "N")]
    max_detections: Option<NonZeroUsize>,
    /// Threads [default: all cores]. The result does not depend on them.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// Why a picture was not done, in words.
type Failure = String;

/// A picture that was read.
struct Read {
    index: usize,
    picture: RgbImage,
}

/// A picture that was done.
struct Done {
    size: (u32, u32),
    /// All detections above the lowest threshold asked for.
    detections: Vec<Detection>,
    /// How many of them are shown.
    shown: usize,
}

/// Runs the program: 0 if every picture was done.
pub fn run(args: Args) -> Result<ExitCode> {
    let inputs = Arc::new(inputs::collect(&args.paths, args.out.as_deref())?);
    let drawn = args
        .out
        .as_deref()
        .map(|out| inputs::drawn_paths(&inputs, out))
        .transpose()?;
    let ids = args
        .ids
        .as_deref()
        .map(|path| ImageIds::read(path).with_context(|| format!("label file {}", path.display())))
        .transpose()?;
    let mut detector = Detector::load(&args.model)?;
    let show = args.score.unwrap_or(detector.card().display_threshold);
    let mut thresholds = Thresholds {
        score: show,
        ..Thresholds::evaluation(detector.card())
    };
    if args.json.is_some() && args.score.is_none() {
        thresholds.score = show.min(detector.card().score_threshold);
    }
    thresholds.max_detections = args
        .max_detections
        .map_or(thresholds.max_detections, NonZeroUsize::get);
    detector.set_thresholds(thresholds);
    let threads = match args.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism()
            .context("cannot count the cores; give --threads")?,
    };
    // Every thread takes pictures of its own; where there are fewer pictures, they share a picture's work.
    let spare = threads.get() / inputs.len().clamp(1, threads.get());
    detector.set_threads(NonZeroUsize::new(spare).unwrap_or(NonZeroUsize::MIN))?;
    let card = detector.card().clone();

    let image_id = |index: usize| -> Result<u64, Failure> {
        let input = &inputs[index];
        match &ids {
            None => Ok(index as u64 + 1),
            Some(ids) => ids.of(&input.path).ok_or_else(|| {
                format!(
                    "the label file has no `file_name` that ends {}",
                    input.path.display()
                )
            }),
        }
    };

    let mut report = Report::new(inputs.len());
    let mut entries: Vec<ResultEntry> = Vec::new();
    let mut take = |index: usize, outcome: Result<Done, Failure>| {
        let result = outcome.and_then(|done| {
            if args.json.is_some() {
                let id = image_id(index)?;
                let name = ids
                    .is_none()
                    .then(|| inputs[index].path.display().to_string());
                entries.extend(coco::entries(id, &done.detections, &card).map(|entry| {
                    ResultEntry {
                        file_name: name.clone(),
                        ..entry
                    }
                }));
            }
            Ok(done)
        });
        report.picture(&inputs[index].path, &result, &card);
    };
    in_pool(threads, || {
        for (index, outcome) in pictures(&inputs, drawn.map(Arc::new), detector, show).enumerate() {
            take(index, outcome?);
        }
        anyhow::Ok(())
    })??;

    if let Some(path) = &args.json {
        coco::write(path, &entries).with_context(|| format!("cannot write {}", path.display()))?;
        report.note(&format!(
            "{} detections written to {}",
            entries.len(),
            path.display()
        ));
    }
    if let Some(out) = &args.out {
        report.note(&format!("pictures written to {}", out.display()));
    }
    Ok(report.finish())
}

/// Calls `work` inside a pool of so many threads.
fn in_pool<T: Send>(threads: NonZeroUsize, work: impl FnOnce() -> T + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.get())
        .build()
        .context("cannot start the threads")?;
    Ok(pool.install(work))
}

/// The graph `Pictures > Read > Detect > Draw`. A bad picture is an item like any other, so that it does not
/// end the run; an error ends it, and is a defect of ours.
fn pictures(
    inputs: &Arc<Vec<Input>>,
    drawn: Option<Arc<Vec<PathBuf>>>,
    detector: Detector,
    show: f32,
) -> impl Iterator<Item = Result<Result<Done, Failure>, intertwine_flow::FlowError>> {
    let card = detector.card().clone();
    let prototype = Mutex::new(detector);
    let paths = inputs.clone();
    source("Pictures", Some(inputs.len() as u64), |index| {
        Ok::<_, Infallible>(index as usize)
    })
    .then(stage("Read", move |index: usize| {
        match picture::open(&paths[index].path) {
            Ok(picture) => Ok(Read { index, picture }),
            Err(error) => Err(error.to_string()),
        }
    }))
    .then(stage_with(
        "Detect",
        move || prototype.lock().expect("no holder panics").try_clone(),
        |read: Result<Read, Failure>, detector| {
            Ok::<_, Infallible>(read.and_then(|read| {
                let detector = detector.as_mut().map_err(|error| error.to_string())?;
                let found = detector
                    .detect(&read.picture)
                    .map_err(|error| error.to_string())?;
                let found = found.to_vec();
                Ok((read, found))
            }))
        },
    ))
    .then(stage(
        "Draw",
        move |found: Result<(Read, Vec<Detection>), Failure>| {
            let (read, detections) = found?;
            // Strongest first, so those shown are a prefix.
            let shown = detections.partition_point(|detection| detection.score >= show);
            if let Some(drawn) = &drawn {
                let path = &drawn[read.index];
                let canvas = draw(&read.picture, &detections[..shown], &card.classes);
                save(&canvas, path)
                    .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            }
            Ok(Done {
                size: read.picture.dimensions(),
                detections,
                shown,
            })
        },
    ))
    .sink("Report")
    .run(..)
}

fn save(canvas: &RgbImage, path: &Path) -> io::Result<()> {
    write::atomically(path, |writer| {
        let result = match inputs::is_jpeg(path) {
            true => canvas.write_with_encoder(JpegEncoder::new_with_quality(writer, JPEG_QUALITY)),
            false => canvas.write_with_encoder(PngEncoder::new(writer)),
        };
        result.map_err(io::Error::other)
    })
}

/// What people see: a line for each picture on the standard output, failures and progress on the other.
struct Report {
    progress: ProgressBar,
    done: usize,
    failed: usize,
    notes: Vec<String>,
}

impl Report {
    fn new(pictures: usize) -> Self {
        let progress = match pictures < PROGRESS_FROM {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(pictures as u64),
        };
        let style = "{bar:30} {pos}/{len} pictures, {per_sec}, {eta} left";
        progress.set_style(ProgressStyle::with_template(style).expect("a valid template"));
        Self {
            progress,
            done: 0,
            failed: 0,
            notes: Vec::new(),
        }
    }

    fn picture(&mut self, path: &Path, result: &Result<Done, Failure>, card: &ModelCard) {
        match result {
            Ok(done) => {
                self.done += 1;
                let line = describe(done, card);
                // A closed pipe (`detect .. | head`) is no reason to stop: the files are still wanted.
                self.progress.suspend(|| {
                    let _ = writeln!(io::stdout(), "{}: {line}", path.display());
                });
            }
            Err(reason) => {
                self.failed += 1;
                self.progress
                    .suspend(|| eprintln!("failed: {}: {reason}", path.display()));
            }
        }
        self.progress.inc(1);
    }

    fn note(&mut self, note: &str) {
        self.notes.push(note.to_string());
    }

    fn finish(self) -> ExitCode {
        self.progress.finish_and_clear();
        let mut summary = format!("{} of {} pictures done", self.done, self.done + self.failed);
        for note in &self.notes {
            summary.push_str("; ");
            summary.push_str(note);
        }
        eprintln!("{summary}");
        match self.failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

/// `640 x 480, 2 person, 1 dog`.
fn describe(done: &Done, card: &ModelCard) -> String {
    let mut counts = BTreeMap::new();
    for detection in &done.detections[..done.shown] {
        *counts.entry(detection.class).or_insert(0) += 1;
    }
    let mut line = format!("{} x {}", done.size.0, done.size.1);
    if counts.is_empty() {
        line.push_str(", nothing found");
    }
    for (class, count) in counts {
        line.push_str(&format!(", {count} {}", card.classes[class].name));
    }
    line
}
