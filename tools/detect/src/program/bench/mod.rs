//! `detect bench`: how long a model takes here.

mod peer;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use image::{Rgb, RgbImage};
use intertwine_detect::{picture, Detector, NodeTime};
use serde::Serialize;

use super::{memory, milliseconds, say};
use peer::Peer;

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    /// Model written by `intertwine export`.
    #[arg(long, value_name = "M.onnx")]
    model: PathBuf,
    #[command(flatten)]
    engine: super::EngineArgs,
    /// Threads that work on one picture.
    #[arg(long, value_name = "N", default_value = "1", value_parser = super::thread_count)]
    threads: NonZeroUsize,
    /// Timed runs; a few more go before, untimed.
    #[arg(long, value_name = "N", default_value = "30")]
    iterations: NonZeroUsize,
    /// Show how long each kind of node takes, and the slowest ones.
    #[arg(long)]
    nodes: bool,
    /// Also time onnxruntime in this Python, in turn with us.
    #[arg(long, value_name = "PYTHON", num_args = 0..=1, default_missing_value = "python3")]
    onnxruntime: Option<PathBuf>,
    /// Picture for the whole way [default: a made-up one of 640 x 480].
    #[arg(long, value_name = "PATH")]
    picture: Option<PathBuf>,
    /// Write the numbers to this file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Nodes and kinds of nodes that are shown.
const SHOWN: usize = 20;

/// Times that a peer and we take turns.
const ROUNDS: usize = 5;

/// Untimed runs before the timed ones of a turn.
const WARM_UP: usize = 2;

/// Times in milliseconds.
#[derive(Serialize)]
struct Percentiles {
    min: f64,
    p10: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

#[derive(Serialize)]
struct Numbers {
    model: String,
    input_size: u32,
    threads: usize,
    iterations: usize,
    load_ms: f64,
    /// Median of the network alone.
    model_ms: f64,
    /// Median from a decoded picture to its detections.
    total_ms: f64,
    model_percentiles: Percentiles,
    total_percentiles: Percentiles,
    images_per_s: f64,
    /// Mean of each stage on the whole way.
    stages_ms: Vec<(&'static str, f64)>,
    /// Most memory the process ever held; none where the system does not tell.
    peak_rss_mb: Option<f64>,
    /// The peer, if it was asked for.
    onnxruntime: Option<OnnxRuntime>,
}

/// onnxruntime on the same input.
#[derive(Serialize)]
struct OnnxRuntime {
    version: String,
    /// Our median over its.
    ratio: f64,
    /// Most memory that its process, Python included, ever held; none where the system does not tell.
    peak_rss_mb: Option<f64>,
    model_percentiles: Percentiles,
}

/// Measures, prints, and writes the numbers if asked to.
pub fn bench(args: &Args) -> Result<ExitCode> {
    let start = Instant::now();
    let mut detector = Detector::load_with(&args.model, args.engine.into())?;
    let load_ms = milliseconds(start.elapsed());
    detector.set_threads(args.threads)?;
    let size = detector.card().input_size;

    // The input of the peer, tests/peers: the same numbers, whatever they mean to the model.
    let input: Vec<f32> = (0..3 * size * size)
        .map(|i| (i as f32 * 0.37).sin())
        .collect();
    let mut peer = args
        .onnxruntime
        .as_deref()
        .map(|python| Peer::start(python, &args.model, args.threads, size))
        .transpose()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut last = None;
    // In turn, so that what else the machine does meets both.
    for round in cut(args.iterations.get(), ROUNDS) {
        ours.extend(times(round, || detector.run_raw(&input).map(drop))?);
        if let Some(peer) = &mut peer {
            peer.time(WARM_UP)?;
            let answer = peer.time(round)?;
            theirs.extend(&answer.times_ms);
            last = Some(answer);
        }
    }
    drop(peer);
    let model = Percentiles::of(ours);
    let onnxruntime = last.map(|answer| {
        let times = Percentiles::of(theirs);
        OnnxRuntime {
            version: answer.version,
            ratio: model.p50 / times.p50,
            peak_rss_mb: answer.peak_rss_mb,
            model_percentiles: times,
        }
    });

    let picture = match &args.picture {
        Some(path) => picture::open(path).with_context(|| format!("picture {}", path.display()))?,
        None => RgbImage::from_fn(640, 480, |x, y| Rgb([x as u8, y as u8, (x ^ y) as u8])),
    };
    let before = detector.counters().snapshot();
    let total = times(args.iterations.get(), || {
        detector.detect(&picture).map(drop)
    })?;
    let total = Percentiles::of(total);
    let stages_ms = detector
        .counters()
        .snapshot()
        .stages
        .iter()
        .zip(&before.stages)
        .map(|(after, before)| {
            let items = (after.items - before.items).max(1);
            (
                after.name,
                1e3 * (after.busy - before.busy).as_secs_f64() / items as f64,
            )
        })
        .collect();

    let numbers = Numbers {
        model: args.model.display().to_string(),
        input_size: size,
        threads: args.threads.get(),
        iterations: args.iterations.get(),
        load_ms,
        model_ms: model.p50,
        total_ms: total.p50,
        images_per_s: 1e3 / total.p50,
        model_percentiles: model,
        total_percentiles: total,
        stages_ms,
        peak_rss_mb: memory::peak().map(|bytes| bytes as f64 / f64::from(1 << 20)),
        onnxruntime,
    };
    print(&numbers);
    if args.nodes {
        print_nodes(detector.profile(args.iterations)?);
    }
    if let Some(path) = &args.json {
        let json =
            serde_json::to_vec_pretty(&numbers).context("cannot write the numbers as JSON")?;
        intertwine_files::bytes(path, &json)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(numbers: &Numbers) {
    let Numbers {
        model,
        input_size,
        threads,
        iterations,
        load_ms,
        ..
    } = numbers;
    say(format_args!("{model}: input {input_size} x {input_size}, {threads} threads, {iterations} runs, loaded in {load_ms:.0} ms"));
    for (name, p) in [
        ("model", &numbers.model_percentiles),
        ("total", &numbers.total_percentiles),
    ] {
        say(format_args!(
            "{name}: median {:.2} ms (min {:.2}, p90 {:.2}, p99 {:.2}, max {:.2})",
            p.p50, p.min, p.p90, p.p99, p.max
        ));
    }
    let stages: Vec<String> = numbers
        .stages_ms
        .iter()
        .map(|(name, ms)| format!("{name} {ms:.2} ms"))
        .collect();
    say(format_args!(
        "stages: {}; {:.1} images/s",
        stages.join(", "),
        numbers.images_per_s
    ));
    if let Some(peer) = &numbers.onnxruntime {
        say(format_args!(
            "onnxruntime {}: median {:.2} ms; we take {:.3} of its time",
            peer.version, peer.model_percentiles.p50, peer.ratio
        ));
    }
    let peers = numbers.onnxruntime.as_ref().and_then(|p| p.peak_rss_mb);
    match (numbers.peak_rss_mb, peers) {
        (Some(peak), Some(peers)) => {
            say(format_args!(
                "peak memory {peak:.0} MB, onnxruntime {peers:.0} MB with Python"
            ));
        }
        (Some(peak), None) => say(format_args!("peak memory {peak:.0} MB")),
        (None, _) => {}
    }
}

/// Kinds of nodes, then single ones, the slowest first.
fn print_nodes(mut nodes: Vec<NodeTime>) {
    let total: f64 = nodes.iter().map(|node| node.time.as_secs_f64()).sum();
    let line = |name: &str, time: Duration, count: usize| {
        let seconds = time.as_secs_f64();
        let share = 100.0 * seconds / total.max(f64::MIN_POSITIVE);
        say(format_args!(
            "{:9.3} ms {share:5.1}% {count:5}  {name}",
            1e3 * seconds
        ));
    };
    let mut kinds: BTreeMap<&str, (Duration, usize)> = BTreeMap::new();
    for node in &nodes {
        let kind = kinds.entry(&node.kind).or_default();
        *kind = (kind.0 + node.time, kind.1 + 1);
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, (time, _))| std::cmp::Reverse(*time));
    say("\nkinds of nodes");
    for (kind, (time, count)) in kinds.iter().take(SHOWN) {
        line(kind, *time, *count);
    }
    nodes.sort_by_key(|node| std::cmp::Reverse(node.time));
    say("\nslowest nodes");
    for node in nodes.iter().take(SHOWN) {
        line(&format!("{} ({})", node.name, node.kind), node.time, 1);
    }
}

/// `n` in at most `parts` nearly equal parts.
fn cut(n: usize, parts: usize) -> impl Iterator<Item = usize> {
    let parts = parts.min(n);
    (0..parts).map(move |i| (i + 1) * n / parts - i * n / parts)
}

fn times<E>(runs: usize, mut work: impl FnMut() -> Result<(), E>) -> Result<Vec<f64>, E> {
    for _ in 0..WARM_UP {
        work()?;
    }
    let time = |_| {
        let start = Instant::now();
        work()?;
        Ok(milliseconds(start.elapsed()))
    };
    (0..runs).map(time).collect()
}

impl Percentiles {
    /// Of at least one time.
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        // The nearest rank; with few runs the upper percentiles are the maximum.
        let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
        Self {
            min: at(0.0),
            p10: at(0.1),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}
