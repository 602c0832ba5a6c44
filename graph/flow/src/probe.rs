//! A probe: follows one item through a chain, knows which stage it is in and how long each took.

#[cfg(feature = "std")]
use crate::counters::{Counters, Stopwatch};

/// Follows one item through a chain.
#[derive(Debug)]
pub struct Probe<'a> {
    /// Index of the chain's first stage among the stages of the graph.
    first: usize,
    /// Index of the stage entered last.
    stage: usize,
    #[cfg(feature = "std")]
    counters: &'a Counters,
    #[cfg(feature = "std")]
    watch: Stopwatch,
    #[cfg(not(feature = "std"))]
    counters: core::marker::PhantomData<&'a ()>,
}

impl<'a> Probe<'a> {
    #[cfg(feature = "std")]
    pub(crate) fn new(first: usize, counters: &'a Counters) -> Self {
        Self {
            first,
            stage: first,
            counters,
            watch: Stopwatch::start(),
        }
    }

    #[cfg(not(feature = "std"))]
    pub(crate) fn new() -> Self {
        Self {
            first: 0,
            stage: 0,
            counters: core::marker::PhantomData,
        }
    }

    /// Index in its chain of the stage that ran last, or was running when it panicked.
    pub(crate) fn last_stage(&self) -> usize {
        self.stage - self.first
    }

    /// Makes the scratch of stage `index`: its time, but no item.
    pub(crate) fn prepare<T>(&mut self, index: usize, f: impl FnOnce() -> T) -> T {
        self.stage = self.first + index;
        let out = f();
        #[cfg(feature = "std")]
        self.counters.add_stage(self.stage, 0, self.watch.lap());
        out
    }

    /// Runs stage `index` on the item.
    pub(crate) fn stage<T>(&mut self, index: usize, f: impl FnOnce() -> T) -> T {
        self.stage = self.first + index;
        let out = f();
        #[cfg(feature = "std")]
        self.counters.add_stage(self.stage, 1, self.watch.lap());
        out
    }

    /// Counts a stage that panicked: it was worked in, so that the times still add up.
    #[cfg(feature = "std")]
    pub(crate) fn panicked(&mut self) {
        self.counters.add_stage(self.stage, 1, self.watch.lap());
    }
}
