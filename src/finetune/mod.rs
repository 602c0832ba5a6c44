//! Fine-tuning: an encoder, pretrained or fresh, becomes a detector and instance segmenter.
//!
//! # Layout
//! - [`config`]: every choice, with presets.
//! - [`model`]: the detector with gradients.
//! - [`assign`], [`boxes`], [`loss`]: which anchor answers for what, and how wrong it is.
//! - [`objective`]: that loss for a batch, on the tape.
//! - [`data`]: shards to batches of labelled squares, as a typed graph.
//! - `labelled`: what it needs of its data. `learner`: a detector in training, and one step. [`train`]: the loop.
//! - [`start`]: the encoder that it starts from. `small`: objects that are too small for it.
//! - [`error`]: why it failed. `examine`: average precision on the way and at the end.
//! - `ship`: at its end the model is exported, so that what is evaluated is what ships.

pub mod assign;
pub mod boxes;
pub mod config;
pub mod data;
pub mod error;
mod examine;
mod labelled;
mod learner;
pub mod loss;
pub mod model;
pub mod objective;
mod ship;
mod small;
pub mod start;
#[cfg(test)]
mod tests;
pub mod train;

pub use config::FinetuneConfig;
pub use error::FinetuneError;
pub use examine::Brief;
pub use labelled::{check_labels, check_val};
pub use small::too_small;
pub use start::Start;
pub use train::{finetune, watch, Job, Outcome, Progress};
