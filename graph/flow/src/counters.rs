//! Counters: how many items each stage had, how long it worked, and who waited for whom.

use std::{
    cell::Cell,
    sync::{
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        Arc,
    },
    time::{Duration, Instant},
};

use crate::describe::{Kind, Node};

thread_local! {
    /// Time this thread has spent on items, counted when an item ends. An item can run inside another
    /// one's time (a stage waits in `rayon::join` and its worker takes up the next item, or a training
    /// step does), and time must not be counted twice.
    static WORKED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A clock of this thread that stands still while the thread works on items.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnTime {
    mark: Instant,
    worked: Duration,
}

impl OwnTime {
    pub(crate) fn start() -> Self {
        Self {
            mark: Instant::now(),
            worked: WORKED.get(),
        }
    }

    /// Time since the last lap, less what went into items that ended meanwhile.
    pub(crate) fn lap(&mut self) -> Duration {
        let now = Self::start();
        let inside = now.worked.saturating_sub(self.worked);
        let own = now.mark.duration_since(self.mark).saturating_sub(inside);
        *self = now;
        own
    }
}

/// Times the stages of one item, and on drop counts the whole item as worked time of this thread.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    began: OwnTime,
    time: OwnTime,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        let now = OwnTime::start();
        Self {
            began: now,
            time: now,
        }
    }

    pub(crate) fn lap(&mut self) -> Duration {
        self.time.lap()
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        // The last lap's end, so that what is counted here is exactly the sum of the laps.
        WORKED.set(self.began.worked + self.time.mark.duration_since(self.began.mark));
    }
}

#[derive(Debug)]
struct Meter {
    name: &'static str,
    items: AtomicU64,
    busy: AtomicU64,
}

/// Counters of a graph that runs; cheap to clone, to be read from any thread at any time.
#[derive(Clone, Debug)]
pub struct Counters(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stages: Box<[Meter]>,
    consumed: AtomicU64,
    consumer_busy: AtomicU64,
    waiting: AtomicU64,
    full: AtomicU64,
    ready: AtomicUsize,
    running: AtomicUsize,
    window: usize,
}

impl Counters {
    /// Counters for a graph of these nodes; `window` 0 when there is no queue.
    pub(crate) fn new(nodes: &[Node], window: usize) -> Self {
        let meter = |node: &Node| Meter {
            name: node.name,
            items: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        };
        let is_stage = |node: &&Node| matches!(node.kind, Kind::Source | Kind::Stage);
        Self(Arc::new(Inner {
            stages: nodes.iter().filter(is_stage).map(meter).collect(),
            consumed: AtomicU64::new(0),
            consumer_busy: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            full: AtomicU64::new(0),
            ready: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            window,
        }))
    }

    pub(crate) fn add_stage(&self, stage: usize, items: u64, busy: Duration) {
        let meter = &self.0.stages[stage];
        meter.items.fetch_add(items, Relaxed);
        meter.busy.fetch_add(nanoseconds(busy), Relaxed);
    }

    pub(crate) fn add_consumed(&self) {
        self.0.consumed.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_consumer_busy(&self, time: Duration) {
        self.0.consumer_busy.fetch_add(nanoseconds(time), Relaxed);
    }

    pub(crate) fn add_waiting(&self, time: Duration) {
        self.0.waiting.fetch_add(nanoseconds(time), Relaxed);
    }

    pub(crate) fn add_full(&self, time: Duration) {
        self.0.full.fetch_add(nanoseconds(time), Relaxed);
    }

    pub(crate) fn set_queue(&self, ready: usize, running: usize) {
        self.0.ready.store(ready, Relaxed);
        self.0.running.store(running, Relaxed);
    }

    /// What has been counted so far.
    pub fn snapshot(&self) -> Stats {
        let inner = &*self.0;
        let stage = |meter: &Meter| StageStats {
            name: meter.name,
            items: meter.items.load(Relaxed),
            busy: Duration::from_nanos(meter.busy.load(Relaxed)),
        };
        Stats {
            stages: inner.stages.iter().map(stage).collect(),
            consumed: inner.consumed.load(Relaxed),
            consumer_busy: Duration::from_nanos(inner.consumer_busy.load(Relaxed)),
            waiting: Duration::from_nanos(inner.waiting.load(Relaxed)),
            full: Duration::from_nanos(inner.full.load(Relaxed)),
            ready: inner.ready.load(Relaxed),
            running: inner.running.load(Relaxed),
            window: inner.window,
        }
    }
}

/// 64 bits of nanoseconds last 584 years.
fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos() as u64
}

/// What one stage has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageStats {
    /// The stage's name.
    pub name: &'static str,
    /// Items it worked on, failed ones included.
    pub items: u64,
    /// Time worked in it, summed over the workers.
    pub busy: Duration,
}

/// What a graph has done: a snapshot of its [`Counters`].
///
/// Every moment of work is in exactly one number. Over a run, the consumer's thread spends its time in
/// `consumer_busy`, in `waiting`, or in stages (when it helps); the other workers spend theirs in stages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The source and the stages, in the order of the graph.
    pub stages: Vec<StageStats>,
    /// Items (batches, when there is a batch) given to the consumer.
    pub consumed: u64,
    /// Time the consumer worked: outside `next`, less items that its thread took up meanwhile.
    pub consumer_busy: Duration,
    /// Time the consumer waited in `next` with nothing to help with. Large: the data is the bottleneck.
    pub waiting: Duration,
    /// Time during which the window was full of finished items, so that no worker could go on. Large: the
    /// consumer is the bottleneck.
    pub full: Duration,
    /// Finished items that wait for the consumer now.
    pub ready: usize,
    /// Items being worked on now.
    pub running: usize,
    /// Most items that may be ready or running.
    pub window: usize,
}

impl Stats {
    /// Time worked in all stages.
    pub fn busy(&self) -> Duration {
        self.stages.iter().map(|stage| stage.busy).sum()
    }
}
