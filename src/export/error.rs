use std::path::PathBuf;

use intertwine_detect::{CardError, DetectError};

/// Why a model could not be exported. No file is left behind, and an older one is left untouched.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The spec describes no network.
    #[error("`{field}` cannot be {found}: {reason}")]
    Spec {
        /// The field of [`DetectorSpec`](super::DetectorSpec).
        field: &'static str,
        /// Its value.
        found: usize,
        /// What it must satisfy.
        reason: String,
    },
    /// A weight of the network is not in the map.
    #[error("no weight is named `{name}` (expected with shape {expected:?}){}", hint(.nearest))]
    MissingWeight {
        /// The name looked for.
        name: String,
        /// The shape it should have.
        expected: Vec<usize>,
        /// The most similar name that exists.
        nearest: Option<String>,
    },
    /// A weight has another shape than the network asks for.
    #[error("weight `{name}` has shape {found:?}, expected {expected:?}; do the checkpoint and the preset belong together?")]
    WeightShape {
        /// The weight's name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape the network asks for.
        expected: Vec<usize>,
    },
    /// A weight's data does not fill its shape.
    #[error("weight `{name}` has {found} values, but its shape {shape:?} holds {}", shape.iter().product::<usize>())]
    WeightLength {
        /// The weight's name.
        name: String,
        /// The number of values given.
        found: usize,
        /// The shape given.
        shape: Vec<usize>,
    },
    /// A weight is NaN or infinite.
    #[error("weight `{name}` holds {value} at {index:?}: training diverged, export an earlier checkpoint")]
    NotFinite {
        /// The weight's name.
        name: String,
        /// The coordinates of the first such value.
        index: Vec<usize>,
        /// The value.
        value: f32,
    },
    /// Weights that the network has no place for: a deeper or different network than the spec's.
    #[error("{} weights have no place in this network, the first is `{}`; do the checkpoint and the preset belong together?", names.len(), names[0])]
    UnexpectedWeights {
        /// Their names, at least one.
        names: Vec<String>,
    },
    /// Two values of the graph do not fit together.
    #[error("node `{node}` ({op}): {reason}")]
    Shape {
        /// The node that was being added.
        node: String,
        /// Its ONNX operator.
        op: &'static str,
        /// Which shapes met, and which would fit.
        reason: String,
    },
    /// What was to be compressed is no exported model.
    #[error("not an exported model: {0}")]
    NoModel(String),
    /// The model card holds an impossible value.
    #[error("the model card is not valid: {0}")]
    Card(#[from] CardError),
    /// The exported model did not load or run: its card belongs to another network, or we are wrong.
    #[error("the exported model does not run, nothing was written: {0}")]
    Detect(#[from] DetectError),
    /// A reference output is missing, or has a length the exported model cannot give.
    #[error("reference {output} has {found} values, the model gives {expected}")]
    ReferenceLength {
        /// The input's or output's name.
        output: &'static str,
        /// The number of values given.
        found: usize,
        /// The number expected.
        expected: usize,
    },
    /// The exported model disagrees with the network it was made from.
    #[error("refused to write: output `{output}` differs from the reference at {index:?}: exported {exported}, reference {reference} (largest accepted difference there {tolerance:e})")]
    Parity {
        /// The output's name.
        output: &'static str,
        /// The coordinates of the worst value.
        index: Vec<usize>,
        /// The exported model's value there.
        exported: f32,
        /// The reference's value there.
        reference: f32,
        /// The largest difference accepted there.
        tolerance: f32,
    },
    /// The file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file being written.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

fn hint(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}
