//! Static ONNX detectors, written from Rust.
//!
//! # Layout
//! - [`spec`]: what a detector is: its sizes, and the name and shape of every weight it has.
//! - [`weights`]: named weights, borrowed or owned, checked against a spec.
//! - [`onnx`]: a graph builder that knows the shape of every value, and [`ops`], its operations.
//! - `network`, its layers; `vit` and [`detector`]: the network, in terms of the builder.
//! - [`reference`]: the same network in plain loops, to check the others against.
//! - [`compress`]: weights in half or a quarter of the bytes.
//! - [`gate`]: writes a model, but only after running it and comparing its outputs.
//!
//! ```no_run
//! use intertwine::export::{export_random, spec::DetectorSpec};
//! use intertwine::field::Normalisation;
//! # fn main() -> Result<(), intertwine::export::ExportError> {
//! let spec = DetectorSpec::tiny(384, 80);
//! let report = export_random(&spec, Normalisation::IMAGENET, 0, "random.onnx".as_ref())?;
//! println!("largest difference: {}", report.max_abs_diff());
//! # Ok(())
//! # }
//! ```
pub mod compress;
pub mod detector;
mod error;
pub mod gate;
mod network;
pub mod onnx;
pub mod ops;
pub mod reference;
pub mod spec;
#[cfg(test)]
mod tests;
mod vit;
pub mod weights;

pub use compress::{compress, WeightFormat};
pub use error::ExportError;
pub use gate::{export, export_random, ParityReport, Reference};
pub use spec::DetectorSpec;
pub use weights::Weights;
