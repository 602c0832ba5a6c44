//! One shard file: a header, records one after another, and an index of fixed-size entries.
//! `FORMAT.md` states every byte of it.

mod layout;
mod meta;
mod reader;
#[cfg(fuzzing)]
mod repair;
mod writer;

pub(crate) use layout::Entry;
pub(crate) use meta::encode as encode_meta;
pub(crate) use reader::Shard;
#[cfg(fuzzing)]
pub(crate) use repair::repair;
pub(crate) use writer::{number_after, sync_folder};
pub use writer::{EncodedRecord, FinishedShard, ShardWriter};
