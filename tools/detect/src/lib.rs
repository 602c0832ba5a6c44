//! Runs an exported detector on pictures: one ONNX file in, boxes, classes and masks out.
//!
//! This is the edge half of Intertwine. It knows nothing of training, and training's evaluation calls it,
//! so what is measured is what runs on the device.
//!
//! # Layout
//! - [`Detector`]: the whole way, picture to detections. `graph`: its stages and their wiring.
//! - [`Preprocessor`], [`Letterbox`]: picture to input tensor, and boxes back.
//! - `engine`: the network itself; the only folder that knows `tract`, and where our own layers replace its.
//! - [`Postprocessor`], [`Detection`]: candidates, non-maximum suppression, masks.
//! - [`ModelCard`]: what a model file says about itself.
//! - [`picture`]: reading pictures of any size and orientation without trusting them.
//! - [`Tracker`]: things followed from frame to frame.
//! - [`coco`]: detections as a COCO result file. [`draw`]: detections on a picture.

pub mod card;
pub mod coco;
mod detector;
pub mod draw;
mod engine;
mod error;
mod font;
mod graph;
mod letterbox;
mod mask;
mod panics;
pub mod picture;
mod postprocess;
mod preprocess;
mod track;

pub use card::{Class, MaskCard, ModelCard};
pub use detector::{Detector, NodeTime};
pub use engine::{EngineKind, Options};
pub use error::{CardError, DetectError, ModelError, PictureError};
pub use intertwine_kernels::gemm::Precision;
pub use letterbox::Letterbox;
pub use postprocess::{iou, postprocess, Detection, Postprocessor, RawOutputs, Thresholds};
pub use preprocess::Preprocessor;
pub use track::{Tracker, TrackerOptions};
