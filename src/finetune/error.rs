//! Why a fine-tuning failed.

use std::io;
use std::path::PathBuf;

use intertwine_datasets::DatasetError;
use intertwine_flow::FlowError;

use crate::config::ConfigError;
use crate::evaluate::model::ScoreError;
use crate::export::ExportError;
use crate::nn::checkpoint::CheckpointError;
use crate::nn::device::DeviceError;
use crate::nn::weights::WeightsError;
use crate::report::ReportError;
use crate::run::RunError;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum FinetuneError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Data(#[from] DatasetError),
    #[error(transparent)]
    Flow(#[from] FlowError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error("cannot evaluate on the pictures of --val; mend them, or do without: --resume --set watch.evaluations=0 goes on from here")]
    Score(#[from] ScoreError),
    /// Pictures that show nothing to be found.
    #[error("--val {}: none of its pictures has an object, so there is nothing to evaluate on; were the labels packed with them? See pack-dataset --check", path.display())]
    NothingToFind { path: PathBuf },
    /// Pictures that do not belong to the data.
    #[error("--val {}", path.display())]
    Val { path: PathBuf, source: ScoreError },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// Nothing to learn.
    #[error("{}: the set has no categories; pack a labelled set (a COCO JSON, see pack-dataset --help)", path.display())]
    Unlabelled { path: PathBuf },
    /// Pictures that show nothing.
    #[error("{}: none of the {pictures} pictures to learn from has an object; were the labels packed with them? See pack-dataset --check. (Another seed takes other pictures for data.subset.)", path.display())]
    NoObjects { path: PathBuf, pictures: u64 },
    /// The loss is no number any more.
    #[error("step {step}: {what} is not finite; start again with another --out: a lower optim.lr or a longer optim.warmup usually mends this")]
    NotFinite { step: u64, what: &'static str },
}

impl FinetuneError {
    /// Whether the learning itself went wrong, as it may with some settings, and nothing around it.
    pub fn is_divergence(&self) -> bool {
        matches!(self, Self::NotFinite { .. })
    }
}
