//! What could not be packed as it was, one entry each, with the reason.
//!
//! Nothing is left out of a packed set without a line in its `quarantine.jsonl`, and what is taken in
//! changed (a box clipped, a mask dropped) has one too.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::error::{DatasetError, Result};

/// The quarantine list's file name.
pub const QUARANTINE: &str = "quarantine.jsonl";

/// One thing that was left out or changed. A line of `quarantine.jsonl` is this as JSON.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Quarantined {
    /// What it was.
    pub what: Subject,
    /// Why.
    pub reason: Reason,
    /// Whether it was packed all the same, changed as the detail says.
    pub kept: bool,
    /// The picture's path relative to the picture folder, as far as there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The picture's id in the label file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<u64>,
    /// The annotation's id in the label file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotation_id: Option<u64>,
    /// What was found, for people.
    pub detail: String,
}

impl Quarantined {
    /// An entry for a picture.
    pub(crate) fn picture(
        source: impl Into<String>,
        reason: Reason,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(Subject::Picture, reason, detail)
        }
    }

    /// An entry that names no picture yet.
    pub(crate) fn new(what: Subject, reason: Reason, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            what,
            reason,
            kept: false,
            source: None,
            image_id: None,
            annotation_id: None,
            detail,
        }
    }
}

/// What it is about and what was found; the reason goes before it where it is not clear from the place.
impl std::fmt::Display for Quarantined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.what {
            Subject::Picture => "picture",
            Subject::Annotation => "annotation",
            Subject::Category => "category",
            Subject::Shard => "packed set",
        })?;
        if let Some(id) = self.annotation_id {
            write!(f, " {id}")?;
        }
        match &self.source {
            Some(source) if self.what == Subject::Picture => write!(f, " `{source}`")?,
            Some(source) => write!(f, " of `{source}`")?,
            None => {}
        }
        write!(
            f,
            "{}: {}",
            if self.kept { " (kept)" } else { "" },
            self.detail
        )
    }
}

/// What kind of thing an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A picture, with all that is labelled in it.
    Picture,
    /// One labelled object.
    Annotation,
    /// A category of the label file.
    Category,
    /// A shard of a packed set that is looked over; in no set's own list.
    Shard,
}

/// Why. The names are stable, in kebab case: programs may rely on them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// The file's contents are no picture, whatever its name says.
    NotAPicture,
    /// A picture format that is not read.
    UnsupportedFormat,
    /// A picture that is damaged or cut off.
    Damaged,
    /// A side is below the smallest that is accepted.
    TooSmall,
    /// The file claims more pixels than are accepted, or has more bytes.
    TooLarge,
    /// The label file names a picture that is not there.
    MissingPicture,
    /// A picture without a label file, in a data set where each has one.
    MissingLabels,
    /// The operating system refused to read it.
    Unreadable,
    /// The label file states another size than the picture has, so that its boxes cannot fit.
    SizeMismatch,
    /// The labels were made without the EXIF rotation: the picture was packed unrotated, to fit them.
    ExifIgnored,
    /// The EXIF rotation keeps the sides' lengths, so that nothing tells whether the labels were made with it; they were
    /// taken to be.
    ExifUnclear,
    /// An entry of a label file that is not as its format defines it.
    Malformed,
    /// An id that was used before. Kept, it stands for all annotations of a file: they are numbered by their positions.
    DuplicateId,
    /// An annotation of a picture that the label file does not list.
    UnknownPicture,
    /// An annotation of a category that the label file does not list.
    UnknownCategory,
    /// A box with a number that is not finite, or without four numbers.
    BoxInvalid,
    /// A box without width or height.
    BoxEmpty,
    /// A box that lies wholly outside of the picture.
    BoxOutside,
    /// A box that left the picture by more than a pixel, clipped to it.
    BoxClipped,
    /// A mask made for a picture of another size; the box was kept.
    MaskSize,
    /// A mask that cannot be read; the box was kept.
    MaskInvalid,
    /// A mask without a pixel at the size the picture is stored in; the box was kept.
    MaskEmpty,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // serde writes a unit variant through `serialize_str`, which a formatter forwards.
        serde::Serialize::serialize(self, f)
    }
}

/// How often each reason occurs, the most frequent first; equal counts in the order of the reasons.
pub fn count_reasons(entries: &[Quarantined]) -> Vec<(Reason, usize)> {
    let mut counts = BTreeMap::new();
    for entry in entries {
        *counts.entry(entry.reason).or_insert(0) += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    counts
}

/// Writes a quarantine list and waits for the disk.
pub(crate) fn write(path: &Path, entries: &[Quarantined]) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for entry in entries {
            serde_json::to_writer(&mut file, entry)?;
            file.write_all(b"\n")?;
        }
        file.into_inner()?.sync_all()
    };
    write().map_err(DatasetError::io("write", path))
}

/// Reads the first `count` lines of a quarantine list; more are not of the set.
pub(crate) fn read(path: &Path, count: u64) -> Result<Vec<Quarantined>> {
    let text = fs::read_to_string(path).map_err(DatasetError::io("read", path))?;
    let wrong = |what: String| DatasetError::Manifest {
        path: path.into(),
        what,
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let lines = text.lines().take(count).enumerate();
    let entries = lines.map(|(i, line)| {
        serde_json::from_str(line).map_err(|e| wrong(format!("line {}: {e}", i + 1)))
    });
    let entries: Vec<_> = entries.collect::<Result<_>>()?;
    if entries.len() != count {
        let what = format!("{} lines, the manifest counts {count}", entries.len());
        return Err(wrong(what));
    }
    Ok(entries)
}
