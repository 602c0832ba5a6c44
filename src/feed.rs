//! What a training loop takes its batches from: a graph without end, with its counters.

use std::rc::Rc;
use std::time::{Duration, Instant};

use intertwine_flow::chain::{Chain, Parallel};
use intertwine_flow::describe::Description;
use intertwine_flow::{BatchGraph, Counters, FlowError, Stats};

/// The parts of a training's batches, in order and without end.
pub struct Feed<T> {
    next: Box<dyn FnMut() -> Option<Result<T, FlowError>>>,
    counters: Counters,
    graph: Description,
}

impl<T> Feed<T> {
    /// Runs a graph from the item at `position` on.
    pub(crate) fn new<C, D>(graph: BatchGraph<C, D>, position: u64) -> Self
    where
        C: Parallel,
        D: Chain<intertwine_flow::Batch<C::Out>, Out = T, Scratch: 'static> + 'static,
    {
        let description = graph.describe();
        let mut run = graph.run(position..);
        Self {
            counters: run.counters(),
            next: Box::new(move || run.next()),
            graph: description,
        }
    }

    /// The next part of a batch.
    ///
    /// # Errors
    /// The first record that cannot be read or augmented.
    pub fn next_part(&mut self) -> Result<T, FlowError> {
        (self.next)().expect("the positions of a run have no end")
    }

    /// What has been counted so far.
    pub fn stats(&self) -> Stats {
        self.counters.snapshot()
    }

    /// The graph, with what has been counted so far.
    pub fn describe(&self) -> Description {
        self.graph.clone().with(&self.stats())
    }

    /// Calls `step`, which takes `pictures` pictures from the feed each time, up to the limit, and says what
    /// the graph did meanwhile. The first call is not counted: it finds nothing prepared.
    ///
    /// # Errors
    /// What `step` runs into.
    pub fn watch<E>(
        &mut self,
        pictures: usize,
        limit: Limit,
        mut step: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<Watched, E> {
        step(self)?;
        let (before, start) = (self.stats(), Instant::now());
        let mut seen = 0;
        loop {
            step(self)?;
            seen += pictures as u64;
            let time = start.elapsed();
            if limit.is_reached(seen, time) {
                let stats = self.stats().since(&before);
                return Ok(Watched {
                    graph: self.graph.clone().with(&stats),
                    stats,
                    pictures: seen,
                    time,
                    alone: None,
                });
            }
        }
    }

    /// Watches a training: `step` takes a batch of `pictures` pictures in `parts` parts, from the feed and then, as
    /// often again, from memory.
    ///
    /// # Errors
    /// What `step` runs into.
    pub(crate) fn watch_training<E: From<FlowError>>(
        mut self,
        (pictures, parts): (usize, usize),
        limit: Limit,
        mut step: impl FnMut(&mut Part<'_, T>) -> Result<(), E>,
    ) -> Result<Watched, E> {
        let mut watched = self.watch(pictures, limit, |feed| {
            step(&mut || feed.next_part().map(Rc::new))
        })?;
        let held = (0..parts).map(|_| self.next_part().map(Rc::new));
        let held = held.collect::<Result<Vec<_>, _>>()?;
        drop(self);
        watched.try_alone(pictures, || {
            let mut parts = held.iter();
            step(&mut || Ok(parts.next().expect("a step takes these parts").clone()))
        })?;
        Ok(watched)
    }
}

/// Gives the next part of a batch.
pub(crate) type Part<'a, T> = dyn FnMut() -> Result<Rc<T>, FlowError> + 'a;

/// How long to watch a feed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Until so many pictures were used.
    Pictures(u64),
    /// For so long.
    Time(Duration),
}

impl Limit {
    /// Whether to stop after so many pictures in such a time.
    pub fn is_reached(self, pictures: u64, time: Duration) -> bool {
        match self {
            Self::Pictures(limit) => pictures >= limit,
            Self::Time(limit) => time >= limit,
        }
    }
}

/// What a graph did while it was watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The graph with its numbers.
    pub graph: Description,
    /// The numbers.
    pub stats: Stats,
    /// Pictures used.
    pub pictures: u64,
    /// How long it was watched.
    pub time: Duration,
    /// Pictures a second when they lie in memory, where that was tried.
    pub alone: Option<f64>,
}

impl Watched {
    /// Calls `step`, which takes `pictures` pictures from memory, as often as there were steps before, and
    /// keeps the rate: what remains when nothing has to be read.
    fn try_alone<E>(
        &mut self,
        pictures: usize,
        mut step: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let steps = (self.pictures / pictures as u64).max(1);
        let start = Instant::now();
        (0..steps).try_for_each(|_| step())?;
        let pictures = (steps * pictures as u64) as f64;
        self.alone = Some(pictures / start.elapsed().as_secs_f64().max(1e-9));
        Ok(())
    }

    /// Pictures a second.
    pub fn rate(&self) -> f64 {
        self.pictures as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use intertwine_flow::{source, Source};

    use super::*;

    fn feed(position: u64) -> Feed<Vec<u64>> {
        let graph = source("Numbers", None, Ok::<u64, FlowError>)
            .graph()
            .batch_exact(NonZeroUsize::new(4).unwrap())
            .then(intertwine_flow::stage(
                "List",
                |items: intertwine_flow::Batch<u64>| items.to_vec(),
            ))
            .sink("Step");
        Feed::new(graph, position)
    }

    #[test]
    fn a_feed_starts_where_it_is_told() {
        let mut feed = feed(8);
        assert_eq!(feed.next_part().unwrap(), [8, 9, 10, 11]);
        assert!(feed.describe().mermaid().contains("Step"));
    }

    #[test]
    fn the_first_step_is_not_counted_and_the_limit_ends_it() {
        let mut steps = 0;
        let watched = feed(0)
            .watch(4, Limit::Pictures(10), |feed| {
                steps += 1;
                feed.next_part().map(drop)
            })
            .unwrap();
        assert_eq!(
            (steps, watched.pictures, watched.stats.consumed),
            (4, 12, 3)
        );
        let timed = feed(0).watch(4, Limit::Time(Duration::ZERO), |feed| {
            feed.next_part().map(drop)
        });
        assert_eq!(timed.unwrap().pictures, 4, "one step is always watched");
        let failed = feed(0).watch(4, Limit::Pictures(10), |_| Err::<(), _>("full"));
        assert_eq!(failed.unwrap_err(), "full");
    }
}
