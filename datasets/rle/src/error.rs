//! What can be wrong with a mask read from a file.

use std::fmt;

/// Why a mask could not be read.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RleError {
    /// `height * width` does not fit the format's 32-bit runs.
    TooLarge {
        /// Stated height in pixels.
        height: u32,
        /// Stated width in pixels.
        width: u32,
    },
    /// The runs do not add up to `height * width`.
    WrongTotal {
        /// Stated height in pixels.
        height: u32,
        /// Stated width in pixels.
        width: u32,
        /// What the runs add up to.
        total: u64,
    },
    /// A byte outside the string form's alphabet, `0` (48) to `o` (111).
    InvalidByte {
        /// Offset in the string.
        offset: usize,
        /// The byte found.
        byte: u8,
    },
    /// The string ends in the middle of a run.
    Truncated {
        /// Which run, from 0.
        run: usize,
    },
    /// A run of the string is negative or needs more than 32 bits.
    InvalidRun {
        /// Which run, from 0.
        run: usize,
    },
    /// A polygon that is not a list of at least three `x, y` pairs.
    PolygonLength {
        /// Which polygon, from 0.
        polygon: usize,
        /// How many numbers it has.
        length: usize,
    },
    /// A coordinate that is not finite or is farther from the origin than the algorithm's 32-bit
    /// integers reach.
    Coordinate {
        /// Which polygon, from 0.
        polygon: usize,
        /// Which number of it, from 0.
        index: usize,
        /// The number found.
        value: f64,
    },
    /// The outline breaks into more runs than any picture of an object has (millions).
    TooManyRuns {
        /// Which polygon, from 0.
        polygon: usize,
    },
}

impl fmt::Display for RleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLarge { height, width } => write!(
                f,
                "a mask of height {height} and width {width} has more pixels than run lengths can count ({}); \
                 check the size's order: COCO writes [height, width]",
                u32::MAX
            ),
            Self::WrongTotal { height, width, total } => write!(
                f,
                "the runs add up to {total} pixels, but height {height} x width {width} is {}; \
                 the counts are damaged or belong to a picture of another size",
                u64::from(height) * u64::from(width)
            ),
            Self::InvalidByte { offset, byte } => write!(
                f,
                "byte {byte} ({:?}) at offset {offset} of the compressed counts is outside '0'..='o'; \
                 the string is not COCO's compressed form",
                char::from(byte)
            ),
            Self::Truncated { run } => {
                write!(f, "the compressed counts end in the middle of run {run}; the string was cut off")
            }
            Self::InvalidRun { run } => write!(
                f,
                "run {run} of the compressed counts is not between 0 and {}; the string is damaged",
                u32::MAX
            ),
            Self::PolygonLength { polygon, length } => write!(
                f,
                "polygon {polygon} has {length} numbers; it needs an even number of them, 6 or more: [x0, y0, x1, y1, ..]"
            ),
            Self::Coordinate { polygon, index, value } => write!(
                f,
                "number {index} of polygon {polygon} is {value}; a coordinate must be finite and within {} pixels",
                crate::polygon::MAX_COORDINATE
            ),
            Self::TooManyRuns { polygon } => write!(
                f,
                "polygon {polygon} crosses the picture's columns millions of times; it cannot be an object's outline"
            ),
        }
    }
}

impl std::error::Error for RleError {}
