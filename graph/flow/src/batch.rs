//! Batches: consecutive items gathered, and what is done with a batch as a whole.

use std::{
    fmt,
    num::NonZeroUsize,
    ops::{Deref, DerefMut, Range, RangeBounds},
    panic::{catch_unwind, AssertUnwindSafe},
};

use crate::{
    chain::{Chain, Input, Parallel, Sourced, Then},
    counters::Counters,
    describe::{Description, Kind},
    graph::Ends,
    inline::{nodes, stage_name},
    prefetch::{message, positions, Prefetch},
    probe::Probe,
    FlowError, Graph, Panicked, Pool, Pooled, Stage,
};

/// Consecutive items. The list returns to the run when the batch is dropped, and pooled buffers in the
/// items return to their pools.
pub struct Batch<T> {
    items: Pooled<Vec<T>>,
    positions: Range<u64>,
}

impl<T> Batch<T> {
    /// The positions the items came from; the end is where to resume after this batch.
    pub fn positions(&self) -> Range<u64> {
        self.positions.clone()
    }

    /// Moves the items out.
    pub fn drain(&mut self) -> std::vec::Drain<'_, T> {
        self.items.drain(..)
    }
}

impl<T> Deref for Batch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> DerefMut for Batch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items
    }
}

impl<'a, T> IntoIterator for &'a Batch<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl<T> Drop for Batch<T> {
    fn drop(&mut self) {
        self.items.clear();
    }
}

impl<T: fmt::Debug> fmt::Debug for Batch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("positions", &self.positions)
            .field("items", &&self[..])
            .finish()
    }
}

/// A graph that gathers batches; made by [`Graph::batch`].
///
/// Stages joined behind the batch (`D`) take whole batches. They run in order, on the consumer's thread,
/// with one scratch.
#[derive(Clone, Debug)]
#[must_use = "a graph does nothing until it is run"]
pub struct BatchGraph<C, D = Input> {
    items: C,
    after: D,
    size: NonZeroUsize,
    exact: bool,
    ends: Ends,
}

impl<C: Sourced> BatchGraph<C> {
    pub(crate) fn new(graph: Graph<u64, C>, size: NonZeroUsize, exact: bool) -> Self {
        let after = Input {
            name: "Batch",
            kind: Kind::Batch,
        };
        Self {
            items: graph.chain,
            after,
            size,
            exact,
            ends: graph.ends,
        }
    }
}

impl<C: Sourced, D: Chain<Batch<C::Out>>> BatchGraph<C, D> {
    /// Joins a stage that takes what comes behind the batch.
    pub fn then<S: Stage<D::Out>>(self, stage: S) -> BatchGraph<C, Then<D, S>> {
        BatchGraph {
            items: self.items,
            after: Then {
                before: self.after,
                stage,
            },
            size: self.size,
            exact: self.exact,
            ends: self.ends,
        }
    }

    /// Names what takes the results; see [`Graph::sink`].
    pub fn sink(mut self, name: &'static str) -> Self {
        self.ends.sink = name;
        self
    }

    /// Sets the most items in flight; see [`Graph::window`]. The items of the batch being gathered are not
    /// in flight any more.
    pub fn window(mut self, items: NonZeroUsize) -> Self {
        self.ends.window = Some(items);
        self
    }

    /// The graph as data, to be drawn as Mermaid or DOT.
    pub fn describe(&self) -> Description {
        let mut nodes = nodes::<u64, C>(&self.items);
        self.after.nodes(&mut nodes);
        nodes.push(self.ends.sink_node());
        Description::new(nodes)
    }
}

/// The batches of a graph in order; made by [`BatchGraph::run`]. What holds for [`Run`](crate::Run) holds
/// here.
pub struct BatchRun<C: Sourced, D: Chain<Batch<C::Out>>> {
    prefetch: Prefetch<C>,
    lists: Pool<Vec<C::Out>>,
    size: usize,
    after: D,
    scratch: D::Scratch,
    /// Behind the last batch that was handed out.
    done: u64,
}

impl<C, D> BatchGraph<C, D>
where
    C: Parallel,
    D: Chain<Batch<C::Out>>,
{
    /// Runs the graph over a range of positions, which count items; see [`Graph::run`].
    pub fn run(self, range: impl RangeBounds<u64>) -> BatchRun<C, D> {
        let window = self.ends.window_or(self.size);
        let mut all = nodes::<u64, C>(&self.items);
        self.after.nodes(&mut all);
        all.push(self.ends.sink_node());
        let counters = Counters::new(&all, window.get());
        let size = self.size.get();
        let mut range = positions(range, self.items.len());
        if self.exact {
            // The remainder is not even worked on.
            range.end -= (range.end - range.start) % size as u64;
        }
        let done = range.start;
        let prefetch = Prefetch::new(self.items, range, window, counters);
        let mut probe = Probe::new(C::STAGES, prefetch.counters());
        let scratch = self.after.scratch(&mut probe);
        drop(probe);
        BatchRun {
            prefetch,
            lists: Pool::new(move || Vec::with_capacity(size)),
            size,
            after: self.after,
            scratch,
            done,
        }
    }
}

impl<C: Sourced, D: Chain<Batch<C::Out>>> BatchRun<C, D> {
    /// The position behind the last batch that was handed out: the one to resume from.
    pub fn position(&self) -> u64 {
        self.done
    }

    /// The run's counters, which can be read from any thread while it goes on.
    pub fn counters(&self) -> Counters {
        self.prefetch.counters().clone()
    }
}

impl<C, D> Iterator for BatchRun<C, D>
where
    C: Parallel,
    D: Chain<Batch<C::Out>>,
{
    type Item = Result<D::Out, FlowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self {
            prefetch,
            lists,
            size,
            after,
            scratch,
            done,
        } = self;
        prefetch.serve(|prefetch| {
            let start = prefetch.position();
            let mut batch = Batch {
                items: lists.take(),
                positions: start..start,
            };
            while batch.len() < *size {
                match prefetch.take() {
                    Some(Ok(item)) => {
                        batch.items.push(item);
                        batch.positions.end += 1;
                    }
                    Some(Err(error)) => return Some(Err(error)),
                    None => break,
                }
            }
            if batch.is_empty() {
                return None;
            }
            let end = batch.positions.end;
            let result = run_after(after, batch, scratch, C::STAGES, prefetch.counters());
            match result {
                Ok(_) => *done = end,
                Err(_) => prefetch.close(),
            }
            Some(result)
        })
    }
}

/// Takes a batch through the stages behind it; a failure is at the position of its first item.
fn run_after<T, D: Chain<Batch<T>>>(
    after: &D,
    batch: Batch<T>,
    scratch: &mut D::Scratch,
    first: usize,
    counters: &Counters,
) -> Result<D::Out, FlowError> {
    let position = batch.positions.start;
    let mut probe = Probe::new(first, counters);
    let source = match catch_unwind(AssertUnwindSafe(|| after.run(batch, scratch, &mut probe))) {
        Ok(Ok(out)) => return Ok(out),
        Ok(Err(source)) => source,
        Err(payload) => {
            probe.panicked();
            Box::new(Panicked(message(payload)))
        }
    };
    let stage = stage_name::<Batch<T>, D>(after, probe.last_stage());
    Err(FlowError {
        stage,
        position,
        label: None,
        source,
    })
}

impl<C: Sourced, D: Chain<Batch<C::Out>>> fmt::Debug for BatchRun<C, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchRun")
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}
