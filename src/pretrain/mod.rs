//! Pretraining without labels: the paper's method.
//!
//! # Layout
//! - [`config`]: every choice, with presets.
//! - [`data`]: shards to batches of views with masks, as a typed graph.
//! - [`batch`]: views of several pictures as the rows that the networks take.
//! - [`network`]: encoder and heads, twice: student and teacher.
//! - [`objective`]: the loss.
//! - [`health`]: is it collapsing?
//! - [`checkpoint`]: stop and go on.
//! - `instruments`: probes and pictures of the teacher while it learns.
//! - [`replay`]: a step that was not finite, kept and taken again.
//! - `step`: one step. [`train`]: the loop. [`error`]: why it fails. `curves`: what its report plots.

pub mod batch;
pub mod centres;
pub mod checkpoint;
pub mod config;
mod curves;
pub mod data;
pub mod entropy;
pub mod error;
pub mod health;
mod instruments;
pub mod network;
pub mod objective;
#[cfg(test)]
mod parity;
pub mod replay;
pub(crate) mod step;
#[cfg(test)]
mod testing;
pub mod train;

pub use config::PretrainConfig;
pub use error::PretrainError;
pub use train::{pretrain, watch, Job, Outcome, Progress};
