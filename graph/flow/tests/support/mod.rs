//! What several tests need.
#![allow(dead_code, reason = "every test uses its own part")]

use std::{num::NonZeroUsize, sync::mpsc, thread, time::Duration};

/// Numbers of threads to test with; 0 is a consumer outside the pool.
pub const THREADS: [usize; 4] = [0, 1, 2, 3];

pub fn n(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("a test's constant")
}

/// Runs `f` inside a pool of so many threads, or outside any pool; a hang is a failure.
pub fn on<T: Send + 'static>(threads: usize, f: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    let worker = thread::spawn(move || {
        let value = match threads {
            0 => f(),
            _ => rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
                .install(f),
        };
        done.send(value).unwrap();
    });
    match result.recv_timeout(Duration::from_secs(120)) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("hangs with {threads} threads"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(worker.join().expect_err("it ended without a value"))
        }
    }
}

/// Keeps deliberate panics out of the test's output.
pub fn hush() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info
                .payload_as_str()
                .is_some_and(|text| text.contains("deliberate"))
            {
                report(info);
            }
        }));
    });
}

/// Work whose length varies with the item, so that threads overtake each other.
pub fn dawdle(position: u64) {
    let rounds = position.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 50;
    for round in 0..rounds {
        std::hint::black_box(round);
    }
}
