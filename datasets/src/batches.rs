//! Works on the items of a source on all threads, and hands on what comes of them in their order.

use std::ops::Range;
use std::sync::mpsc;
use std::thread;

use rayon::prelude::*;

use crate::error::Result;
use crate::import::Stamp;

/// Items worked on between two calls of `take`, at most.
const BATCH: usize = 256;

/// A batch of several items ends when their files have this many bytes. What is made of two batches is in
/// memory at once, some ten times the bytes of JPEG files, besides a decoded picture for each thread.
const BATCH_BYTES: u64 = 16 << 20;

/// Calls `work` for each item on all threads of the current rayon pool, and `take` for batches of results in
/// the order of the items, while the next batch is worked on. `take` has a thread of its own, since it waits for the
/// disk. `stamp` looks at an item's file; that is done before the item is worked on, so that a file changed meanwhile
/// is noticed later.
///
/// # Errors
/// The first of `take`, or one of `work`.
pub(crate) fn in_order<T: Send>(
    items: Range<usize>,
    stamp: impl Fn(usize) -> Stamp + Sync,
    work: impl Fn(usize, Stamp) -> Result<T> + Sync,
    mut take: impl FnMut(Vec<T>) -> Result<()> + Send,
) -> Result<()> {
    thread::scope(|scope| {
        // Without room: a batch waits here in the hands of the one who made it.
        let (sender, receiver) = mpsc::sync_channel::<Vec<T>>(0);
        let taker = scope.spawn(move || receiver.iter().try_for_each(&mut take));
        let made = (|| {
            let mut start = items.start;
            while start < items.end {
                let stamps = batch(start..items.end.min(start + BATCH), &stamp);
                let first = start;
                start += stamps.len();
                let stamps = stamps.into_par_iter().enumerate().with_max_len(1);
                let made = stamps.map(|(i, stamp)| work(first + i, stamp));
                if sender.send(made.collect::<Result<_>>()?).is_err() {
                    // The taker has stopped; it says why.
                    break;
                }
            }
            Ok(())
        })();
        drop(sender);
        match taker.join() {
            Ok(taken) => taken.and(made),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The stamps of a batch from the first item on; enough of them to keep all threads busy, whatever their size.
fn batch(items: Range<usize>, stamp: impl Fn(usize) -> Stamp) -> Vec<Stamp> {
    let busy = 4 * rayon::current_num_threads();
    let (mut stamps, mut bytes) = (Vec::new(), 0);
    for index in items {
        let stamp = stamp(index);
        bytes += stamp.len;
        stamps.push(stamp);
        if stamps.len() >= busy && bytes >= BATCH_BYTES {
            break;
        }
    }
    stamps
}
