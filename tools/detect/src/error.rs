//! What can go wrong, said so that the reader knows what to do next.

use thiserror::Error;

/// Why a model cannot be used.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The file could not be read.
    #[error("cannot read the file: {0}")]
    Read(#[from] std::io::Error),
    /// The bytes are no ONNX model, or one that the runtime cannot plan.
    #[error("not a usable ONNX model: {0}")]
    Onnx(String),
    /// An ONNX model without our metadata.
    #[error(
        "not an Intertwine export: the metadata has no key `{key}`; write the model with `intertwine export`"
    )]
    NotIntertwine {
        /// The metadata key that was looked for.
        key: &'static str,
    },
    /// The metadata is not a model card.
    #[error("the metadata `intertwine.model_card` is not valid: {0}; export the model again")]
    Card(#[from] CardError),
    /// What was asked for only our own layers can do.
    #[error("tract computes in f32 only; leave the engine out, or take `--precision f32`")]
    Bf16InTract,
    /// `INTERTWINE_CPU` asks for what this CPU cannot do.
    #[error("{0}")]
    Cpu(#[from] intertwine_kernels::cpu::UnusablePath),
    /// An input or output is missing.
    #[error("the model has no {what} named `{name}`; it has: {found}")]
    Missing {
        /// `input` or `output`.
        what: &'static str,
        /// The name in the contract.
        name: &'static str,
        /// The names there are, joined by commas.
        found: String,
    },
    /// An input or output has the wrong type or shape.
    #[error("`{name}` is {found}, expected {expected}; export the model again")]
    Shape {
        /// Name of the input or output.
        name: &'static str,
        /// Type and shape in the model.
        found: String,
        /// Type and shape in the contract, filled in from the model card.
        expected: String,
    },
}

/// What is wrong with a model card.
#[derive(Debug, Error)]
pub enum CardError {
    /// Not JSON, a wrong type, or a missing key.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Written by a newer program.
    #[error("format_version is {0}, this program reads up to {max}; update it", max = crate::card::FORMAT_VERSION)]
    Version(u32),
    /// A value out of its range.
    #[error("`{key}` is {found}, expected {expected}")]
    Value {
        /// The key in the card.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would be valid.
        expected: &'static str,
    },
}

/// Why a picture cannot be used.
#[derive(Debug, Error)]
pub enum PictureError {
    /// The file could not be read.
    #[error("cannot read the file: {0}")]
    Read(#[from] std::io::Error),
    /// The bytes are no picture of a known format, or a damaged one.
    #[error("cannot decode the picture: {0}")]
    Decode(#[from] image::ImageError),
    /// The header promises more pixels than we are willing to hold in memory.
    #[error(
        "the picture is {width} x {height}, more than the limit of {limit} pixels; make it smaller"
    )]
    TooLarge {
        /// Width in the header, pixels.
        width: u32,
        /// Height in the header, pixels.
        height: u32,
        /// The most pixels accepted.
        limit: u64,
    },
    /// A picture of no pixels.
    #[error("the picture has no pixels ({width} x {height})")]
    Empty {
        /// Width, pixels.
        width: u32,
        /// Height, pixels.
        height: u32,
    },
}

/// Anything that can go wrong between a model file, a picture and its detections.
#[derive(Debug, Error)]
pub enum DetectError {
    /// The model cannot be used.
    #[error("model {origin}: {source}")]
    Model {
        /// The file, or `from memory`.
        origin: String,
        /// Why.
        source: ModelError,
    },
    /// The picture cannot be used.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// A tensor handed to [`Detector::run_raw`](crate::Detector::run_raw) has the wrong length.
    #[error("the input has {found} values, expected {expected} (3 x {size} x {size})")]
    InputLength {
        /// Values given.
        found: usize,
        /// Values needed.
        expected: usize,
        /// Side of the network's input, pixels.
        size: u32,
    },
    /// Raw outputs whose lengths do not belong together.
    #[error("the output `{name}` has {found} values, expected {expected}")]
    OutputLength {
        /// Name of the output.
        name: &'static str,
        /// Values given.
        found: usize,
        /// Values needed.
        expected: usize,
    },
    /// The runtime failed on this input.
    #[error("the model failed to run: {0}")]
    Run(String),
}
