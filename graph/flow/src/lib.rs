//! A statically typed dataflow graph: stages, their wiring, and executors.
#![cfg_attr(not(feature = "std"), no_std)]
extern crate alloc;

pub mod random;
