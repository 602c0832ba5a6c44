//! Works on the items of a source on all threads, and hands on what comes of them in their order.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use rayon::prelude::*;

use crate::error::Result;

/// Items worked on between two calls of `take`, at most.
const BATCH: usize = 256;

/// A batch ends when what was made of its items has this many bytes; a thread that is at an item by then ends it. So what
/// is in memory at once, of two batches, is at most twice this and two items for each thread, besides the item that it
/// is at.
const BATCH_BYTES: u64 = 64 << 20;

/// Calls `work` for each item on all threads of the current rayon pool, and `take` for batches of results in
/// the order of the items, while the next batch is worked on. `take` has a thread of its own, since it waits for the
/// disk. `bytes` says how much memory a result takes: how much that is, the item's file does not tell.
///
/// # Errors
/// The first of `take`, or one of `work`.
pub(crate) fn in_order<T: Send>(
    items: Range<usize>,
    work: impl Fn(usize) -> Result<T> + Sync,
    bytes: impl Fn(&T) -> usize + Sync,
    mut take: impl FnMut(Vec<T>) -> Result<()> + Send,
) -> Result<()> {
    thread::scope(|scope| {
        // Without room: a batch waits here in the hands of the one who made it.
        let (sender, receiver) = mpsc::sync_channel::<Vec<T>>(0);
        let taker = scope.spawn(move || receiver.iter().try_for_each(&mut take));
        let made = (|| {
            let mut start = items.start;
            while start < items.end {
                let made = batch(start..items.end.min(start + BATCH), &work, &bytes)?;
                start += made.len();
                if sender.send(made).is_err() {
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

/// What is made of the first of these items, of as many as a batch has room for.
fn batch<T: Send>(
    items: Range<usize>,
    work: impl Fn(usize) -> Result<T> + Sync,
    bytes: impl Fn(&T) -> usize + Sync,
) -> Result<Vec<T>> {
    // Items are begun in their order, and none after the last of the batch: those that are made leave no gap.
    let (next, made) = (AtomicUsize::new(items.start), AtomicU64::new(0));
    let one = |_| {
        if made.load(Ordering::Relaxed) >= BATCH_BYTES {
            return None;
        }
        let index = next.fetch_add(1, Ordering::Relaxed);
        let result = work(index).inspect(|result| {
            made.fetch_add(bytes(result) as u64, Ordering::Relaxed);
        });
        Some(result.map(|result| (index, result)))
    };
    let results = items.into_par_iter().with_max_len(1).filter_map(one);
    let mut results = results.collect::<Result<Vec<_>>>()?;
    results.sort_unstable_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_when_enough_is_made_whatever_the_number_of_items() {
        let threads = 3;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.build().unwrap();
        for (bytes, least, most) in [
            (0, BATCH, BATCH),
            (BATCH_BYTES / 8, 8, 8 + threads - 1),
            (BATCH_BYTES * 2, 1, threads),
        ] {
            let mut batches = Vec::new();
            let work = |index: usize| {
                thread::sleep(std::time::Duration::from_micros(index as u64 % 7 * 20));
                Ok(index)
            };
            let take = |made| {
                batches.push(made);
                Ok(())
            };
            let items = 5..5 + 3 * BATCH;
            pool.install(|| in_order(items.clone(), work, |_| bytes as usize, take))
                .unwrap();
            let lengths: Vec<_> = batches.iter().map(Vec::len).collect();
            let (_, whole) = lengths.split_last().unwrap();
            assert!(
                whole.iter().all(|length| (least..=most).contains(length)),
                "{bytes} bytes: {lengths:?}"
            );
            assert_eq!(batches.concat(), items.collect::<Vec<_>>());
        }
    }
}
