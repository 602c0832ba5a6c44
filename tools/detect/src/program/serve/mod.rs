//! `detect serve`: pictures in, detections out, over HTTP.
//!
//! # Layout
//! - `accept`: connections, their number and their patience. `route`: paths. `query`: what a request wants.
//! - `upload`, `multipart`: bodies that nobody has checked.
//! - `pool`: a bounded queue and its threads. `look`: what they do.
//! - `answer`, `fault`: results and refusals as responses. `metrics`: what happened so far.
//! - `page`: a page for people.
//!
//! One thread reads and writes all connections; the others detect. Nothing a client does may cost more than a
//! stated amount of time or memory: heads, bodies and reading the answer have a time limit each; the sizes of
//! heads and bodies, the bodies in memory, the pixels of a picture, the connections and the waiting pictures are
//! limited in number.

mod accept;
mod answer;
mod fault;
mod look;
mod metrics;
mod multipart;
mod page;
mod pool;
mod query;
mod route;
mod upload;

use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use intertwine_detect::picture::MAX_PIXELS;
use intertwine_detect::{Detector, Thresholds};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};

use look::{Look, Lookout};
use metrics::Metrics;
use pool::Pool;
use route::Server;
use upload::Limits;

use super::say;

/// What to serve, where, and how much of it.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Model written by `intertwine export`.
    #[arg(long, value_name = "M.onnx")]
    model: PathBuf,
    /// Address to listen on; port 0 takes a free one. 0.0.0.0 listens to the whole network.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Pictures that are looked at at once, each by one thread [default: all cores].
    #[arg(long, value_name = "N", value_parser = super::thread_count)]
    threads: Option<NonZeroUsize>,
    /// Pictures that may wait for a thread. Further ones are refused with status 503.
    #[arg(long, value_name = "N", default_value = "8")]
    queue: NonZeroUsize,
    /// Most bytes of a picture file; with k, M or G.
    #[arg(long, value_name = "BYTES", default_value = "32M", value_parser = byte_size)]
    max_bytes: NonZeroUsize,
    /// Most pixels of a picture, which are held against its header before it is decoded. Each thread may take about
    /// 12 bytes of memory a pixel.
    #[arg(long, value_name = "N", default_value = "25000000",
        value_parser = clap::value_parser!(u64).range(1..=MAX_PIXELS))]
    max_pixels: u64,
    /// Longest time, in seconds, that a client may take to send the head of a request, to send its body, and to
    /// go on reading an answer.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = patience)]
    timeout: Duration,
    /// Most open connections. Further ones are refused with status 503.
    #[arg(long, value_name = "N", default_value = "256")]
    connections: NonZeroU16,
    /// Lowest score of a result, where a request names none [default: the model's choice for people].
    #[arg(long, value_name = "T", value_parser = super::probability)]
    score: Option<f32>,
    #[command(flatten)]
    engine: super::EngineArgs,
}

const AFTER_HELP: &str = "\
Example:
  detect serve --model model.onnx --listen 127.0.0.1:8080
  curl -F picture=@picture.jpg http://127.0.0.1:8080/detect
  curl -F picture=@picture.jpg 'http://127.0.0.1:8080/detect?draw=1&score=0.5' -o drawn.jpg

POST /detect   a picture (body of type image/*, or the field `picture` of a form) to detections in JSON;
               ?score=T lowest score; ?draw=1, or Accept: image/png or image/jpeg: the drawn picture
GET /          a page for people
GET /health    200 while the server works; what it serves
GET /metrics   counters for Prometheus

There is no encryption and no password: for more than a trusted network, put a proxy before it.
Ctrl-C or SIGTERM ends it once everything begun is done; a second one at once.";

/// Serves until it is told to stop.
pub fn serve(args: &Args) -> Result<ExitCode> {
    let start = Instant::now();
    let mut detector = Detector::load_with(&args.model, args.engine.into())?;
    if let Some(score) = args.score {
        let thresholds = *detector.thresholds();
        detector.set_thresholds(Thresholds {
            score,
            ..thresholds
        });
    }
    let threads = super::threads(args.threads)?;
    let (card, score) = (detector.card().clone(), detector.thresholds().score);
    let metrics = Arc::new(Metrics::default());
    let lookout = Lookout::new(detector, args.max_pixels, metrics.clone());
    let pool = Pool::start(threads, args.queue, move |detector, look: Look| {
        lookout.look(detector, look)
    })
    .with_context(|| format!("cannot start {threads} threads; give fewer --threads"))?;
    // As many bodies of the largest size as can be worked on or wait.
    let bodies = threads.get().saturating_add(args.queue.get());
    let memory = args.max_bytes.get().saturating_mul(bodies);
    let most_memory = memory.min(Semaphore::MAX_PERMITS);
    let server = Arc::new(Server {
        model: args
            .model
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        card,
        score,
        limits: Limits {
            bytes: args.max_bytes.get(),
            patience: args.timeout,
            memory: Arc::new(Semaphore::new(most_memory)),
            most_memory,
        },
        connections: Arc::new(Semaphore::new(args.connections.get().into())),
        most_connections: args.connections.get().into(),
        pool,
        metrics,
        start,
    });

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("cannot start the network's runtime")?;
    runtime.block_on(async {
        let listener = TcpListener::bind(&args.listen).await.with_context(|| {
            format!(
                "cannot listen on {}; give --listen another address, such as 127.0.0.1:8081",
                args.listen
            )
        })?;
        let stop = Arc::new(Notify::new());
        listen_to_signals(stop.clone())?;
        let address = listener.local_addr().context("cannot read the address")?;
        say(format_args!("{} at http://{address}", server.model));
        accept::until(listener, server, &stop).await;
        anyhow::Ok(())
    })?;
    say("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The first Ctrl-C or SIGTERM stops the server, the second ends the process.
fn listen_to_signals(stop: Arc<Notify>) -> Result<()> {
    let asked = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        say("stopping once everything begun is done; press Ctrl-C again to stop at once");
        stop.notify_one();
    })
    .context("cannot listen to Ctrl-C")
}

/// `1000`, `32M`; k, M and G are powers of 1024.
fn byte_size(text: &str) -> Result<NonZeroUsize, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number = digits.parse().ok().and_then(|n: usize| n.checked_mul(unit));
    number
        .and_then(NonZeroUsize::new)
        .ok_or_else(|| "expected a number of bytes, such as 500000, 800k or 32M".into())
}

/// Seconds from a tenth to a day.
fn patience(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected a number of seconds from 0.1 to 86400".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let size = |text| byte_size(text).map(NonZeroUsize::get).ok();
        assert_eq!(size("500"), Some(500));
        assert_eq!(size("3k"), Some(3 * 1024));
        assert_eq!(size("32M"), Some(32 << 20));
        for wrong in [
            "",
            "M",
            "0",
            "-1",
            "1.5M",
            "99999999999999999999",
            "18446744073709551615G",
            "3é",
        ] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
