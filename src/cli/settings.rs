//! What every training is told on the command line.

use std::path::PathBuf;

use crate::config::{resolve, ConfigError, Presets, Validate};
use crate::nn::device::Device;

/// Where a run goes, and its settings.
#[derive(clap::Args)]
pub struct Settings {
    /// The run folder to write.
    #[arg(long)]
    pub out: PathBuf,
    #[command(flatten)]
    pub choices: Choices,
    /// Go on with the run in --out.
    #[arg(long)]
    pub resume: bool,
    /// What computes.
    #[arg(long, value_enum, default_value_t)]
    pub device: Device,
}

/// The settings of a training.
#[derive(clap::Args)]
pub struct Choices {
    /// Settings to start from; `intertwine presets` lists them.
    #[arg(long, default_value = "pico")]
    preset: String,
    /// A TOML file that changes some of them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Changes one setting, as in --set optim.lr=0.001; may be given often.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Choices {
    /// The settings of the run: preset, file, single changes, each over the one before.
    ///
    /// # Errors
    /// As [`resolve`].
    pub fn resolve<C>(&self, presets: Presets) -> Result<C, ConfigError>
    where
        C: serde::de::DeserializeOwned + Validate,
    {
        resolve(presets, &self.preset, self.config.as_deref(), &self.set)
    }
}
