//! How a product is cut: the rows and columns of `c` shared out among threads, each part computed over blocks of `k`.
//!
//! A task's rows of `a` and a group of panels of `b`, over one block of `k`, fit the second-level cache, a tile's rows
//! of `a` the first (Goto and van de Geijn, 2008). All sizes follow from the shape and the kernel alone, so the number of threads never changes a sum.

use super::kernel::{Kernel, Tile};
use super::operand::Operand;
use super::pack::{self, Panels};
use crate::parallel::{is_alone, Scattered};
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::Range;

/// The left-hand side of a product.
#[derive(Clone, Copy)]
pub(super) enum Left<'a> {
    /// To be read in place, or packed for each task.
    Matrix(Operand<'a>),
    /// Rows of `k` that already are in the kernel's units.
    Units(&'a [u32]),
    /// All rows, packed before as panels of a tile's rows.
    Packed(Panels),
}

/// The right-hand side of a product.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    /// To be packed, or read in place, for this product alone.
    Matrix(Operand<'a>),
    /// Packed before by the same kernel, [k, n].
    Packed(Panels),
}

/// Most units of `k` in a block: 8 rows of it fill a third of a first-level cache of 32 KiB.
pub(super) const UNITS: usize = 384;

/// Most units of `b` that are read for one tile's rows after the other: a quarter of a second-level cache of 1 MiB.
pub(super) const GROUP_UNITS: usize = 64 * 1024;

/// Most rows of a task: their units are read for one group of panels after the other and should stay in the
/// second-level cache with it.
pub(super) const ROWS: usize = 96;

/// Columns that are packed at once: a row's are read from memory in lines, and the next are foreseen. Half as many were no
/// faster, and slower in some runs.
const COLUMNS: usize = 96;

/// Tasks into which a product is cut if its rows suffice, so that threads end together.
pub(super) const TASKS: usize = 16;

/// Multiplications below which a product is not worth another thread: about ten microseconds.
pub(super) const WORK_PER_PIECE: usize = 1 << 19;

/// A finished piece of a row of `c`: its row, its first column, its elements.
pub(crate) type Epilogue<'a> = &'a (dyn Fn(usize, usize, &mut [f32]) + Sync);

/// A product to be computed.
pub(super) struct Product<'a> {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub a: Left<'a>,
    pub b: Right<'a>,
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
        let parallel = self.parallel && self.m * self.n * self.k > WORK_PER_PIECE && !is_alone();
        match (self.a, self.b) {
            (Left::Matrix(a), Right::Matrix(b)) if pack::shared(kernel, a) => {
                // SAFETY: the caller's promise.
                unsafe { self.run_blocks(kernel, a, b, parallel, c) }
            }
            // SAFETY: the caller's promise.
            _ => unsafe { self.run_tasks(kernel, parallel, c) },
        }
    }

    /// The product of one block of `k` after another, of which both operands are packed for all tasks: where many rows
    /// of `a` and of `b` make few elements of `c`, tasks that packed their own would each read all of `b` again.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    unsafe fn run_blocks(
        &self,
        kernel: &Kernel,
        a: Operand,
        b: Operand,
        parallel: bool,
        c: &Scattered,
    ) {
        let depth = kernel.entry.depth();
        let mut buffer = A_BUFFER.take();
        for k in cut(self.k, UNITS * depth, depth) {
            let parallel = parallel && self.m * self.n * k.len() > WORK_PER_PIECE;
            let a = a.transposed().rows_from(k.start);
            let packed = pack::resized(&mut buffer, packed_len(kernel, k.len(), self.m, kernel.mr));
            let block = Product {
                k: k.len(),
                a: Left::Packed(pack_all(
                    kernel,
                    a,
                    k.len(),
                    self.m,
                    kernel.mr,
                    parallel,
                    packed,
                )),
                b: Right::Matrix(b.rows_from(k.start)),
                accumulate: self.accumulate || k.start > 0,
                epilogue: self.epilogue.filter(|_| k.end == self.k),
                ..*self
            };
            // SAFETY: the caller's promise; from the second block on c is written.
            unsafe { block.run_tasks(kernel, parallel, c) };
        }
        A_BUFFER.set(buffer);
    }

    /// # Safety
    /// As [`run`](Self::run).
    unsafe fn run_tasks(&self, kernel: &Kernel, parallel: bool, c: &Scattered) {
        let mut buffer = B_BUFFER.take();
        let b = match self.b {
            Right::Packed(panels) => panels,
            Right::Matrix(b) => {
                pack::panels_in_place(kernel, b, self.m, self.n).unwrap_or_else(|| {
                    let units = packed_len(kernel, self.k, self.n, kernel.nr);
                    let packed = pack::resized(&mut buffer, units);
                    pack_all(kernel, b, self.k, self.n, kernel.nr, parallel, packed)
                })
            }
        };
        // SAFETY: tasks have different rows or columns of c.
        let run = |task: Task| unsafe { self.run_task(kernel, b, &task, c) };
        if parallel {
            let tasks: Vec<_> = self.tasks(kernel, TASKS).collect();
            tasks.into_par_iter().with_max_len(1).for_each(run);
        } else {
            self.tasks(kernel, 1).for_each(run);
        }
        B_BUFFER.set(buffer);
    }

    /// The product in at least `of` tasks, if it has that many tiles. They are not stored, because small products are
    /// as many as heads and an allocation costs as much as they do.
    fn tasks(&self, kernel: &Kernel, of: usize) -> impl Iterator<Item = Task> {
        let (m, mr) = (self.m, kernel.mr);
        let panels = self.n.div_ceil(kernel.nr);
        // Each part of the rows reads all of `b` again, from memory that is slower than what a task's rows fit. Each
        // part of the columns needs the rows of `a` packed again, where they cannot be read in place.
        let row_tasks = m.div_ceil(ROWS);
        let in_place = match self.a {
            Left::Matrix(a) => pack::rows_in_place(kernel, a),
            Left::Units(_) | Left::Packed(_) => true,
        };
        let row_tasks = if row_tasks >= of || !in_place {
            row_tasks.next_multiple_of(of)
        } else {
            row_tasks.max(of.div_ceil(panels))
        };
        let rows = m.div_ceil(row_tasks).next_multiple_of(mr);
        let columns = of.div_ceil(m.div_ceil(rows)).clamp(1, panels);
        cut(m, rows, mr).flat_map(move |rows| {
            cut(panels, panels.div_ceil(columns), 1).map(move |panels| Task {
                rows: rows.clone(),
                panels,
            })
        })
    }

    /// # Safety
    /// As [`run`](Self::run), for the task's rows and columns of `c`; `b` reaches all panels.
    unsafe fn run_task(&self, kernel: &Kernel, b: Panels, task: &Task, c: &Scattered) {
        let entry = kernel.entry;
        let mut buffer = A_BUFFER.take();
        (kernel.enter)();
        for k in cut(self.k, UNITS * entry.depth(), entry.depth()) {
            let a = match self.a {
                Left::Matrix(a) => pack::rows(kernel, a, task.rows.clone(), k.clone(), &mut buffer),
                Left::Units(a) => pack::unit_rows(kernel, a, self.k, &task.rows, &k),
                Left::Packed(a) => pack::panel_rows(kernel, a, task.rows.start, &k),
            };
            let group = (GROUP_UNITS / (entry.units(k.len()) * kernel.nr)).max(1);
            for panels in cut(task.panels.len(), group, 1) {
                let panels = task.panels.start + panels.start..task.panels.start + panels.end;
                for (i, first) in task.rows.clone().step_by(kernel.mr).enumerate() {
                    let rows = first..task.rows.end.min(first + kernel.mr);
                    for panel in panels.clone() {
                        let column = panel * kernel.nr;
                        let unit = k.start / entry.depth();
                        // SAFETY: `a` reaches the task's rows, `b` has `panel`, and c's elements are this task's.
                        unsafe {
                            (kernel.tile)(&Tile {
                                units: entry.units(k.len()),
                                a: a.start.add(i * a.tile),
                                a_row: a.row,
                                a_unit: a.unit,
                                b: b.start.add(panel * b.panel + unit * b.unit),
                                b_unit: b.unit,
                                c: c.at(first * self.c_row + column),
                                c_row: self.c_row,
                                rows: rows.len(),
                                cols: kernel.nr.min(self.n - column),
                                accumulate: self.accumulate || k.start > 0,
                            });
                        }
                    }
                    if let (Some(epilogue), true) = (self.epilogue, k.end == self.k) {
                        let start = panels.start * kernel.nr;
                        let len = self.n.min(panels.end * kernel.nr) - start;
                        for row in rows {
                            // SAFETY: this piece of the row is this task's and now written.
                            let c = unsafe { c.piece(row * self.c_row + start, len) };
                            epilogue(row, start, c);
                        }
                    }
                }
            }
        }
        (kernel.leave)();
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

/// Units of a matrix [k, columns] that is packed as panels of `width` columns.
pub(super) fn packed_len(kernel: &Kernel, k: usize, columns: usize, width: usize) -> usize {
    columns.div_ceil(width) * width * kernel.entry.units(k)
}

/// All of a matrix [k, columns] into `packed`, panel after panel of `width` columns, in each one block of k after another.
pub(super) fn pack_all(
    kernel: &Kernel,
    matrix: Operand,
    k: usize,
    columns: usize,
    width: usize,
    parallel: bool,
    packed: &mut [u32],
) -> Panels {
    let panel = width * kernel.entry.units(k);
    debug_assert_eq!(packed.len(), packed_len(kernel, k, columns, width));
    let at_once = match matrix.col {
        1 => (COLUMNS / width).max(1),
        _ => 1,
    };
    let pack = |(i, out): (usize, &mut [u32])| {
        let first = i * at_once * width;
        let columns = first..columns.min(first + at_once * width);
        pack::panels(kernel, matrix, 0..k, columns, width, out);
    };
    if parallel {
        packed
            .par_chunks_mut(at_once * panel)
            .with_min_len((16 * 1024 / (at_once * panel)).max(1))
            .enumerate()
            .for_each(pack);
    } else {
        packed
            .chunks_mut(at_once * panel)
            .enumerate()
            .for_each(pack);
    }
    Panels {
        start: packed.as_ptr(),
        unit: width,
        panel,
    }
}

// Taken while in use, so that another product which a waiting thread picks up finds an empty one.
thread_local! {
    static A_BUFFER: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static B_BUFFER: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// `0..n` in nearly equal parts of at most `most`, all but the last multiples of `of` long (which divides `most`).
pub(super) fn cut(n: usize, most: usize, of: usize) -> impl Iterator<Item = Range<usize>> {
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
