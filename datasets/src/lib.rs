//! Data sets: from picture folders and label files to shards that training reads at full speed.
//!
//! # Layout
//! - [`sample`]: what a record is
//! - [`shard`], [`pixels`]: the file format, stated byte by byte in `FORMAT.md`
//! - [`PackedSet`], [`manifest`]: reading
//! - [`Permutation`]: the shuffle

mod decode;
mod error;
pub mod manifest;
mod options;
mod packed_set;
mod permutation;
pub mod pixels;
pub mod sample;
pub mod scenes;
pub mod shard;

pub use decode::{decode, DecodeError, Decoded};
pub use error::{DatasetError, Result};
pub use manifest::Manifest;
pub use options::{PackOptions, Resize};
pub use packed_set::{PackedSet, Verified};
pub use permutation::{shuffled, Permutation};
pub use pixels::{Encoding, Scratch};
pub use sample::{Category, Instance, RecordInfo, Sample};
