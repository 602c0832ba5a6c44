//! What goes wrong in a graph: which stage, at which item, and why; and an error as a user reads it.

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
};
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

/// An error with what caused it. Many messages name their cause already, after a colon, which is not said twice.
#[derive(Debug)]
pub struct Told<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut next = self.0.source();
        while let Some(cause) = next {
            let said = cause.to_string();
            if !says(&text, &said) {
                text = format!("{text}: {said}");
            }
            next = cause.source();
        }
        f.write_str(&text)
    }
}

/// Whether a message is a cause or names it after a colon.
fn says(text: &str, cause: &str) -> bool {
    let mut found = text.match_indices(cause);
    found.any(|(at, _)| at == 0 || text[..at].ends_with(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_named_after_a_colon() {
        assert!(says("no such file", "no such file"));
        assert!(says(
            "cannot open `x`: no such file; make one",
            "no such file"
        ));
        assert!(says("a: b: c", "b: c"));
        assert!(!says("reading runs/timed out/a.png", "timed out"));
        assert!(!says("step 7", "7"));
    }

    #[derive(Debug)]
    struct Chain(&'static [&'static str]);
    impl fmt::Display for Chain {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0[0])
        }
    }
    impl Error for Chain {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            static INNER: Chain = Chain(&["no such file"]);
            static OUTER: Chain = Chain(&["cannot open `x`: no such file", ""]);
            match self.0.len() {
                3 => Some(&OUTER),
                2 => Some(&INNER),
                _ => None,
            }
        }
    }

    #[test]
    fn a_cause_is_said_once() {
        let error = Chain(&["reading the labels", "", ""]);
        let told = Told(&error).to_string();
        assert_eq!(told, "reading the labels: cannot open `x`: no such file");
    }
}
