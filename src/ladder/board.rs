//! How far the runs of a ladder are, all together.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What happens, for a progress bar.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Training steps done in all runs, those found finished included.
    pub done: u64,
    /// Training steps of the whole ladder.
    pub steps: u64,
    /// What is being done.
    pub what: &'a str,
}

/// Adds up the steps of runs that may be at work at the same time.
pub(super) struct Board<'a>(Mutex<State<'a>>);

struct State<'a> {
    done: u64,
    steps: u64,
    tell: &'a mut (dyn FnMut(Progress<'_>) + Send),
}

/// A run on the board.
pub(super) struct Run<'b, 'a> {
    board: &'b Board<'a>,
    steps: u64,
    counted: u64,
}

impl<'a> Board<'a> {
    /// A board of so many steps that tells each of them.
    pub fn new(steps: u64, tell: &'a mut (dyn FnMut(Progress<'_>) + Send)) -> Self {
        Self(Mutex::new(State {
            done: 0,
            steps,
            tell,
        }))
    }

    /// A run of so many steps begins, or goes on.
    pub fn run(&self, steps: u64) -> Run<'_, 'a> {
        Run {
            board: self,
            steps,
            counted: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run<'_, '_> {
    /// So many steps of it are done.
    pub fn step(&mut self, step: u64, what: &str) {
        let state = &mut *self.board.lock();
        state.done += step - self.counted;
        self.counted = step;
        (state.tell)(Progress {
            done: state.done,
            steps: state.steps,
            what,
        });
    }

    /// It is at something that is no step.
    pub fn meanwhile(&mut self, what: &str) {
        self.step(self.counted, what);
    }

    /// All of it is done, now or before.
    pub fn finished(self) {
        self.board.lock().done += self.steps - self.counted;
    }
}
