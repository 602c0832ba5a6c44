//! The networks, on dfdx's tensors and tape.
//!
//! # Layout
//! - [`backend`]: what a device must do. Every operation of ours has a composed form, written in stock
//!   dfdx operations and therefore good for any device, and a fused form for the CPU on
//!   `intertwine-kernels`. The composed form is the oracle of the fused one in the tests.
//! - [`ops`]: those operations, one file each.
//! - [`module`]: parameters and their names; names are timm's, so that checkpoints travel.
//! - [`arch`]: the static widths of a network, and the list of those we compile.
//! - `cuda`: the operations on an NVIDIA GPU, with the feature of that name.
//! - [`device`]: which of them a training computes on.
//! - [`autocast`]: the precision of the products in a scope.
//! - [`positions`]: where the patches of whole pictures lie.
//! - [`vit`], [`head`]: the encoder and the projection head. `look`: the encoder looked into.
//! - [`optim`]: AdamW with groups, clipping, the moving-average teacher.
//! - [`weights`]: safetensors in and out; [`stored`]: an encoder's file in a run; [`timm`]: those of its encoders; [`normalisation`] and [`usual`]: what is noted in
//!   them of the pictures.
//!
//! Tensors are rows: `(usize, Const<WIDTH>)`, one row a token. Pictures of several sizes lie one after
//! another in the same matrix, so the linear layers see one long GEMM, and only attention knows where a
//! sequence ends ([`Groups`]).

pub mod arch;
pub mod autocast;
pub mod backend;
pub mod checkpoint;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
pub mod head;
mod look;
pub mod module;
pub mod normalisation;
pub mod ops;
pub mod optim;
pub mod positions;
pub mod registers;
pub mod stored;
pub mod timm;
pub mod usual;
mod view;
pub mod vit;
pub mod weights;

pub use backend::{Backend, Groups, Matrix, Rows, Scalar, Vector};
pub use module::{Kind, Module};
