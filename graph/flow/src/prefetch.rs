//! The prefetcher: items of a graph worked on ahead of the consumer, on the rayon pool, given in order.
//!
//! There is no thread of its own. Every open place in the window has one *ticket*, a job spawned on the
//! pool the consumer runs in. A ticket claims the lowest position that nobody has claimed, takes that item
//! through the whole chain, files the result and ends; so it never waits, and whichever ticket the pool
//! happens to run first, the item needed first is worked on first. The consumer takes results in order of
//! position. When the next one is not there it claims an item itself, and when all are claimed it runs
//! other work of the pool or sleeps until one is filed: on a pool of one thread it does everything.
//!
//! Why this cannot hang: only consumers wait, and only for items that are claimed. A claimed item runs on
//! another thread (a prefetcher stays on the thread that made it, so whatever this thread took up above the
//! consumer has returned), and a panic is filed like a result. A stage that forks may lend its thread to
//! another job, even to another consumer, and its item is suspended meanwhile; but that job began after
//! the item, which was claimed after its own consumer began. So waits go from older to younger consumers
//! only, never in a circle, and the youngest goes on.

use std::{
    any::Any,
    collections::VecDeque,
    marker::PhantomData,
    num::NonZeroUsize,
    ops::{Bound, Range, RangeBounds},
    panic::{catch_unwind, AssertUnwindSafe},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use crate::{
    chain::{Parallel, Sourced},
    counters::{Counters, OwnTime},
    inline::stage_name,
    probe::Probe,
    FlowError, Panicked,
};

/// How long a consumer inside the pool sleeps before it looks for other work of the pool again. A filed
/// item wakes it at once; this is only for jobs that appear while it sleeps.
const PATIENCE: Duration = Duration::from_micros(500);

/// The consumer's end.
pub(crate) struct Prefetch<C: Sourced> {
    shared: Arc<Shared<C>>,
    /// What the consumer's own time goes into.
    clock: OwnTime,
    in_pool: bool,
    /// Ties the prefetcher to its thread; see above why this cannot hang.
    _not_send: PhantomData<*const ()>,
}

struct Shared<C: Sourced> {
    chain: C,
    counters: Counters,
    /// Most items claimed and not yet taken.
    window: u64,
    state: Mutex<State<C>>,
    /// Signalled when an item is filed while the consumer sleeps.
    filed: Condvar,
}

struct State<C: Sourced> {
    /// The position the consumer takes next.
    next: u64,
    /// The lowest position nobody has claimed.
    claimed: u64,
    /// One past the last position; moves down behind an error.
    end: u64,
    /// Results of the claimed positions, from `next` on; `None` while being worked on.
    results: VecDeque<Option<Result<C::Out, FlowError>>>,
    /// How many of `results` are there.
    ready: usize,
    /// How many items are being worked on.
    running: usize,
    /// Tickets spawned that have not started.
    tickets: u64,
    /// Scratch of workers that are not at work.
    scratch: Vec<C::Scratch>,
    /// Since when the window has been full of results.
    full_since: Option<Instant>,
    consumer_sleeps: bool,
    /// The consumer is gone.
    closed: bool,
}

/// An item claimed by a worker.
struct Claim<S> {
    position: u64,
    scratch: Option<S>,
}

impl<C: Parallel> Prefetch<C> {
    /// Starts to work on the positions in `range`.
    pub fn new(chain: C, range: Range<u64>, window: NonZeroUsize, counters: Counters) -> Self {
        let state = State {
            next: range.start,
            claimed: range.start,
            end: range.end,
            results: VecDeque::new(),
            ready: 0,
            running: 0,
            tickets: 0,
            scratch: Vec::new(),
            full_since: None,
            consumer_sleeps: false,
            closed: false,
        };
        let shared = Arc::new(Shared {
            chain,
            counters,
            window: window.get() as u64,
            state: Mutex::new(state),
            filed: Condvar::new(),
        });
        let prefetch = Self {
            in_pool: rayon::current_thread_index().is_some(),
            shared,
            clock: OwnTime::start(),
            _not_send: PhantomData,
        };
        prefetch.spawn_tickets(prefetch.shared.lock());
        prefetch
    }

    /// The next item in order; `None` after the last one or after an error.
    pub fn take(&mut self) -> Option<Result<C::Out, FlowError>> {
        let mut state = self.shared.lock();
        loop {
            if state.next >= state.end {
                return None;
            }
            if let Some(Some(_)) = state.results.front() {
                let result = state.results.pop_front().flatten();
                state.next += 1;
                state.ready -= 1;
                if let Some(since) = state.full_since.take() {
                    self.shared.counters.add_full(since.elapsed());
                }
                self.shared.counters.set_queue(state.ready, state.running);
                self.spawn_tickets(state);
                return result;
            }
            let claim = if self.may_help(&state) {
                self.shared.claim(&mut state)
            } else {
                None
            };
            state = match claim {
                Some(claim) => {
                    drop(state);
                    self.shared.work(claim);
                    self.shared.lock()
                }
                None => self.sleep_until(state, |state| {
                    state.results.front().is_some_and(Option::is_some) || self.may_help(state)
                }),
            };
        }
    }

    /// Inside the pool the consumer is one of its threads and helps. Outside it would be one thread too
    /// many, so it helps only if the pool is at none of our items.
    fn may_help(&self, state: &State<C>) -> bool {
        self.shared.is_claimable(state) && (self.in_pool || state.running == 0)
    }

    /// Spawns tickets so that there is one for every claimable item.
    fn spawn_tickets(&self, mut state: MutexGuard<'_, State<C>>) {
        let room = self.shared.window - (state.claimed - state.next);
        let open = room.min(state.end.saturating_sub(state.claimed));
        let new = open.saturating_sub(state.tickets);
        state.tickets += new;
        drop(state);
        for _ in 0..new {
            // Weak, so that tickets left in a queue do not keep the graph alive.
            let shared = Arc::downgrade(&self.shared);
            rayon::spawn(move || ticket(&shared));
        }
    }
}

impl<C: Sourced> Prefetch<C> {
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// The position that is taken next.
    pub fn position(&self) -> u64 {
        self.shared.lock().next
    }

    /// Ends the run: nothing more is claimed or taken.
    pub fn close(&mut self) {
        let mut state = self.shared.lock();
        state.end = state.next;
    }

    /// Calls `take` on the consumer's behalf and counts its thread's time before and in the call.
    pub fn serve<T>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Option<Result<T, FlowError>>,
    ) -> Option<Result<T, FlowError>> {
        self.shared.counters.add_outside(self.clock.lap());
        let result = take(self);
        let counters = &self.shared.counters;
        counters.add_inside(self.clock.lap());
        if let Some(Ok(_)) = result {
            counters.add_consumed();
        }
        result
    }

    /// Waits, with other work of the pool if there is any.
    fn sleep_until<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<C>>,
        awake: impl Fn(&State<C>) -> bool,
    ) -> MutexGuard<'a, State<C>> {
        while !awake(&state) {
            drop(state);
            let work = rayon::yield_now();
            state = self.shared.lock();
            if work == Some(rayon::Yield::Executed) || awake(&state) {
                continue;
            }
            state.consumer_sleeps = true;
            state = match work {
                Some(_) => {
                    self.shared
                        .filed
                        .wait_timeout(state, PATIENCE)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .shared
                    .filed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
            state.consumer_sleeps = false;
        }
        state
    }
}

/// Dropping the consumer's end stops the run: when `drop` returns, no stage is running any more.
impl<C: Sourced> Drop for Prefetch<C> {
    fn drop(&mut self) {
        self.shared.counters.add_outside(self.clock.lap());
        let mut state = self.shared.lock();
        state.closed = true;
        let results = std::mem::take(&mut state.results);
        state.ready = 0;
        drop(self.sleep_until(state, |state| state.running == 0));
        self.shared.counters.set_queue(0, 0);
        drop(results);
    }
}

impl<C: Sourced> Shared<C> {
    fn lock(&self) -> MutexGuard<'_, State<C>> {
        // No code of a stage runs under the lock, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_claimable(&self, state: &State<C>) -> bool {
        !state.closed && state.claimed < state.end && state.claimed - state.next < self.window
    }

    fn claim(&self, state: &mut State<C>) -> Option<Claim<C::Scratch>> {
        if !self.is_claimable(state) {
            return None;
        }
        let position = state.claimed;
        state.claimed += 1;
        state.results.push_back(None);
        state.running += 1;
        self.counters.set_queue(state.ready, state.running);
        Some(Claim {
            position,
            scratch: state.scratch.pop(),
        })
    }

    /// Takes a claimed item through the chain and files the result.
    fn work(
        &self,
        Claim {
            position,
            mut scratch,
        }: Claim<C::Scratch>,
    ) {
        let mut probe = Probe::new(0, &self.counters);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let scratch = scratch.get_or_insert_with(|| self.chain.scratch(&mut probe));
            self.chain.run(position, scratch, &mut probe)
        }));
        let result = match outcome {
            Ok(Ok(item)) => Ok(item),
            Ok(Err(source)) => Err(self.failure(position, &probe, source)),
            Err(payload) => {
                probe.panicked();
                Err(self.failure(position, &probe, Box::new(Panicked(message(payload)))))
            }
        };
        // The item ends here: what follows is not the stages' time.
        drop(probe);

        let mut state = self.lock();
        state.running -= 1;
        // A panic may leave it half-written, but nothing is claimed after a failure.
        state.scratch.extend(scratch);
        let unwanted = if state.closed {
            Some(result)
        } else {
            if result.is_err() {
                state.end = state.end.min(position + 1);
            }
            let index = (position - state.next) as usize;
            state.results[index] = Some(result);
            state.ready += 1;
            if state.running == 0 && state.claimed - state.next == self.window {
                state.full_since = Some(Instant::now());
            }
            None
        };
        self.counters.set_queue(state.ready, state.running);
        if state.consumer_sleeps {
            self.filed.notify_one();
        }
        drop(state);
        quietly(|| drop(unwanted));
    }

    fn failure(&self, position: u64, probe: &Probe<'_>, source: crate::BoxError) -> FlowError {
        let label = catch_unwind(AssertUnwindSafe(|| self.chain.label(position))).unwrap_or(None);
        FlowError {
            stage: stage_name::<u64, C>(&self.chain, probe.last_stage()),
            position,
            label,
            source,
        }
    }
}

/// The positions of `range` that a source of `len` positions has.
pub(crate) fn positions(range: impl RangeBounds<u64>, len: Option<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&end) => end.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => u64::MAX,
    };
    start..end.min(len.unwrap_or(u64::MAX)).max(start)
}

/// A job on the pool: works on one item, if there still is one to work on.
fn ticket<C: Sourced>(shared: &Weak<Shared<C>>) {
    let Some(shared) = shared.upgrade() else {
        return;
    };
    let mut state = shared.lock();
    state.tickets -= 1;
    let claim = shared.claim(&mut state);
    drop(state);
    if let Some(claim) = claim {
        shared.work(claim);
    }
}

/// Runs a destructor of somebody else's type where its panic would abort the process.
fn quietly(f: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(f));
}

/// What a panic says.
pub(crate) fn message(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload
            .downcast_ref::<&str>()
            .map_or("a value that is not text", |text| text)
            .into(),
    }
}
