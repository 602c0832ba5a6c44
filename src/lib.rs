//! See ARCHITECTURE.md.

pub mod augment;
pub mod field;
