//! Everything that can go wrong with a packed set or its source, each naming the place and the remedy.

use std::io;
use std::path::{Path, PathBuf};

/// A result of this crate.
pub type Result<T, E = DatasetError> = std::result::Result<T, E>;

/// Why a data set could not be packed, opened or read.
///
/// Single bad files and labels are no errors while packing: they go to [`crate::quarantine`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No packed set is there.
    #[error("`{}`: {}", path.display(), match exists {
        true => "no packed set, which is a folder with manifest.json; make one with `pack-dataset SOURCE OUT` and name OUT",
        false => "there is no such folder",
    })]
    NoSet {
        /// Where one was looked for.
        path: PathBuf,
        /// Whether anything is there.
        exists: bool,
    },
    /// `manifest.json` is no manifest, or disagrees with the shards.
    #[error("`{}`: {what}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The key, what was found and what was expected.
        what: String,
    },
    /// A shard as a whole cannot be used.
    #[error("shard `{}`: {what}; pack the data set again or copy the shard anew", path.display())]
    Shard {
        /// The shard file.
        path: PathBuf,
        /// What was found and what was expected.
        what: String,
    },
    /// One record is damaged; the others can still be read.
    #[error("shard `{}`, record {record} ({name}): {what}; pack the data set again or copy the shard anew", shard.display())]
    Record {
        /// The shard file.
        shard: PathBuf,
        /// Position in that shard, from 0.
        record: usize,
        /// The picture the record was made from, as far as it can still be told.
        name: String,
        /// What was found and what was expected.
        what: String,
    },
    /// A record number past the end of the set.
    #[error("record {index} was asked of `{}`, which holds {len}", path.display())]
    OutOfRange {
        /// The packed set.
        path: PathBuf,
        /// The record asked for.
        index: usize,
        /// The number of records there are.
        len: usize,
    },
    /// The source is not what it was said to be, or holds nothing to pack.
    #[error("`{}`: {what}", path.display())]
    Source {
        /// The folder or label file.
        path: PathBuf,
        /// What was looked for, what was found, and how to mend it.
        what: String,
    },
    /// The output folder cannot be used without losing something.
    #[error("`{}`: {what}", path.display())]
    Output {
        /// The output folder.
        path: PathBuf,
        /// What is in the way and how to mend it.
        what: String,
    },
    /// An option out of its range.
    #[error("{key} = {found}: {expected}")]
    Option {
        /// The option's name.
        key: &'static str,
        /// The value given.
        found: String,
        /// The values allowed.
        expected: &'static str,
    },
}

impl DatasetError {
    /// A source that cannot be used.
    pub(crate) fn source(path: &Path, what: impl Into<String>) -> Self {
        Self::Source {
            path: path.into(),
            what: what.into(),
        }
    }

    /// For `map_err`: an [`DatasetError::Io`] of `action` on `path`.
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
