//! Data sets: from picture folders and label files to shards that training reads at full speed.
//!
//! [`pack`] turns a [`Source`] (a folder of pictures, a labelled data set of any usual kind) into a *packed set*: a folder of
//! shards with a manifest and a list of what could not be used. [`PackedSet`] reads it.
//!
//! # Layout
//! - [`sample`]: what a record is
//! - [`pixels`], [`shard`], [`manifest`]: the file format, stated byte by byte in `FORMAT.md`
//! - [`packed_set`](PackedSet), [`permutation`](Permutation): reading, in order or shuffled
//! - [`mix`](Mix), `interleave`, [`rank`](Rank): several sets as one stream, and a stream for several processes
//! - `import`: a file for each kind of source; [`export()`]: back to pictures and label files
//! - [`decode()`]: picture files to upright RGB; `labels`: labels to the stored picture
//! - [`pack()`], `prepare`, `batches`, `output`, [`quarantine`]: packing; `destination`: where an output goes
//! - [`inspect()`]: what is wrong with a source, what is there twice, what it consists of
//! - `journal`, `resume`: going on after a run that was killed; `append`: adding to a set
//!
//! # Invariants
//! - A packed set under its final name is complete; nothing that was there before is lost on the way.
//! - The same source and options give the same bytes, for any number of threads.
//! - Whatever a file says is checked before it is believed; nothing that a file says makes us panic.

mod append;
mod batches;
mod decode;
mod destination;
mod error;
mod export;
#[cfg(fuzzing)]
pub mod fuzzing;
mod import;
mod inspect;
mod interleave;
mod journal;
mod labels;
pub mod manifest;
mod mix;
mod options;
mod output;
mod pack;
mod packed_set;
mod permutation;
pub mod pixels;
mod prepare;
pub mod quarantine;
mod rank;
mod resume;
pub mod sample;
pub mod scenes;
pub mod shard;

pub use decode::{decode, DecodeError, Decoded};
pub use destination::knows_no_locks;
pub use error::{DatasetError, Result};
pub use export::{export, ExportReport, Target};
pub use import::{Format, Source};
pub use inspect::{inspect, ClassCount, Group, Histogram, Inspection, Member, Tally};
pub use manifest::Manifest;
pub use mix::{Mix, MixError, Place, WINDOW};
pub use options::{Existing, PackOptions, Resize};
pub use pack::{pack, PackReport, Progress, Resumed};
pub use packed_set::{PackedSet, Verified};
pub use permutation::Permutation;
pub use pixels::{Encoding, Scratch};
pub use quarantine::{Quarantined, Reason};
pub use rank::{Rank, RankError};
pub use sample::{Category, Instance, Namesake, RecordInfo, Sample};
