//! The program around the library.

pub mod bench;
mod inputs;
mod report;
pub mod run;
#[cfg(feature = "serve")]
pub mod serve;
pub mod watch;

use std::io;
use std::path::Path;

use image::codecs::{jpeg::JpegEncoder, png::PngEncoder};
use image::RgbImage;
use intertwine_detect::{write, EngineKind, Options, Precision};

/// Reads a probability given on the command line.
fn probability(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1".into()),
    }
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
pub enum Engine {
    Fused,
    Tract,
}

#[derive(clap::ValueEnum, Clone, Copy)]
pub enum Rounding {
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

/// Quality of drawn JPEG pictures: above 90 the labels stay sharp.
const JPEG_QUALITY: u8 = 92;

/// Writes a picture whole, as JPEG if the path is named like one, else as PNG.
fn save(picture: &RgbImage, path: &Path) -> io::Result<()> {
    write::atomically(path, |writer| {
        let result = match inputs::is_jpeg(path) {
            true => picture.write_with_encoder(JpegEncoder::new_with_quality(writer, JPEG_QUALITY)),
            false => picture.write_with_encoder(PngEncoder::new(writer)),
        };
        result.map_err(io::Error::other)
    })
}
