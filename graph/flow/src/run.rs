//! A run: the items of a graph, worked on by the rayon pool, in order of position.

use std::{fmt, num::NonZeroUsize, ops::RangeBounds};

use crate::{
    chain::{Parallel, Sourced},
    counters::Counters,
    graph::Ends,
    inline::nodes,
    prefetch::{positions, Prefetch},
    FlowError, Graph,
};

/// The items of a graph in order of position; made by [`Graph::run`].
///
/// The first error ends the run. Dropping the run stops it: no stage runs any more when `drop` returns.
/// A run stays on the thread that made it; make it where it is consumed, inside `pool.install` if there is
/// a pool.
pub struct Run<C: Sourced> {
    prefetch: Prefetch<C>,
}

impl<C: Parallel> Graph<u64, C> {
    /// Runs the graph over a range of positions (`0..`, or `position..` to resume), cut to what the source
    /// has.
    ///
    /// Work starts at once, on the rayon pool the caller is in (else the global one), at most a
    /// [window](Graph::window) ahead of the consumer. The items and their order do not depend on the
    /// number of threads.
    pub fn run(self, range: impl RangeBounds<u64>) -> Run<C> {
        let window = self.ends.window_or(NonZeroUsize::MIN);
        let mut all = nodes::<u64, C>(&self.chain);
        all.push(self.ends.sink_node());
        let counters = Counters::new(&all, window.get());
        let range = positions(range, self.chain.len());
        Run {
            prefetch: Prefetch::new(self.chain, range, window, counters),
        }
    }
}

impl Ends {
    /// The window asked for, or enough to keep every thread busy while one more item each waits; at least
    /// `least`.
    pub(crate) fn window_or(&self, least: NonZeroUsize) -> NonZeroUsize {
        self.window.unwrap_or_else(|| {
            NonZeroUsize::new(2 * rayon::current_num_threads())
                .map_or(least, |enough| enough.max(least))
        })
    }
}

impl<C: Sourced> Run<C> {
    /// The position of the next item: the one to resume from.
    pub fn position(&self) -> u64 {
        self.prefetch.position()
    }

    /// The run's counters, which can be read from any thread while it goes on.
    pub fn counters(&self) -> Counters {
        self.prefetch.counters().clone()
    }
}

impl<C: Parallel> Iterator for Run<C> {
    type Item = Result<C::Out, FlowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.prefetch.serve(Prefetch::take)
    }
}

impl<C: Sourced> fmt::Debug for Run<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}
