//! Layers of a network that is only run: weights packed once for this CPU, and what follows a product done in the pass
//! that writes it, while its rows are in the cache.
//!
//! All are forward passes of `f32` rows on the calling thread's rayon pool (or on that thread [`alone`](crate::alone)), and allocate nothing once warm.

mod conv;
mod linear;
mod mlp;
mod norm;
mod patches;
#[cfg(test)]
mod tests;

pub use conv::Conv;
pub use linear::Linear;
pub use mlp::Mlp;
pub use norm::Norm;
pub use patches::Patches;
