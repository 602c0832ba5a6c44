//! `detect watch`: frames that never end.
//!
//! # Layout
//! - [`source`]: where frames come from: a folder, a stream, a camera, a pipe, ffmpeg. Read on a thread of their own.
//! - [`slot`]: room for one frame between that thread and this one, and who gives way.
//! - [`graph`]: what happens to a frame, as a typed graph.
//! - [`sink`], [`lines`], [`drawn`], [`post`]: where results go. [`summary`]: what a run comes to.
//! - [`http`], [`body`]: as much of HTTP as cameras and receivers of results need.

mod body;
mod drawn;
mod graph;
mod http;
mod lines;
mod post;
mod sink;
mod slot;
mod source;
mod summary;

use std::io::IsTerminal;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use intertwine_detect::{Detector, PictureError, Thresholds, Tracker, TrackerOptions};

use drawn::Drawn;
use graph::{live_graph, Arrived};
use http::{without_user, Url};
use lines::{Lines, Target};
use post::Post;
use sink::Sink;
use slot::{Policy, Slot};
use source::{Camera, Child, Extent, Ffmpeg, Folder, Frame, Persistent, Raw, Size, Source, Stream};
use summary::{Line, Summary};

/// Help that an option of its own does not have room for.
pub const AFTER_HELP: &str = "\
Examples:
  detect watch --model M.onnx http://camera:8080/video
  detect watch --model M.onnx /dev/video0 --size 1280x720
  detect watch --model M.onnx incoming --existing --json found.jsonl
  detect watch --model M.onnx rtsp://camera/1
  detect watch --model M.onnx clip.mp4 --out drawn
  some-program | detect watch --model M.onnx - --size 640x360 --live

Of a stream, of a camera, and of pixels on the standard input with --live, only the newest frame is looked at: one that
waits while another comes is dropped and counted, so that no result is older than two frames take. Of files, and of the
standard input without --live, every frame is looked at. Videos, and addresses other than http://, are read by ffmpeg,
which has to be installed.

Ends with Ctrl-C: the frame in work is finished. Exit status: 0 if it ended by itself or was ended, 1 if the source, the
model or a result file could not be used any more, 2 for wrong usage. A frame that cannot be decoded is reported and
skipped.";

/// What to watch, with what, and where the results go.
#[derive(clap::Args)]
pub struct Args {
    /// Model written by `intertwine export`.
    #[arg(long, value_name = "M.onnx")]
    model: PathBuf,
    /// A folder that pictures are written to, the http:// address of an MJPEG stream, a camera of this machine such as
    /// /dev/video0, - for raw rgb24 pixels on the standard input, or what ffmpeg reads: a video, rtsp://, https://.
    source: Place,
    /// Size of the frames on the standard input, pixels; of a camera, the size to ask it for [default: as it is set].
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    /// The standard input is live: drop frames rather than make them wait.
    #[arg(long)]
    live: bool,
    /// Begin with the pictures that are in the folder already.
    #[arg(long)]
    existing: bool,
    /// Longest time that a stream or a camera may be silent before it is connected to again, and that a receiver of
    /// --post may take, seconds.
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    timeout: Duration,
    /// How often a stream or a camera is connected to again, or a folder listed again, after failures without a picture in
    /// between [default: for ever].
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// Most megabytes that a picture of a stream may have.
    #[arg(long, value_name = "MB", default_value = "16")]
    max_part: NonZeroU32,
    /// Write a JSON line for each frame to the end of this file; - is the standard output. Without this option the standard
    /// output gets them, unless it is a terminal.
    #[arg(long, value_name = "FILE", value_parser = |text: &str| Ok::<_, String>(Target::from(text)))]
    json: Option<Target>,
    /// Put masks into the JSON lines, as COCO's run-length strings.
    #[arg(long)]
    masks: bool,
    /// Send the JSON line of each frame to this http:// address too. A receiver that is slow or away never holds up
    /// detection: what does not fit into a short queue is dropped and counted.
    #[arg(long, value_name = "URL")]
    post: Option<Url>,
    /// Write every frame with boxes, masks and labels into this folder, numbered.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Keep only the newest N drawn frames.
    #[arg(long, value_name = "N", requires = "out")]
    keep: Option<NonZeroUsize>,
    /// Lowest score that counts [default: the model's choice]. A weaker detection counts where it continues a track.
    #[arg(long, value_name = "T", value_parser = super::probability)]
    score: Option<f32>,
    /// Most detections in a frame [default: the model's choice].
    #[arg(long, value_name = "N")]
    max_detections: Option<NonZeroUsize>,
    /// How many frames a thing may be out of sight and still get its track id back.
    #[arg(long, value_name = "N", default_value_t = TrackerOptions::default().keep_lost)]
    keep_lost: u32,
    /// End after so many frames.
    #[arg(long, value_name = "N")]
    frames: Option<NonZeroU64>,
    #[command(flatten)]
    engine: super::EngineArgs,
    /// Threads that work on one frame [default: all cores].
    #[arg(long, value_name = "N", value_parser = super::thread_count)]
    threads: Option<NonZeroUsize>,
}

/// What is watched.
#[derive(Clone, Debug)]
enum Place {
    Stdin,
    Stream(Url),
    Camera(PathBuf),
    Folder(PathBuf),
    Ffmpeg(String, Extent),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            _ if text == "-" => Ok(Self::Stdin),
            Some(("http", _)) => text.parse().map(Self::Stream),
            Some(_) => Ok(Self::Ffmpeg(text.into(), Extent::Endless)),
            None => {
                let path = PathBuf::from(text);
                Ok(if path.starts_with("/dev") && !path.is_dir() {
                    Self::Camera(path)
                } else if path.is_file() {
                    Self::Ffmpeg(text.into(), Extent::Whole)
                } else {
                    Self::Folder(path)
                })
            }
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|&seconds: &f64| seconds >= 1e-3);
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| "expected a number of seconds above 0".into())
}

/// Runs until the source ends, somebody stops it, or something fails.
pub fn watch(args: Args) -> Result<ExitCode> {
    let child = Child::default();
    // However the run ends.
    let _end = child.ends_here();
    let (mut detector, mut tracker, show) = prepare(&args)?;
    let (source, policy) = open(&args, &child)?;
    let slot = Slot::new(policy);
    stop_on_signal(slot.clone(), child);
    let text = args.json.is_none() && std::io::stdout().is_terminal();
    let mut sink = Sink {
        source: name(&args.source),
        card: detector.card().clone(),
        show,
        masks: args.masks,
        json: match &args.json {
            Some(Target::File(path)) => Some(Lines::append(path)?),
            Some(Target::Stdout) => Some(Lines::stdout()),
            None => (!text).then(Lines::stdout),
        },
        post: args.post.clone().map(|url| Post::new(url, args.timeout)),
        text,
        drawn: match &args.out {
            Some(folder) => Some(Drawn::new(folder, args.keep)?),
            None => None,
        },
        line: Vec::new(),
    };

    let reader = read(source, slot.clone());
    let mut graph = live_graph();
    let mut summary = Summary::new();
    let mut last = 0;
    let limit = args.frames.map_or(u64::MAX, NonZeroU64::get);
    let result = loop {
        if summary.seen() == limit {
            slot.stop();
            break ended(&slot, reader);
        }
        let Some(frame) = slot.take() else {
            break ended(&slot, reader);
        };
        // Frames that were dropped went by all the same.
        tracker.skip(frame.number - last - 1);
        last = frame.number;
        let dropped = slot.dropped();
        let pushed = graph.push(Arrived {
            frame: &frame,
            dropped,
            detector: &mut detector,
            tracker: &mut tracker,
            sink: &mut sink,
        });
        match pushed {
            Ok(age) => summary.done(age),
            Err(error) => match error.source.downcast::<PictureError>() {
                Ok(error) => {
                    summary.failed();
                    tracker.skip(1);
                    if let Err(error) = sink.failed(&frame, dropped, &error.to_string()) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(anyhow::Error::from_boxed(error)),
            },
        }
    };
    slot.stop();

    eprintln!("{}", Line(&summary, slot.dropped()));
    // The detector is a graph of its own, and time in it is counted there.
    let inner: Duration = detector
        .counters()
        .snapshot()
        .stages
        .iter()
        .map(|stage| stage.busy)
        .sum();
    let stages = graph.counters().snapshot().stages;
    let times: Vec<String> = stages
        .iter()
        .filter(|stage| stage.items > 0)
        .map(|stage| {
            let within = if stage.name == "Detect" {
                inner
            } else {
                Duration::ZERO
            };
            let seconds = (stage.busy + within).as_secs_f64() / stage.items as f64;
            format!("{} {:.2} ms", stage.name, 1e3 * seconds)
        })
        .collect();
    if !times.is_empty() {
        eprintln!("a frame: {}", times.join(", "));
    }
    if let Some(post) = sink.post {
        eprintln!("{}", post.finish());
    }
    result.map(|()| ExitCode::SUCCESS)
}

/// Opens the source, and says whether its frames can wait. A program that it needs becomes the child.
fn open(args: &Args, child: &Child) -> Result<(Box<dyn Source>, Policy)> {
    let stdin = matches!(args.source, Place::Stdin);
    let camera = matches!(args.source, Place::Camera(_));
    let folder = matches!(args.source, Place::Folder(_));
    ensure!(
        stdin || !args.live,
        "--live is for the standard input, `-`; streams and cameras are live anyway, and files can wait"
    );
    ensure!(
        stdin || camera || args.size.is_none(),
        "--size is for the standard input, `-`, and for a camera; pictures say their size"
    );
    ensure!(folder || !args.existing, "--existing is for a folder");
    let (name, timeout) = (name(&args.source), args.timeout);
    Ok(match &args.source {
        Place::Stdin => {
            let size = args
                .size
                .context("the standard input has no size; give --size WIDTHxHEIGHT")?;
            let policy = match args.live {
                true => Policy::Newest,
                false => Policy::Every,
            };
            (Box::new(Raw::new(std::io::stdin(), size)), policy)
        }
        Place::Stream(url) => {
            let max_part = (args.max_part.get() as usize).saturating_mul(1 << 20);
            let stream = Stream::new(url.clone(), timeout, max_part);
            let source = Persistent::new(stream, name, args.retries);
            (Box::new(source), Policy::Newest)
        }
        Place::Camera(path) => {
            let camera = Camera::open(path, args.size, timeout)?;
            let source = Persistent::new(camera, name, args.retries);
            (Box::new(source), Policy::Newest)
        }
        Place::Ffmpeg(input, extent) => {
            let (policy, retries) = match extent {
                Extent::Whole => (Policy::Every, Some(0)),
                Extent::Endless => (Policy::Newest, args.retries),
            };
            let video = Ffmpeg::open(input.clone(), *extent, timeout, child.clone())
                .with_context(|| name.clone())?;
            (Box::new(Persistent::new(video, name, retries)), policy)
        }
        Place::Folder(path) => {
            if let Some(out) = &args.out {
                let same = |out: PathBuf| path.canonicalize().is_ok_and(|path| path == out);
                if out.canonicalize().is_ok_and(same) {
                    bail!(
                        "{} is watched, so what is drawn there would be looked at again; give another folder to --out",
                        out.display()
                    );
                }
            }
            let folder = Folder::new(path, args.existing).with_context(|| name.clone())?;
            let source = Persistent::new(folder, name, args.retries);
            (Box::new(source), Policy::Every)
        }
    })
}

/// The detector, the tracker, and the lowest score that counts by itself.
fn prepare(args: &Args) -> Result<(Detector, Tracker, f32)> {
    let mut detector = Detector::load_with(&args.model, args.engine.into())?;
    detector.set_threads(super::threads(args.threads)?)?;
    let show = args.score.unwrap_or(detector.card().display_threshold);
    let defaults = TrackerOptions::default();
    let options = TrackerOptions {
        strong_score: show,
        weak_score: defaults.weak_score.min(show),
        keep_lost: args.keep_lost,
    };
    let thresholds = Thresholds::evaluation(detector.card());
    detector.set_thresholds(Thresholds {
        score: options.weak_score,
        max_detections: args
            .max_detections
            .map_or(thresholds.max_detections, NonZeroUsize::get),
        ..thresholds
    });
    Ok((detector, Tracker::new(options), show))
}

/// Reads on a thread of its own until the source ends or nobody wants more. The thread is not waited for then, or not
/// for long: it may hang in a read for as long as a camera is silent, and holds nothing that would have to be saved.
fn read(mut source: Box<dyn Source>, slot: Slot<Frame>) -> JoinHandle<Result<()>> {
    /// Ends the slot however the thread ends, so that nobody waits for a thread that has panicked.
    struct End(Slot<Frame>);
    impl Drop for End {
        fn drop(&mut self) {
            self.0.end();
        }
    }
    let end = End(slot);
    std::thread::spawn(move || {
        while let Some(frame) = source.next()? {
            if !end.0.put(frame) {
                break;
            }
        }
        Ok(())
    })
}

/// How long the reader has to leave its source in order. It may hang in a read for longer.
const LEAVE: Duration = Duration::from_millis(300);

/// How it ended, once no frame comes any more.
fn ended(slot: &Slot<Frame>, reader: JoinHandle<Result<()>>) -> Result<()> {
    match slot.stopped() {
        true => {
            let start = Instant::now();
            while !reader.is_finished() && start.elapsed() < LEAVE {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        }
        false => reader.join().unwrap_or_else(|_| {
            bail!("the reader of the source panicked; this is a defect of ours")
        }),
    }
}

/// Ctrl-C and SIGTERM end the run after the frame in work; a second one ends it at once.
fn stop_on_signal(slot: Slot<Frame>, child: Child) {
    // Fails only if there is a handler already, and nobody else sets one.
    let _ = ctrlc::set_handler(move || {
        if slot.stopped() {
            child.end();
            std::process::exit(130);
        }
        slot.stop();
    });
}

/// What the JSON lines call the source.
fn name(place: &Place) -> String {
    match place {
        Place::Stdin => "-".into(),
        Place::Stream(url) => url.to_string(),
        Place::Camera(path) | Place::Folder(path) => path.display().to_string(),
        Place::Ffmpeg(input, Extent::Whole) => input.clone(),
        Place::Ffmpeg(input, Extent::Endless) => without_user(input),
    }
}
