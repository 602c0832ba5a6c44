//! See ARCHITECTURE.md.

pub mod evaluate;
