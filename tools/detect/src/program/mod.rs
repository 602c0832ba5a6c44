//! The program around the library.

pub mod bench;
mod inputs;
mod report;
pub mod run;
#[cfg(feature = "serve")]
pub mod serve;

use intertwine_detect::{EngineKind, Options, Precision};

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
