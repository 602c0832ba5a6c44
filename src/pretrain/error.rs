//! Why a pretraining fails.

use std::path::PathBuf;

use intertwine_datasets::DatasetError;
use intertwine_flow::FlowError;

use super::health::Collapse;
use crate::config::ConfigError;
use crate::nn::checkpoint::CheckpointError;
use crate::nn::device::DeviceError;
use crate::nn::weights::WeightsError;
use crate::probe::ProbeError;
use crate::report::ReportError;
use crate::run::RunError;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum PretrainError {
    /// A config that makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The run folder.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Writing weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// A picture that could not be read or augmented.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// A probe of the encoder.
    #[error("probing the encoder: {0}")]
    Probe(#[from] ProbeError),
    /// The report.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Too few pictures.
    #[error("the data set has {records} pictures, fewer than one batch of {batch}; lower optim.batch or add pictures")]
    TooFew {
        /// Pictures.
        records: usize,
        /// `optim.batch`.
        batch: usize,
    },
    /// The loss is no number any more.
    #[error("step {step}: {what} is not finite{}. A lower optim.lr or a longer optim.warmup usually mends this", kept.as_ref().map(|path| format!("; the step is kept in {}: `intertwine replay` on the run says where it began", path.display())).unwrap_or_default())]
    NotFinite {
        /// The step.
        step: u64,
        /// The part of the loss, or the parameters whose values or gradients are not finite.
        what: String,
        /// Where the step is kept.
        kept: Option<PathBuf>,
    },
    /// What is above, and no room for it.
    #[error("{failure}; the step could not be kept: {reason}")]
    NotKept {
        /// Why the run stopped.
        failure: Box<PretrainError>,
        /// Why that step was not kept.
        reason: Box<PretrainError>,
    },
    /// A run whose steps were all finite.
    #[error("{}: no step was kept; a run keeps one when it stops at a value that is not finite", path.display())]
    NothingKept {
        /// Where it would be.
        path: PathBuf,
    },
    /// The network tells pictures apart no longer.
    #[error("step {step}: {collapse}. The checkpoint and report.html are kept. To wait longer go on with --resume --set {}; other settings take a new run, with another --out", collapse.patience())]
    Collapsed {
        /// The step that was done last.
        step: u64,
        /// How, and what to do.
        collapse: Box<Collapse>,
    },
}

impl PretrainError {
    /// Whether the learning itself went wrong, as it may with some settings, and nothing around it.
    pub fn is_divergence(&self) -> bool {
        match self {
            Self::Collapsed { .. } | Self::NotFinite { .. } => true,
            Self::NotKept { failure, .. } => failure.is_divergence(),
            _ => false,
        }
    }

    /// Something in step `step` that is not finite.
    pub(super) fn not_finite(step: u64, what: String) -> Self {
        let kept = None;
        Self::NotFinite { step, what, kept }
    }
}
