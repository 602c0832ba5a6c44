//! `detect`: pictures in; drawn copies, a COCO result file and a line each out.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, BufWriter};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use image::RgbImage;
use intertwine_detect::coco::{self, ImageIds, ResultEntry, Results};
use intertwine_detect::draw::draw;
use intertwine_detect::{picture, DetectError, Detection, Detector, Options, Thresholds};
use intertwine_flow::{source, stage, stage_with, FlowError, Source};

use super::inputs;
use super::report::Report;
use super::{complain, save};

/// What to look at, with what, and where the results go. None of it is flattened: clap takes a struct with flattened
/// parts for absent where it is optional.
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
    #[arg(long, value_name = "N", value_parser = super::thread_count)]
    threads: Option<NonZeroUsize>,
}

/// Why a picture was not done, in words.
pub type Failure = String;

/// A picture to be done.
struct Task {
    path: PathBuf,
    /// Where its drawn copy goes.
    drawn: Option<PathBuf>,
    /// Its id in the result file.
    image_id: Result<u64, Failure>,
}

/// A picture that was read.
struct Read {
    index: usize,
    image_id: u64,
    picture: RgbImage,
}

/// A picture that was done.
pub struct Done {
    image_id: u64,
    /// (width, height), pixels.
    pub size: (u32, u32),
    /// All detections above the lowest threshold asked for, strongest first.
    pub detections: Vec<Detection>,
    /// How many of them are shown.
    pub shown: usize,
    /// Why there is no drawn copy, where there should be one.
    pub undrawn: Option<Failure>,
}

/// Runs the program: 0 if every picture was done.
pub fn run(args: Args, options: Options) -> Result<ExitCode> {
    let tasks = Arc::new(tasks(&args)?);
    let mut detector = Detector::load_with(&args.model, options)?;
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
    let threads = super::threads(args.threads)?;
    // Every thread takes pictures of its own; where there are fewer pictures, they share a picture's work.
    let spare = threads.get() / tasks.len().clamp(1, threads.get());
    detector.set_threads(NonZeroUsize::new(spare).unwrap_or(NonZeroUsize::MIN))?;
    let card = detector.card().clone();

    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.get())
        .build()
        .context("cannot start the threads")?;
    let stop = stop_on_signal();
    let mut report = Report::new(tasks.len());
    let (mut left, mut defect) = (tasks.len(), None);
    let look = |mut results: Option<&mut Results<&mut BufWriter<File>>>| -> io::Result<()> {
        for (task, outcome) in tasks.iter().zip(pictures(&tasks, detector, show)) {
            // Whatever ends the run, what was found until then is kept.
            let result = match outcome {
                Ok(result) => result,
                Err(error) => {
                    defect = Some(error);
                    break;
                }
            };
            if let (Some(results), Ok(done)) = (&mut results, &result) {
                let file_name = args.ids.is_none().then(|| task.path.display().to_string());
                for entry in coco::entries(done.image_id, &done.detections, &card) {
                    results.push(&ResultEntry {
                        file_name: file_name.clone(),
                        ..entry
                    })?;
                }
            }
            report.picture(&task.path, &result, &card);
            left -= 1;
            if stop.load(Ordering::SeqCst) {
                break;
            }
        }
        Ok(())
    };
    match &args.json {
        None => pool.install(|| look(None))?,
        Some(path) => {
            let mut written = 0;
            intertwine_files::atomically(path, |writer| {
                let mut results = Results::new(writer);
                pool.install(|| look(Some(&mut results)))?;
                written = results.finish()?;
                Ok(())
            })
            .with_context(|| format!("cannot write {}", path.display()))?;
            report.note(format!(
                "{written} detections written to {}",
                path.display()
            ));
        }
    }
    if let Some(out) = &args.out {
        report.note(format!("pictures written to {}", out.display()));
    }
    let stopped = defect.is_none() && left > 0;
    if stopped {
        report.note(format!("stopped before the last {left}"));
    }
    let status = report.finish();
    match defect {
        Some(error) => Err(error.into()),
        None if stopped => Ok(ExitCode::from(130)),
        None => Ok(status),
    }
}

/// Set by Ctrl-C and SIGTERM; a second one ends the program at once.
fn stop_on_signal() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    // Fails where a signal is ignored, as `nohup` asks for: then it stays so.
    let _ = ctrlc::try_set_handler(move || {
        if asked.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        complain("stopping after the pictures in work; press Ctrl-C again to stop at once");
    });
    stop
}

/// What there is to do. A picture that the label file does not know fails, but not the others.
fn tasks(args: &Args) -> Result<Vec<Task>> {
    let inputs = inputs::collect(&args.paths, args.out.as_deref())?;
    let drawn = match &args.out {
        Some(out) => inputs::drawn_paths(&inputs, out)?
            .into_iter()
            .map(Some)
            .collect(),
        None => vec![None; inputs.len()],
    };
    let ids = match &args.ids {
        Some(path) => {
            Some(ImageIds::read(path).with_context(|| format!("label file {}", path.display()))?)
        }
        None => None,
    };
    let tasks = (1..)
        .zip(inputs)
        .zip(drawn)
        .map(|((number, input), drawn)| {
            let image_id = match &ids {
                None => Ok(number),
                Some(ids) => ids.of(&input.path).ok_or_else(|| {
                    "no `file_name` of the label file is its path or an end of it".into()
                }),
            };
            Task {
                path: input.path,
                drawn,
                image_id,
            }
        });
    Ok(tasks.collect())
}

/// The graph `Pictures > Read > Detect > Draw`. A bad picture is an item like any other, so that it does not
/// end the run; an error ends it, and is a defect of ours.
fn pictures(
    tasks: &Arc<Vec<Task>>,
    detector: Detector,
    show: f32,
) -> impl Iterator<Item = Result<Result<Done, Failure>, FlowError>> {
    let card = detector.card().clone();
    let prototype = Mutex::new(detector);
    let (to_read, to_draw) = (tasks.clone(), tasks.clone());
    source("Pictures", Some(tasks.len() as u64), |index| {
        Ok::<_, Infallible>(index as usize)
    })
    .then(stage("Read", move |index: usize| {
        let Task { path, image_id, .. } = &to_read[index];
        let image_id = image_id.clone()?;
        let picture = picture::open(path).map_err(|error| error.to_string())?;
        Ok(Read {
            index,
            image_id,
            picture,
        })
    }))
    .then(stage_with(
        "Detect",
        move || prototype.lock().expect("no holder panics").try_clone(),
        |read: Result<Read, Failure>, detector| Ok::<_, Infallible>(detect(read, detector)),
    ))
    .then(stage(
        "Draw",
        move |found: Result<(Read, Vec<Detection>), Failure>| {
            let (
                Read {
                    index,
                    image_id,
                    picture,
                },
                detections,
            ) = found?;
            // Strongest first, so those shown are a prefix.
            let shown = detections.partition_point(|detection| detection.score >= show);
            let drawn = &to_draw[index].drawn;
            let undrawn = drawn.as_ref().and_then(|path| {
                let written = save(&draw(&picture, &detections[..shown], &card.classes), path);
                let error = written.err()?;
                Some(format!("cannot write {}: {error}", path.display()))
            });
            Ok(Done {
                image_id,
                size: picture.dimensions(),
                detections,
                shown,
                undrawn,
            })
        },
    ))
    .sink("Report")
    .run(..)
}

/// The stage `Detect`, with the detector of its thread.
fn detect(
    read: Result<Read, Failure>,
    detector: &mut Result<Detector, DetectError>,
) -> Result<(Read, Vec<Detection>), Failure> {
    let read = read?;
    let detector = detector.as_mut().map_err(|error| error.to_string())?;
    let found = detector
        .detect(&read.picture)
        .map_err(|error| error.to_string())?
        .to_vec();
    Ok((read, found))
}
