//! See ARCHITECTURE.md.

pub mod scenes;
