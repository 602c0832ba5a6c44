//! See ARCHITECTURE.md.

pub mod report;
