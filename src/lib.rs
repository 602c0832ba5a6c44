//! See ARCHITECTURE.md.

pub mod export;
