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

    /// Time since the last lap.
    pub(crate) fn lap(&mut self) -> Lap {
        let now = Self::start();
        let items = now.worked.saturating_sub(self.worked);
        let own = now.mark.duration_since(self.mark).saturating_sub(items);
        *self = now;
        Lap { own, items }
    }
}

/// A stretch of a thread's time; its two parts make the whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lap {
    /// Not spent on items that ended meanwhile.
    pub own: Duration,
    /// Spent on them.
    pub items: Duration,
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
        self.time.lap().own
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
    sink: &'static str,
    threads: usize,
    consumed: AtomicU64,
    consumer_busy: AtomicU64,
    lent: AtomicU64,
    waiting: AtomicU64,
    helping: AtomicU64,
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
        let sink = nodes.iter().find(|node| node.kind == Kind::Sink);
        let is_stage = |node: &&Node| matches!(node.kind, Kind::Source | Kind::Stage);
        Self(Arc::new(Inner {
            stages: nodes.iter().filter(is_stage).map(meter).collect(),
            sink: sink.map_or("", |node| node.name),
            threads: match window {
                0 => 1,
                _ => rayon::current_num_threads(),
            },
            consumed: AtomicU64::new(0),
            consumer_busy: AtomicU64::new(0),
            lent: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            helping: AtomicU64::new(0),
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

    /// Time of the consumer's thread outside `next`.
    pub(crate) fn add_outside(&self, lap: Lap) {
        self.0
            .consumer_busy
            .fetch_add(nanoseconds(lap.own), Relaxed);
        self.0.lent.fetch_add(nanoseconds(lap.items), Relaxed);
    }

    /// Time of the consumer's thread in `next`.
    pub(crate) fn add_inside(&self, lap: Lap) {
        self.0.waiting.fetch_add(nanoseconds(lap.own), Relaxed);
        self.0.helping.fetch_add(nanoseconds(lap.items), Relaxed);
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
        let time = |counter: &AtomicU64| Duration::from_nanos(counter.load(Relaxed));
        let stage = |meter: &Meter| StageStats {
            name: meter.name,
            items: meter.items.load(Relaxed),
            busy: time(&meter.busy),
        };
        Stats {
            stages: inner.stages.iter().map(stage).collect(),
            sink: inner.sink,
            threads: inner.threads,
            consumed: inner.consumed.load(Relaxed),
            consumer_busy: time(&inner.consumer_busy),
            lent: time(&inner.lent),
            waiting: time(&inner.waiting),
            helping: time(&inner.helping),
            full: time(&inner.full),
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
/// Every moment of the consumer's thread is in exactly one of `consumer_busy`, `lent`, `waiting` and
/// `helping`, which make up [`wall`](Self::wall). Every moment of work on items, on whatever thread, is in
/// exactly one stage. What the consumer's thread works on items is in both: it is `lent` and `helping`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The source and the stages, in the order of the graph.
    pub stages: Vec<StageStats>,
    /// Name of the consumer.
    pub sink: &'static str,
    /// Threads of the pool.
    pub threads: usize,
    /// Items (batches, when there is a batch) given to the consumer.
    pub consumed: u64,
    /// Time the consumer worked: outside `next`, less `lent`.
    pub consumer_busy: Duration,
    /// Time outside `next` that went into items, which the consumer's thread took up where its own parallel
    /// sections had nothing for it to do.
    pub lent: Duration,
    /// Time in `next` with nothing to help with. Large: the data is the bottleneck.
    pub waiting: Duration,
    /// Time in `next` that went into items and, behind a batch, into its stages.
    pub helping: Duration,
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
    /// Time worked in all stages, summed over the threads.
    pub fn busy(&self) -> Duration {
        self.stages.iter().map(|stage| stage.busy).sum()
    }

    /// Time of the consumer's thread, from the start of the run to the last call of `next`, or to its end.
    pub fn wall(&self) -> Duration {
        self.consumer_busy + self.lent + self.wait()
    }

    /// Time in which the consumer could not go on for want of data: all of `next`, whether it waited there
    /// or worked on the data itself.
    pub fn wait(&self) -> Duration {
        self.waiting + self.helping
    }

    /// [`wait`](Self::wait) as a share of [`wall`](Self::wall), 0 to 1.
    pub fn wait_share(&self) -> f64 {
        share(self.wait(), self.wall())
    }

    /// The share of what all threads could have worked that went into the stages, 0 to 1.
    pub fn data_share(&self) -> f64 {
        share(self.busy(), self.wall() * self.threads as u32)
    }

    /// What was done since an earlier snapshot of the same run.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let stages = self.stages.iter().zip(&earlier.stages);
        Self {
            stages: stages
                .map(|(now, then)| StageStats {
                    name: now.name,
                    items: now.items.saturating_sub(then.items),
                    busy: now.busy.saturating_sub(then.busy),
                })
                .collect(),
            consumed: self.consumed.saturating_sub(earlier.consumed),
            consumer_busy: self.consumer_busy.saturating_sub(earlier.consumer_busy),
            lent: self.lent.saturating_sub(earlier.lent),
            waiting: self.waiting.saturating_sub(earlier.waiting),
            helping: self.helping.saturating_sub(earlier.helping),
            full: self.full.saturating_sub(earlier.full),
            ..*self
        }
    }
}

/// `part / whole`, 0 of nothing.
pub(crate) fn share(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() {
        0.0
    } else {
        part.as_secs_f64() / whole.as_secs_f64()
    }
}

/// Milliseconds of each of `items`, 0 when there was none.
pub(crate) fn milliseconds_each(time: Duration, items: u64) -> f64 {
    time.as_secs_f64() * 1e3 / items.max(1) as f64
}
