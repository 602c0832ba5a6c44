//! What goes wrong in a graph: which stage, at which item, and why.

use alloc::{boxed::Box, string::String};
use core::{error::Error, fmt};

/// Any error a stage can return, without its type.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A stage failed (or panicked) on one item.
///
/// The message names the stage and the item; the cause is [`Error::source`], which `anyhow` and other
/// reporters print below it.
#[derive(Debug)]
pub struct FlowError {
    /// Name of the stage that failed.
    pub stage: &'static str,
    /// Position of the item in the run (for [`Inline`](crate::Inline), how many items came before it).
    pub position: u64,
    /// What the source calls the item, such as its file name.
    pub label: Option<String>,
    /// The stage's own error, or [`Panicked`].
    pub source: BoxError,
}

impl fmt::Display for FlowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stage {} failed at item {}", self.stage, self.position)?;
        match &self.label {
            Some(label) => write!(f, " ({label})"),
            None => Ok(()),
        }
    }
}

impl Error for FlowError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// The cause of a [`FlowError`] when the stage panicked instead of returning an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panicked(
    /// The panic's message.
    pub String,
);

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.0)
    }
}

impl Error for Panicked {}
