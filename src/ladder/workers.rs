//! Several runs at a time.
//!
//! Two runs of one thread each get further than one after the other of two threads: small steps have parts that one thread
//! does, and places where threads wait for each other.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::run::Interrupt;

/// Pools that take the next piece of work as soon as they are done with one.
pub(super) struct Workers<'a> {
    pools: Vec<ThreadPool>,
    interrupt: &'a Interrupt,
}

impl<'a> Workers<'a> {
    /// `number` pools that share the threads of this one, each of at least one.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub fn new(number: NonZeroUsize, interrupt: &'a Interrupt) -> anyhow::Result<Self> {
        let (all, number) = (rayon::current_num_threads(), number.get());
        let pools = (0..number).map(|i| {
            // The first ones take what does not divide.
            let threads = (all / number + usize::from(i < all % number)).max(1);
            ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(move |t| format!("run {i} worker {t}"))
                .build()
        });
        Ok(Self {
            pools: pools
                .collect::<Result<_, _>>()
                .context("cannot start threads")?,
            interrupt,
        })
    }

    /// Does every piece of `work`, in its order as far as that can be, and gives what came of each; `None` if one was
    /// asked to stop.
    ///
    /// # Errors
    /// That of the first piece that failed; the others are asked to stop, and have done so.
    pub fn each<T: Sync, R: Send>(
        &self,
        work: &[T],
        run: impl Fn(&T) -> anyhow::Result<Option<R>> + Sync,
    ) -> anyhow::Result<Option<Vec<R>>> {
        let next = AtomicUsize::new(0);
        let worker = || -> anyhow::Result<Vec<(usize, Option<R>)>> {
            let _others = StopOthers(self.interrupt);
            let mut done = Vec::new();
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let Some(piece) = work.get(i).filter(|_| !self.interrupt.requested()) else {
                    return Ok(done);
                };
                let result = run(piece).inspect_err(|_| self.interrupt.request())?;
                done.push((i, result));
            }
        };
        let ended: Vec<_> = thread::scope(|scope| {
            let spawned: Vec<_> = self
                .pools
                .iter()
                .map(|pool| scope.spawn(|| pool.install(worker)))
                .collect();
            let joined = spawned.into_iter().map(|thread| thread.join());
            joined
                .map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let mut results = Vec::new();
        for done in ended {
            results.extend(done?);
        }
        results.sort_by_key(|(i, _)| *i);
        // One that was never begun is missing.
        let all = results.len() == work.len();
        let results: Option<Vec<R>> = results.into_iter().map(|(_, result)| result).collect();
        Ok(results.filter(|_| all))
    }
}

/// Asks the other workers to stop if this one panics: its panic is seen only once they have ended.
struct StopOthers<'a>(&'a Interrupt);

impl Drop for StopOthers<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.request();
        }
    }
}
