//! What can be wrong with labels and results.

use std::path::PathBuf;

use intertwine_rle::RleError;

/// Why detections could not be scored. Each names the file (or says that the data was built in
/// memory), the record and the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// A file could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not JSON of the expected form.
    #[error("{}: at {at}: {source}; expected {expected}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Place within its JSON, for example `annotations[3].bbox`; `.` is the whole.
        at: String,
        /// What the parser said, with line and column.
        source: serde_json::Error,
        /// What such a file is made of.
        expected: &'static str,
    },
    /// A record that cannot be used.
    #[error("{origin}: {list}[{index}].{key}: {problem}")]
    Record {
        /// The file, or where else the data comes from.
        origin: String,
        /// The list the record is in: `images`, `categories`, `annotations` or `results`.
        list: &'static str,
        /// Its place there, from 0.
        index: usize,
        /// Its key.
        key: &'static str,
        /// What is wrong with the key's value.
        problem: Problem,
    },
}

/// What is wrong with one value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It is NaN, infinite, or negative where a length or an area is meant.
    #[error("is {value}; it must be {expected}")]
    Number {
        /// The number found.
        value: f64,
        /// What it should be.
        expected: &'static str,
    },
    /// A box of other than four numbers.
    #[error("has {length} numbers; a box is [x, y, width, height]")]
    BoxLength {
        /// How many it has.
        length: usize,
    },
    /// An id used before in the list.
    #[error("{id} was given to record {first} already; ids must be unique")]
    DuplicateId {
        /// The id.
        id: u64,
        /// The record that had it first.
        first: usize,
    },
    /// An id that the ground truth does not define.
    #[error("{id} is not in the ground truth; are labels and results of the same data set?")]
    UnknownId {
        /// The id.
        id: u64,
    },
    /// A mask is needed.
    #[error(
        "is missing, but masks are compared (iou segm); add masks, or compare boxes (iou bbox)"
    )]
    NoMask,
    /// Polygons where a mask has to carry its size itself.
    #[error("holds polygons; in results a mask is run-length encoded: {{\"size\": [height, width], \"counts\": ..}}")]
    Polygons,
    /// A mask that is not a mask.
    #[error("{0}")]
    Mask(#[from] RleError),
    /// A mask of another size than its picture.
    #[error(
        "is a mask of height {} and width {}, but its image has height {} and width {}",
        found.0, found.1, expected.0, expected.1
    )]
    MaskSize {
        /// The mask's (height, width).
        found: (u32, u32),
        /// The picture's (height, width).
        expected: (u32, u32),
    },
}

impl Problem {
    /// A box `[x, y, width, height]` that cannot be measured.
    pub(super) fn of_box(bbox: &[f64; 4]) -> Option<Self> {
        let position = bbox.iter().find(|value| !value.is_finite());
        if let Some(&value) = position {
            return Some(Self::Number {
                value,
                expected: "a finite number",
            });
        }
        let negative = bbox[2..].iter().find(|&&side| side < 0.0);
        negative.map(|&value| Self::Number {
            value,
            expected: "0 or more for a width or height",
        })
    }
}
