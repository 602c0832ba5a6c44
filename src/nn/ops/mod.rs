//! Our operations on dfdx's tape: each with a composed form (stock operations, any device) and a fused
//! form (the CPU kernels). Both add to the gradients of everything they read, tape or no tape, as dfdx's
//! own operations do.

pub mod activation;
pub mod assemble;
pub mod attention;
pub mod block;
pub mod conv;
pub mod cross_entropy;
pub mod gather;
pub mod host_loss;
pub mod l2_normalize;
pub mod layer_norm;
pub mod linear;
pub mod residual;
#[cfg(test)]
mod tests;

pub(super) use super::view::{put_grad, slice, take_grad};
