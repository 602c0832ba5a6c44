//! How work is cut into pieces: by shape alone, so that the number of threads never changes a result.

use rayon::prelude::*;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::AddAssign;

/// Elements of one piece of a memory-bound loop: 64 KiB of `f32`, a few microseconds of work, large against
/// rayon's cost of handing a piece to another thread and small enough to balance.
pub(crate) const PIECE: usize = 16 * 1024;

/// Rows of width `d` in one piece of about `elements` elements, at least one.
pub(crate) fn rows_per_piece(d: usize, elements: usize) -> usize {
    (elements / d.max(1)).max(1)
}

thread_local! {
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`, in which the products and the [`fused`](crate::fused) layers called on this thread stay on it: for one
/// picture on one core, or one of many pictures that occupy the others.
pub fn alone<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _restore = Restore(ALONE.replace(true));
    f()
}

/// Runs tasks `0..count`, on several threads if `share` and this one has not been asked to be [`alone`].
pub(crate) fn for_each_task(count: usize, share: bool, task: impl Fn(usize) + Sync) {
    if share && count > 1 && !ALONE.get() {
        let tasks = (0..count).into_par_iter().with_max_len(1);
        tasks.for_each(&task);
    } else {
        (0..count).for_each(task);
    }
}

/// Calls `f(i, chunk)` for the chunks of `size` elements of a slice, neighbours of together at least `least` elements on
/// one thread; on this one alone if it has been asked to be [`alone`].
pub(crate) fn for_each_chunk<T: Send>(
    slice: &mut [T],
    size: usize,
    least: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    if ALONE.get() {
        for (i, chunk) in slice.chunks_mut(size).enumerate() {
            f(i, chunk);
        }
    } else {
        let chunks = slice.par_chunks_mut(size).enumerate();
        let chunks = chunks.with_min_len(least.div_ceil(size));
        chunks.for_each(|(i, chunk)| f(i, chunk));
    }
}

/// Whether this thread has been asked to be [`alone`].
pub(crate) fn is_alone() -> bool {
    ALONE.get()
}

/// Computes `pieces` partial sums of `width` columns, in parallel when there is more than one, and adds them to
/// `out` in the order of the pieces. `fill(piece, partial)` adds its part to a zeroed partial sum.
pub(crate) fn sum_pieces<T, F>(pieces: usize, width: usize, out: &mut [T], fill: F)
where
    T: Copy + Default + AddAssign + Send,
    F: Fn(usize, &mut [T]) + Sync,
{
    assert_eq!(out.len(), width, "a sum of rows of another width");
    if pieces == 0 || width == 0 {
        return;
    }
    let mut partials = vec![T::default(); pieces * width];
    partials
        .par_chunks_mut(width)
        .enumerate()
        .for_each(|(piece, partial)| fill(piece, partial));
    for partial in partials.chunks_exact(width) {
        for (o, p) in out.iter_mut().zip(partial) {
            *o += *p;
        }
    }
}

/// Runs `run` on every task, neighbours of together at least `least` units of `work` on one thread. Cutting the tasks by
/// number, as rayon does, would hand all long ones to one thread where they stand side by side.
pub(crate) fn in_pieces_of<T: Sync>(
    least: usize,
    tasks: &[T],
    work: impl Fn(&T) -> usize,
    run: impl Fn(&T) + Sync,
) {
    let mut sum = 0;
    let mut pieces: Vec<&[T]> = Vec::new();
    let mut start = 0;
    for (i, task) in tasks.iter().enumerate() {
        sum += work(task);
        if sum >= least || i + 1 == tasks.len() {
            pieces.push(&tasks[start..=i]);
            (start, sum) = (i + 1, 0);
        }
    }
    if let [piece] = pieces[..] {
        piece.iter().for_each(run);
    } else {
        let pieces = pieces.into_par_iter().with_max_len(1);
        pieces.for_each(|piece| piece.iter().for_each(&run));
    }
}

/// A slice of which several threads write different elements, where they are not neighbours and the slice cannot be
/// split (the heads of one row).
pub(crate) struct Scattered<'a> {
    start: *mut f32,
    len: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: only a pointer is shared; whoever writes through it answers for the absence of races.
unsafe impl Sync for Scattered<'_> {}

impl<'a> Scattered<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            slice: PhantomData,
        }
    }

    /// The elements from `start` on.
    pub(crate) fn from(&self, start: usize) -> Scattered<'_> {
        assert!(start <= self.len, "from element {start} of {}", self.len);
        Scattered {
            // SAFETY: start is within the slice or its end.
            start: unsafe { self.start.add(start) },
            len: self.len - start,
            slice: PhantomData,
        }
    }

    /// `len` elements from `start` on.
    ///
    /// # Safety
    /// Nothing else accesses them while the result lives.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn piece(&self, start: usize, len: usize) -> &mut [f32] {
        assert!(
            start + len <= self.len,
            "elements {start} to {} of {}",
            start + len,
            self.len
        );
        // SAFETY: they are within the slice; the caller answers for the absence of other accesses.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of element `i`.
    pub(crate) fn at(&self, i: usize) -> *mut f32 {
        assert!(i < self.len, "element {i} of {}", self.len);
        // SAFETY: i is within the slice.
        unsafe { self.start.add(i) }
    }
}

#[cfg(test)]
mod tests {
    use super::in_pieces_of;
    use std::collections::HashMap;
    use std::sync::Mutex;

    #[test]
    fn every_task_runs_once_and_short_ones_stay_together() {
        for tasks in [vec![], vec![7], vec![100; 5], vec![100, 100, 1, 1, 1, 1, 1]] {
            let order = Mutex::new(Vec::new());
            let numbered: Vec<(usize, usize)> = tasks.iter().copied().enumerate().collect();
            let run = |&(i, _): &_| {
                let thread = rayon::current_thread_index();
                order.lock().unwrap().push((i, thread));
            };
            in_pieces_of(50, &numbered, |(_, work)| *work, run);
            let order: HashMap<_, _> = order.into_inner().unwrap().into_iter().collect();
            assert_eq!(order.len(), tasks.len());
            let short = numbered.iter().filter(|(_, work)| *work == 1);
            let threads: Vec<_> = short.map(|(i, _)| order[i]).collect();
            assert!(threads.windows(2).all(|t| t[0] == t[1]), "{threads:?}");
        }
    }
}
