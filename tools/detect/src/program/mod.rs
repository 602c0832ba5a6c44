//! The program around the library.

pub mod bench;
mod inputs;
mod media_type;
mod memory;
mod report;
pub mod run;
#[cfg(feature = "serve")]
pub mod serve;
pub mod watch;

use std::fmt::Display;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use image::codecs::{jpeg::JpegEncoder, png::PngEncoder};
use image::RgbImage;
use intertwine_detect::{EngineKind, Options, Precision};

/// Reads a probability given on the command line.
fn probability(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

/// More threads than any machine has cores. A system refuses many more only after it has started thousands of them, and
/// may end the process for it.
const MOST_THREADS: usize = 1024;

/// Reads a number of threads given on the command line.
fn thread_count(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(count) if count.get() <= MOST_THREADS => Ok(count),
        _ => Err(format!("expected a number from 1 to {MOST_THREADS}")),
    }
}

/// As many threads as asked for, or as there are cores.
fn threads(asked: Option<NonZeroUsize>) -> Result<NonZeroUsize> {
    match asked {
        Some(threads) => Ok(threads),
        None => {
            std::thread::available_parallelism().context("cannot count the cores; give --threads")
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}

/// A line on the standard output. Nobody may be reading any more, which is no reason to stop, and `println!` would panic.
fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush());
}

/// [`say`] on the standard error.
pub fn complain(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// What computes the network.
#[derive(clap::Args, Clone, Copy)]
pub struct EngineArgs {
    /// What computes the network: our own layers for what they know, or tract alone.
    #[arg(long, value_enum, default_value_t = Engine::Fused)]
    engine: Engine,
    /// How inputs of matrix products are rounded. bf16 is faster on CPUs that have it, and costs some precision.
    #[arg(long, value_enum, default_value_t = Rounding::F32)]
    precision: Rounding,
}

#[derive(clap::ValueEnum, Clone, Copy)]
enum Engine {
    Fused,
    Tract,
}

#[derive(clap::ValueEnum, Clone, Copy)]
enum Rounding {
    F32,
    Bf16,
}

impl From<EngineArgs> for Options {
    fn from(args: EngineArgs) -> Self {
        Self {
            engine: match args.engine {
                Engine::Fused => EngineKind::Fused,
                Engine::Tract => EngineKind::Tract,
            },
            precision: match args.precision {
                Rounding::F32 => Precision::F32,
                Rounding::Bf16 => Precision::Bf16,
            },
        }
    }
}

/// The largest side that a JPEG file can state.
const JPEG_SIDE: u32 = u16::MAX as u32;
/// Quality of drawn JPEG pictures: above 90 the labels stay sharp.
const JPEG_QUALITY: u8 = 92;

/// Writes a picture whole, as JPEG if the path is named like one, else as PNG.
fn save(picture: &RgbImage, path: &Path) -> io::Result<()> {
    let jpeg = inputs::is_jpeg(path);
    intertwine_files::atomically(path, |writer| {
        encode(picture, jpeg, writer).map_err(io::Error::other)
    })
}

/// Writes a picture as JPEG or as PNG.
fn encode(picture: &RgbImage, jpeg: bool, to: impl Write) -> Result<()> {
    match jpeg {
        true => {
            fits_jpeg(picture)?;
            picture.write_with_encoder(JpegEncoder::new_with_quality(to, JPEG_QUALITY))?;
        }
        false => picture.write_with_encoder(PngEncoder::new(to))?,
    }
    Ok(())
}

/// Whether a picture can be written as JPEG.
fn fits_jpeg(picture: &RgbImage) -> Result<()> {
    let (width, height) = picture.dimensions();
    ensure!(
        width.max(height) <= JPEG_SIDE,
        "{width} x {height} pixels do not fit into a JPEG file, which holds up to {JPEG_SIDE} a side; PNG holds them"
    );
    Ok(())
}
