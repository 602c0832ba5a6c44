//! Buffers that are used again: a training step asks for the same sizes as the one before, and fresh memory costs the
//! time of clearing every page.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Elements below which the allocator is as good.
const SMALL: usize = 4096;

/// The free buffers of a thread.
#[derive(Default)]
struct Pool {
    free: Vec<Vec<f32>>,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// A slice of `f32` whose memory goes back to this thread's pool when it is dropped.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<f32>,
    len: usize,
}

impl Buffer {
    /// `len` elements of any value.
    pub fn take(len: usize) -> Self {
        let memory = if len < SMALL {
            None
        } else {
            POOL.with_borrow_mut(|pool| pool.smallest_of(len))
        };
        Self {
            memory: memory.unwrap_or_else(|| vec![0.0; len]),
            len,
        }
    }

    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        let mut buffer = Self::take(len);
        buffer.fill(0.0);
        buffer
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.memory.len() >= SMALL {
            let memory = std::mem::take(&mut self.memory);
            // A thread that ends has no pool any more: then the memory is simply freed.
            let _ = POOL.try_with(|pool| pool.borrow_mut().free.push(memory));
        }
    }
}

impl Pool {
    /// The smallest free buffer of at least `len` elements. If there is none, the largest free one is given up for the
    /// one that will be made, so that the number of buffers never exceeds the most that were in use at once, and sizes
    /// that vary from step to step settle at the largest.
    fn smallest_of(&mut self, len: usize) -> Option<Vec<f32>> {
        let fitting = (0..self.free.len()).filter(|i| self.free[*i].len() >= len);
        let best = fitting.min_by_key(|i| self.free[*i].len());
        let taken = best.or_else(|| (0..self.free.len()).max_by_key(|i| self.free[*i].len()))?;
        let memory = self.free.swap_remove(taken);
        best.map(|_| memory)
    }
}

/// The first `n` elements of a buffer that grows when it must; what they hold is unspecified.
pub(crate) fn resized<T: Copy + Default>(buffer: &mut Vec<T>, n: usize) -> &mut [T] {
    if buffer.len() < n {
        buffer.resize(n, T::default());
    }
    &mut buffer[..n]
}

/// Asks the system's allocator to keep what is freed, for the arrays that do not go through [`Buffer`]: otherwise each
/// step gives its largest ones back to the system and gets them again, page by page. A program calls this at its
/// start; where the allocator is not glibc's, it does nothing.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only stores the values, and refuses those that it does not like.
    unsafe {
        // The largest threshold that glibc accepts; above it, arrays are mapped and unmapped one by one.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        // The arenas of other threads are too small to hold a large array.
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives the pages of what has been freed back to the system: after a model was loaded, whose file and graph are gone.
/// Where the allocator is not glibc's, it does nothing.
pub fn give_back_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim may be called at any time, and moves nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free() -> Vec<usize> {
        POOL.with_borrow(|pool| pool.free.iter().map(Vec::len).collect())
    }

    #[test]
    fn memory_is_used_again_and_the_best_fit_is_taken() {
        let (small, large) = (Buffer::take(10_000), Buffer::take(20_000));
        let (at_small, at_large) = (small.as_ptr(), large.as_ptr());
        drop((small, large));
        assert_eq!(free(), [10_000, 20_000]);
        let again = Buffer::take(9_000);
        assert_eq!((again.as_ptr(), again.len()), (at_small, 9_000));
        assert_eq!(Buffer::take(10_001).as_ptr(), at_large);
    }

    #[test]
    fn sizes_that_grow_do_not_pile_up() {
        for len in [10_000, 30_000, 20_000, 40_000, 35_000] {
            let (a, b) = (Buffer::take(len), Buffer::take(len + 1));
            drop((a, b));
        }
        let free = free();
        assert!(
            free.len() <= 2 && free.iter().all(|len| *len >= 35_000),
            "{free:?}"
        );
    }

    #[test]
    fn zeros_are_zeros_and_small_ones_stay_out() {
        Buffer::take(5_000).fill(1.0);
        assert!(Buffer::zeroed(5_000).iter().all(|v| *v == 0.0));
        drop(Buffer::take(16));
        assert_eq!(free(), [5_000]);
    }
}
