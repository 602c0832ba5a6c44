//! A statically typed dataflow graph: stages, their wiring, and executors.
//!
//! A [`Stage`] has an input type and an output type. Joining stages makes a type, and a graph whose types
//! do not fit does not compile. What is left at run time is one function that the compiler can inline.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use intertwine_flow::{source, stage, try_stage, FlowError, Source};
//!
//! let files = ["4", "8", "15", "16", "23", "42"];
//! let graph = source("Files", Some(6), move |position| Ok::<_, FlowError>(files[position as usize]))
//!     .then(try_stage("Parse", |text: &str| text.parse::<u32>()))
//!     .then(stage("Double", |n: u32| 2 * n))
//!     .batch(NonZeroUsize::new(4).unwrap())
//!     .sink("Print");
//! assert!(graph.describe().mermaid().contains("n1[\"Parse\"]"));
//!
//! let mut run = graph.run(..);
//! assert_eq!(*run.next().unwrap()?, [8, 16, 30, 32]);
//! assert_eq!(run.position(), 4); // resume here: `graph.run(4..)`
//! assert_eq!(*run.next().unwrap()?, [46, 84]);
//! assert!(run.next().is_none());
//! assert_eq!(run.counters().snapshot().stages[1].items, 6);
//! # Ok::<(), FlowError>(())
//! ```
//!
//! The same wiring runs on a small device, one item at a time, without threads or an operating system:
//!
//! ```
//! use intertwine_flow::{input, stage};
//! let mut graph = input::<&[u8]>("Frame").then(stage("Sum", |v: &[u8]| v.iter().map(|&v| u32::from(v)).sum::<u32>())).inline();
//! assert_eq!(graph.push(&[1, 2, 3]).unwrap(), 6);
//! ```
//!
//! # Layout
//!
//! - `stage`: [`Stage`], the one trait to implement; `function`: closures as stages;
//!   `source`: [`Source`], where items come from.
//! - [`chain`]: stages joined end to end as one type. `graph`: [`Graph`], a chain with its ends;
//!   `batch`: [`BatchGraph`], what follows once items are gathered.
//! - `prefetch`, `run`: the parallel executor on rayon. `inline`: [`Inline`], the one without threads.
//! - `counters`, `probe`: [`Stats`], who worked and who waited; `table`: the same as text, adding up.
//!   [`describe`]: the graph as Mermaid and DOT.
//! - `pool`: [`Pool`], buffers that come back by themselves. [`random`]: keyed random streams.
//!
//! # Architecture invariants
//!
//! - **A position is the only state.** The item at a position does not depend on threads, on the window, on
//!   the batch size or on where the run started. Scratch carries no meaning from item to item.
//! - **In order.** Results and errors come in order of position; the error seen is that of the lowest
//!   position that fails, whatever failed first.
//! - **No thread of its own, and no waiting worker.** All work is jobs on the rayon pool of the consumer.
//!   A job never waits for anything of ours; only the consumer does, and it helps first.
//! - **Bounded.** At most a window of items is in flight, and buffers come back.
//! - **Nothing is lost.** A panic is an error that names its stage and item. A dropped run has stopped.
//! - **No vision, no tensors.** This crate knows items, not what they are. Without the feature `std` it is
//!   `no_std` with `alloc`: stages, wiring, description and the inline executor.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]
extern crate alloc;

#[cfg(feature = "std")]
mod batch;
pub mod chain;
#[cfg(feature = "std")]
mod counters;
pub mod describe;
mod error;
mod function;
mod graph;
mod inline;
#[cfg(feature = "std")]
mod pool;
#[cfg(feature = "std")]
mod prefetch;
mod probe;
pub mod random;
#[cfg(feature = "std")]
mod run;
mod source;
mod stage;
#[cfg(feature = "std")]
mod table;

pub use error::{BoxError, FlowError, Panicked, Told};
pub use function::{source, stage, stage_with, try_stage, FnSource, Map, MapWith, TryMap};
pub use graph::{input, Graph};
pub use inline::Inline;
pub use source::Source;
pub use stage::Stage;
#[cfg(feature = "std")]
pub use {
    batch::{Batch, BatchGraph, BatchRun},
    counters::{Counters, StageStats, Stats},
    pool::{Pool, Pooled},
    run::Run,
    table::Table,
};
