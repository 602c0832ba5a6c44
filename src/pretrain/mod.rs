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
//! - `step`: one step. [`train`]: the loop.

pub mod batch;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod health;
pub mod network;
pub mod objective;
#[cfg(test)]
mod parity;
pub(crate) mod step;
#[cfg(test)]
mod testing;
pub mod train;

pub use config::PretrainConfig;
pub use train::{pretrain, watch, Job, Outcome, Progress};
