//! How a product is cut: the rows and columns of `c` shared out among threads, each part computed over blocks of `k`.
//!
//! A block of `k` of some panels of `b` and the part of `c` fit the second-level cache, a tile's rows of `a` the first
//! (Goto and van de Geijn, 2008). All sizes follow from the shape and the kernel alone, so the number of threads never changes a sum.

use super::kernel::{Kernel, Tile};
use super::operand::Operand;
use super::pack::{self, resized};
use crate::parallel::Scattered;
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::Range;

/// Most units of `k` in a block: 8 rows of it fill a third of a first-level cache of 32 KiB.
const UNITS: usize = 384;

/// Most units of `b` that a task reads again and again: half of a second-level cache of 1 MiB.
const PANEL_UNITS: usize = 128 * 1024;

/// Most rows of a task: their units are read once for each panel and should stay in the second-level cache.
const ROWS: usize = 96;

/// Tasks into which a product with enough rows is cut, so that threads end together.
const TASKS: usize = 24;

/// Multiplications below which a product is not worth another thread: about ten microseconds.
const WORK_PER_PIECE: usize = 1 << 19;

/// A finished piece of a row of `c`: its row, its first column, its elements.
pub(crate) type Epilogue<'a> = &'a (dyn Fn(usize, usize, &mut [f32]) + Sync);

/// A product to be computed.
pub(super) struct Product<'a> {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub a: Operand<'a>,
    pub b: Operand<'a>,
    /// Of `c`, from a row to the next.
    pub c_row: usize,
    pub accumulate: bool,
    pub epilogue: Option<Epilogue<'a>>,
    /// Whether other threads may help.
    pub parallel: bool,
}

/// The part of a product that is one task.
struct Task {
    rows: Range<usize>,
    panels: Range<usize>,
}

impl Product<'_> {
    /// Computes it.
    ///
    /// # Safety
    /// Row i of `c` is `n` elements at `c.at(i * c_row)` that nothing else accesses during the call, initialised if
    /// `accumulate`; the CPU has the kernel's path.
    pub(super) unsafe fn run(&self, kernel: &Kernel, c: &Scattered) {
        if self.m == 0 || self.n == 0 {
            return;
        }
        assert!(
            (self.m - 1) * self.c_row + self.n <= c.len(),
            "gemm: [{}, {}] with rows {} apart exceeds {} elements",
            self.m,
            self.n,
            self.c_row,
            c.len()
        );
        if self.k == 0 {
            // SAFETY: the caller's promise.
            unsafe { self.run_empty(c) };
            return;
        }
        let depth = kernel.entry.depth();
        let blocks: Vec<_> = cut(self.k, UNITS * depth, depth).collect();
        let panels = self.n.div_ceil(kernel.nr);
        let mut packed = B_BUFFER.take();
        let b = resized(&mut packed, panels * kernel.nr * kernel.entry.units(self.k));
        let tasks = self.tasks(kernel, panels, kernel.entry.units(blocks[0].len()));
        // Panel after panel, in each one block of k after another.
        let panel = kernel.nr * kernel.entry.units(self.k);
        let pack = |i: usize, out: &mut [u32]| {
            let columns = i * kernel.nr..self.n.min((i + 1) * kernel.nr);
            pack::panels(kernel, self.b, 0..self.k, columns, kernel.nr, out);
        };
        if self.parallel && self.m * self.n * self.k > WORK_PER_PIECE {
            b.par_chunks_exact_mut(panel)
                .with_min_len((16 * 1024 / panel).max(1))
                .enumerate()
                .for_each(|(i, out)| pack(i, out));
            // SAFETY: tasks have different rows or columns of c.
            tasks
                .par_iter()
                .for_each(|task| unsafe { self.run_task(kernel, &blocks, b, task, c) });
        } else {
            for (i, out) in b.chunks_exact_mut(panel).enumerate() {
                pack(i, out);
            }
            for task in &tasks {
                // SAFETY: the caller's promise.
                unsafe { self.run_task(kernel, &blocks, b, task, c) };
            }
        }
        B_BUFFER.set(packed);
    }

    /// The tasks, when the largest block of k has `units` units.
    fn tasks(&self, kernel: &Kernel, panels: usize, units: usize) -> Vec<Task> {
        let most = (PANEL_UNITS / (units * kernel.nr)).max(1);
        let columns: Vec<_> = cut(panels, most, 1).collect();
        let rows = self.m.div_ceil(TASKS.div_ceil(columns.len()));
        let rows = rows.next_multiple_of(kernel.mr).min(ROWS);
        cut(self.m, rows, kernel.mr)
            .flat_map(|rows| {
                columns.iter().map(move |panels| Task {
                    rows: rows.clone(),
                    panels: panels.clone(),
                })
            })
            .collect()
    }

    /// # Safety
    /// As [`run`](Self::run), for the task's rows and columns of `c`; `b` holds all packed panels.
    unsafe fn run_task(
        &self,
        kernel: &Kernel,
        blocks: &[Range<usize>],
        b: &[u32],
        task: &Task,
        c: &Scattered,
    ) {
        let entry = kernel.entry;
        let columns = task.panels.start * kernel.nr..self.n.min(task.panels.end * kernel.nr);
        let mut buffer = A_BUFFER.take();
        for k in blocks {
            let a = pack::rows(kernel, self.a, task.rows.clone(), k.clone(), &mut buffer);
            for (i, first) in task.rows.clone().step_by(kernel.mr).enumerate() {
                let rows = kernel.mr.min(task.rows.end - first);
                for panel in task.panels.clone() {
                    let column = panel * kernel.nr;
                    let unit = panel * entry.units(self.k) + k.start / entry.depth();
                    // SAFETY: `a` reaches the task's rows, `b` has `panel`, and c's elements are this task's.
                    unsafe {
                        (kernel.tile)(&Tile {
                            units: entry.units(k.len()),
                            a: a.start.add(i * a.tile),
                            a_row: a.row,
                            a_unit: a.unit,
                            b: b[unit * kernel.nr..].as_ptr(),
                            c: c.at(first * self.c_row + column),
                            c_row: self.c_row,
                            rows,
                            cols: kernel.nr.min(self.n - column),
                            accumulate: self.accumulate || k.start > 0,
                        });
                    }
                }
                let (Some(epilogue), true) = (self.epilogue, k.end == self.k) else {
                    continue;
                };
                for row in first..first + rows {
                    // SAFETY: this piece of the row is this task's and now written.
                    let c = unsafe { c.piece(row * self.c_row + columns.start, columns.len()) };
                    epilogue(row, columns.start, c);
                }
            }
        }
        A_BUFFER.set(buffer);
    }

    /// A sum of no products.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    unsafe fn run_empty(&self, c: &Scattered) {
        for row in 0..self.m {
            // SAFETY: row i is n elements that are ours; written before they are read unless initialised.
            let c = unsafe {
                let start = c.at(row * self.c_row);
                if !self.accumulate {
                    std::ptr::write_bytes(start, 0, self.n);
                }
                std::slice::from_raw_parts_mut(start, self.n)
            };
            if let Some(epilogue) = self.epilogue {
                epilogue(row, 0, c);
            }
        }
    }
}

// Taken while in use, so that another product which a waiting thread picks up finds an empty one.
thread_local! {
    static A_BUFFER: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static B_BUFFER: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// `0..n` in nearly equal parts of at most `most`, all but the last multiples of `of` long (which divides `most`).
fn cut(n: usize, most: usize, of: usize) -> impl Iterator<Item = Range<usize>> {
    let steps = n.div_ceil(of);
    let parts = steps.div_ceil((most / of).max(1));
    (0..parts).map(move |i| i * steps / parts * of..n.min((i + 1) * steps / parts * of))
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn parts_are_whole_and_even() {
        for (n, most, of) in [
            (1, 8, 1),
            (17, 8, 2),
            (385, 384, 1),
            (197, 96, 8),
            (0, 8, 8),
        ] {
            let parts: Vec<_> = cut(n, most, of).collect();
            assert_eq!(parts.iter().map(|p| p.len()).sum::<usize>(), n);
            assert!(parts.windows(2).all(|p| p[0].end == p[1].start));
            assert!(parts
                .iter()
                .all(|p| p.len() <= most && p.start % of == 0 && !p.is_empty()));
        }
    }
}
