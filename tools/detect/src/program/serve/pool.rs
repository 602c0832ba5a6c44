//! Threads that work through a bounded queue, each with a state of its own.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Something to be done.
pub trait Job: Send + 'static {
    /// Whether anybody still waits for it. What nobody waits for is dropped.
    fn wanted(&self) -> bool;
}

/// Jobs that wait. A full queue takes no more; it never makes the caller wait.
struct Queue<J> {
    capacity: usize,
    inner: Mutex<Inner<J>>,
    changed: Condvar,
}

struct Inner<J> {
    waiting: VecDeque<J>,
    closed: bool,
}

impl<J: Job> Queue<J> {
    fn lock(&self) -> MutexGuard<'_, Inner<J>> {
        // No code that panics runs under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job that is wanted; none once the queue is closed and empty.
    fn take(&self) -> Option<J> {
        let mut inner = self.lock();
        loop {
            while let Some(job) = inner.waiting.pop_front() {
                if job.wanted() {
                    return Some(job);
                }
            }
            if inner.closed {
                return None;
            }
            inner = self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether there is no room, after those that nobody waits for have gone.
    fn is_full(&self, inner: &mut Inner<J>) -> bool {
        if inner.waiting.len() >= self.capacity {
            inner.waiting.retain(J::wanted);
        }
        inner.closed || inner.waiting.len() >= self.capacity
    }
}

/// The threads and their queue.
pub struct Pool<J: Job> {
    queue: Arc<Queue<J>>,
    threads: Vec<JoinHandle<()>>,
}

impl<J: Job> Pool<J> {
    /// Starts so many threads, before which so many jobs may wait. Each thread does one job after the other
    /// with `work`. A job that panics is lost; its thread goes on with a new state.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start<S: Default>(
        threads: NonZeroUsize,
        capacity: NonZeroUsize,
        work: impl Fn(&mut S, J) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let mut pool = Self {
            queue: Arc::new(Queue {
                capacity: capacity.get(),
                inner: Mutex::new(Inner {
                    waiting: VecDeque::new(),
                    closed: false,
                }),
                changed: Condvar::new(),
            }),
            threads: Vec::new(),
        };
        let work = Arc::new(work);
        for index in 0..threads.get() {
            let (queue, work) = (pool.queue.clone(), work.clone());
            let thread = thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || run(&queue, &*work))?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Puts a job into the queue.
    ///
    /// # Errors
    /// The queue is full; the job comes back.
    pub fn push(&self, job: J) -> Result<(), J> {
        let mut inner = self.queue.lock();
        if self.queue.is_full(&mut inner) {
            return Err(job);
        }
        inner.waiting.push_back(job);
        self.queue.changed.notify_one();
        Ok(())
    }

    /// Whether a job would be refused now.
    pub fn is_full(&self) -> bool {
        self.queue.is_full(&mut self.queue.lock())
    }

    /// Jobs that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.queue.lock().waiting.len()
    }

    /// Threads.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Most jobs that may wait.
    pub fn capacity(&self) -> usize {
        self.queue.capacity
    }
}

impl<J: Job> Drop for Pool<J> {
    /// Waits until everything in the queue is done.
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
        for thread in self.threads.drain(..) {
            // Panics of jobs are caught; one outside of them has been printed.
            let _ = thread.join();
        }
    }
}

fn run<S: Default, J: Job>(queue: &Queue<J>, work: &impl Fn(&mut S, J)) {
    // What a job computes in parallel stays on this thread: the others have jobs of their own.
    let _alone = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build()
        .expect("a new thread belongs to no pool yet");
    let mut state = S::default();
    while let Some(job) = queue.take() {
        let done = catch_unwind(AssertUnwindSafe(|| work(&mut state, job)));
        if done.is_err() {
            // What the panic left half-changed is not used again.
            state = S::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, Receiver, Sender};

    use super::*;

    /// Says its number and waits for a word, or panics.
    enum Work {
        Say(Sender<usize>),
        Hold(Sender<usize>, Receiver<()>),
        Panic,
        Unwanted(Sender<usize>),
    }

    impl Job for Work {
        fn wanted(&self) -> bool {
            !matches!(self, Work::Unwanted(_))
        }
    }

    fn pool(threads: usize, capacity: usize) -> Pool<Work> {
        let count = |n| NonZeroUsize::new(n).unwrap();
        Pool::start(
            count(threads),
            count(capacity),
            |done: &mut usize, work: Work| {
                *done += 1;
                match work {
                    Work::Say(to) | Work::Unwanted(to) => to.send(*done).unwrap(),
                    Work::Hold(to, go) => {
                        to.send(*done).unwrap();
                        go.recv().unwrap();
                    }
                    Work::Panic => panic!("a job of the tests"),
                }
            },
        )
        .unwrap()
    }

    #[test]
    fn a_panic_costs_one_job_and_the_state() {
        let pool = pool(1, 9);
        let (say, said) = channel();
        for work in [
            Work::Say(say.clone()),
            Work::Say(say.clone()),
            Work::Panic,
            Work::Say(say),
        ] {
            assert!(pool.push(work).is_ok());
        }
        assert_eq!(said.iter().collect::<Vec<_>>(), [1, 2, 1]);
    }

    #[test]
    fn a_full_queue_refuses_and_forgets_whom_nobody_waits_for() {
        let pool = pool(1, 2);
        let (say, said) = channel();
        let (go, gone) = channel();
        assert!(pool.push(Work::Hold(say.clone(), gone)).is_ok());
        assert_eq!(said.recv(), Ok(1));
        assert!(pool.push(Work::Unwanted(say.clone())).is_ok());
        assert!(pool.push(Work::Say(say.clone())).is_ok());
        assert_eq!(pool.waiting(), 2);
        // The unwanted one makes room, the other stays.
        assert!(pool.push(Work::Say(say.clone())).is_ok());
        assert!(pool.is_full());
        assert!(pool.push(Work::Say(say)).is_err());
        go.send(()).unwrap();
        assert_eq!(said.iter().collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_job_computes_on_its_own_thread() {
        struct Count(Sender<usize>);
        impl Job for Count {
            fn wanted(&self) -> bool {
                true
            }
        }
        let two = NonZeroUsize::new(2).unwrap();
        let pool = Pool::start(two, two, |_: &mut (), Count(to)| {
            to.send(rayon::current_num_threads()).unwrap();
        });
        let (say, said) = channel();
        assert!(pool.unwrap().push(Count(say)).is_ok());
        assert_eq!(said.recv(), Ok(1));
    }

    #[test]
    fn the_end_waits_for_what_was_taken() {
        let pool = pool(2, 50);
        let (say, said) = channel();
        for _ in 0..50 {
            assert!(pool.push(Work::Say(say.clone())).is_ok());
        }
        drop((pool, say));
        assert_eq!(said.iter().count(), 50);
    }
}
