//! What lies between the thread that reads frames and the one that looks at them: room for one frame.
//!
//! Reading has to go on while a frame is looked at, since a camera does not wait, so there are two threads; and one
//! frame of room is what bounds the age of a result: a frame waits at most for the one before it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What happens to a frame that comes while the one before it still waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It takes the other's place, which is dropped and counted: for what goes on whether we look or not.
    Newest,
    /// It waits for its turn, and its reader with it: for what is still there later.
    Every,
}

/// Room for one item, shared between threads.
pub struct Slot<T>(Arc<Shared<T>>);

struct Shared<T> {
    policy: Policy,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    item: Option<T>,
    dropped: u64,
    /// Nothing more comes.
    ended: bool,
    /// Nobody wants more.
    stopped: bool,
}

impl<T> Slot<T> {
    /// An empty one.
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(Shared {
            policy,
            state: Mutex::new(State {
                item: None,
                dropped: 0,
                ended: false,
                stopped: false,
            }),
            changed: Condvar::new(),
        }))
    }

    /// Puts an item in. False if nobody wants more.
    pub fn put(&self, item: T) -> bool {
        let mut state = self.state();
        while self.0.policy == Policy::Every && state.item.is_some() && !state.stopped {
            state = self.wait(state);
        }
        if state.stopped {
            return false;
        }
        let old = state.item.replace(item);
        state.dropped += u64::from(old.is_some());
        drop(state);
        self.0.changed.notify_all();
        true
    }

    /// Waits for the next item and takes it; none after the last, or once stopped.
    pub fn take(&self) -> Option<T> {
        let mut state = self.state();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(item) = state.item.take() {
                drop(state);
                self.0.changed.notify_all();
                return Some(item);
            }
            if state.ended {
                return None;
            }
            state = self.wait(state);
        }
    }

    /// Items that another one replaced.
    pub fn dropped(&self) -> u64 {
        self.state().dropped
    }

    /// Nothing more comes; what is in can still be taken.
    pub fn end(&self) {
        self.state().ended = true;
        self.0.changed.notify_all();
    }

    /// Nobody wants more, not even what is in.
    pub fn stop(&self) {
        self.state().stopped = true;
        self.0.changed.notify_all();
    }

    /// Whether [`stop`](Self::stop) was called.
    pub fn stopped(&self) -> bool {
        self.state().stopped
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Each change is one assignment: a poisoned state is still a state.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        let waited = self.0.changed.wait(state);
        waited.unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_wins_and_the_others_are_counted() {
        let slot = Slot::new(Policy::Newest);
        for item in 1..=3 {
            assert!(slot.put(item));
        }
        assert_eq!((slot.take(), slot.dropped()), (Some(3), 2));
        assert!(slot.put(4));
        assert_eq!((slot.take(), slot.dropped()), (Some(4), 2));
        // What is in when the source ends is still wanted.
        assert!(slot.put(5));
        slot.end();
        assert_eq!((slot.take(), slot.take()), (Some(5), None));
    }

    #[test]
    fn of_what_can_wait_nothing_is_dropped() {
        let slot = Slot::new(Policy::Every);
        let reader = std::thread::spawn({
            let slot = slot.clone();
            move || {
                assert!((0..1000).all(|item| slot.put(item)));
                slot.end();
            }
        });
        let taken: Vec<i32> = std::iter::from_fn(|| slot.take()).collect();
        reader.join().unwrap();
        assert!(taken.into_iter().eq(0..1000));
        assert_eq!(slot.dropped(), 0);
    }

    #[test]
    fn stopping_frees_both_sides() {
        let slot = Slot::new(Policy::Every);
        assert!(slot.put(1));
        let reader = std::thread::spawn({
            let slot = slot.clone();
            move || slot.put(2)
        });
        slot.stop();
        assert!(!reader.join().unwrap());
        assert_eq!(slot.take(), None);

        let slot = Slot::<i32>::new(Policy::Newest);
        let taker = std::thread::spawn({
            let slot = slot.clone();
            move || slot.take()
        });
        slot.stop();
        assert_eq!(taker.join().unwrap(), None);
    }
}
