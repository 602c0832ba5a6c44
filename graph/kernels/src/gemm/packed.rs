//! A right-hand side packed once for many products: the weights of a network that is only run.

use super::blocks::{pack_all, packed_len, Epilogue, Left, Product, Right};
use super::kernel::{self, Kernel};
use super::pack::{self, Panels};
use super::{Layout, Operand, Precision};
use crate::parallel::Scattered;
use crate::{check_len, cpu, size};
use std::cell::Cell;

/// A matrix `b` [k, n] in the order in which this CPU's tiles read it.
pub struct Packed {
    k: usize,
    n: usize,
    kernel: &'static Kernel,
    /// What `panels` points into.
    _units: Vec<u32>,
    panels: Panels,
}

// SAFETY: the pointer of `panels` is into memory that this value owns, does not move and never changes.
unsafe impl Send for Packed {}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed [{}, {}]", self.k, self.n)
    }
}

impl Packed {
    /// Packs `b`, which is [k, n] (`N`) or stored as [n, k] (`T`).
    ///
    /// # Panics
    /// If its length does not fit.
    pub fn new(b: &[f32], layout: Layout, k: usize, n: usize, precision: Precision) -> Self {
        check_len("packed", "b", b, size([k, n]));
        let kernel = kernel::choose_for(cpu::path(), precision, n, true);
        let mut units = Vec::new();
        let packed = pack::resized(&mut units, packed_len(kernel, k, n, kernel.nr));
        let panels = pack_all(
            kernel,
            Operand::new(b, layout, k, n),
            k,
            n,
            kernel.nr,
            false,
            packed,
        );
        Self {
            k,
            n,
            kernel,
            _units: units,
            panels,
        }
    }

    /// The least number of channels, at least so many, that fill whole units of a row in this precision.
    pub(crate) fn whole_units(channels: usize, precision: Precision) -> usize {
        let entry = kernel::choose(cpu::path(), precision).entry;
        channels.next_multiple_of(entry.depth())
    }

    /// Whether rows that do not fill a tile are better gathered until they do.
    pub(crate) fn wants_whole_tiles_of(&self, rows: usize) -> bool {
        self.kernel.whole_tiles && !rows.is_multiple_of(self.kernel.mr)
    }

    /// Rows: the length of a row of what it is multiplied with.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns: the length of a row of the product.
    pub fn n(&self) -> usize {
        self.n
    }

    pub(super) fn kernel(&self) -> &'static Kernel {
        self.kernel
    }

    /// Units of a row of what it is multiplied with.
    pub(crate) fn row_units(&self) -> usize {
        self.kernel.entry.units(self.k)
    }

    /// One such row to units.
    pub(crate) fn to_units(&self, x: &[f32], units: &mut [u32]) {
        (self.kernel.to_units)(x, units);
    }

    /// The least number of rows, at least so many, that fill whole tiles.
    pub(crate) fn whole_tiles(&self, rows: usize) -> usize {
        rows.next_multiple_of(self.kernel.mr)
    }

    /// `c = a b` on this thread, for rows of `a` that are in units and fill [whole tiles](Self::whole_tiles); rows of `c`
    /// are `c_row` apart.
    ///
    /// # Panics
    /// If a slice's length does not fit.
    pub(crate) fn multiply_units(&self, a: &[u32], c: &mut [f32], c_row: usize) {
        let rows = a.len().checked_div(self.row_units()).unwrap_or(0);
        check_len(
            "multiply",
            "a",
            a,
            self.whole_tiles(rows) * self.row_units(),
        );
        check_len("multiply", "c", c, size([rows, c_row]));
        // SAFETY: c is borrowed mutably; the panels are of this kernel and this shape.
        unsafe {
            multiply_units(
                self.kernel,
                self.panels,
                self.k,
                self.n,
                a,
                &Scattered::new(c),
                c_row,
            )
        }
    }

    /// Where the tiles of `kernel` find it as [k, n].
    pub(super) fn panels(&self, kernel: &Kernel, k: usize, n: usize) -> Panels {
        assert!(
            std::ptr::eq(kernel, self.kernel) && (k, n) == (self.k, self.n),
            "packed: [{}, {}] used as [{k}, {n}] or by another kernel",
            self.k,
            self.n
        );
        self.panels
    }
}

/// `c (+)= a b`, `a` [m, k] and `c` [m, n]; each piece of a row of `c` is handed to `epilogue` as soon as it is finished.
///
/// # Panics
/// If a slice's length does not fit.
pub(crate) fn matmul_packed(
    a: &[f32],
    b: &Packed,
    c: &mut [f32],
    accumulate: bool,
    epilogue: Option<Epilogue>,
) {
    let m = a.len().checked_div(b.k).unwrap_or(0);
    check_len("matmul", "a", a, size([m, b.k]));
    check_len("matmul", "c", c, size([m, b.n]));
    let product = Product {
        m,
        k: b.k,
        n: b.n,
        a: Left::Matrix(Operand::new(a, Layout::N, m, b.k)),
        b: Right::Packed(b.panels),
        c_row: b.n,
        accumulate,
        epilogue,
        parallel: true,
    };
    // SAFETY: c is borrowed mutably and has m rows of n elements; the path is one that this CPU can run.
    unsafe { product.run(b.kernel, &Scattered::new(c)) }
}

/// Matrices [k, n] that are packed for one call and read by several products in it.
pub(crate) struct Shared {
    kernel: &'static Kernel,
    k: usize,
    n: usize,
}

impl Shared {
    /// For matrices of this shape.
    pub(crate) fn new(k: usize, n: usize, precision: Precision) -> Self {
        let kernel = kernel::choose_for(cpu::path(), precision, n, true);
        Self { kernel, k, n }
    }

    /// Units that one takes.
    pub(crate) fn len(&self) -> usize {
        packed_len(self.kernel, self.k, self.n, self.kernel.nr)
    }

    /// Packs one.
    ///
    /// # Panics
    /// If `units` is not [`len`](Self::len) long.
    pub(crate) fn pack(&self, b: Operand, units: &mut [u32]) {
        check_len("shared", "units", units, self.len());
        b.check(self.k, self.n);
        pack_all(self.kernel, b, self.k, self.n, self.kernel.nr, false, units);
    }

    /// `c = a b` on this thread, `b` being what [`pack`](Self::pack) made; row i of `c` [m, n] is at `c.at(i * c_row)`.
    ///
    /// # Safety
    /// Nothing else accesses these rows during the call.
    pub(crate) unsafe fn multiply(
        &self,
        m: usize,
        a: Operand,
        units: &[u32],
        c: &Scattered,
        c_row: usize,
    ) {
        check_len("shared", "units", units, self.len());
        a.check(m, self.k);
        let product = Product {
            m,
            k: self.k,
            n: self.n,
            a: Left::Matrix(a),
            b: Right::Packed(self.panels(units)),
            c_row,
            accumulate: false,
            epilogue: None,
            parallel: false,
        };
        // SAFETY: the caller's promise; the units are of this kernel and this shape.
        unsafe { product.run(self.kernel, c) }
    }

    /// Units of a row of what it is multiplied with.
    pub(crate) fn row_units(&self) -> usize {
        self.kernel.entry.units(self.k)
    }

    /// One such row to units.
    pub(crate) fn to_units(&self, x: &[f32], units: &mut [u32]) {
        (self.kernel.to_units)(x, units);
    }

    /// As [`multiply`](Self::multiply) for rows of `a` that are in units.
    ///
    /// # Safety
    /// Nothing else accesses these rows of `c` during the call.
    pub(crate) unsafe fn multiply_units(
        &self,
        a: &[u32],
        units: &[u32],
        c: &Scattered,
        c_row: usize,
    ) {
        check_len("shared", "units", units, self.len());
        // SAFETY: the caller's promise; the units are of this kernel and this shape.
        unsafe { multiply_units(self.kernel, self.panels(units), self.k, self.n, a, c, c_row) }
    }

    fn panels(&self, units: &[u32]) -> Panels {
        Panels {
            start: units.as_ptr(),
            unit: self.kernel.nr,
            panel: self.kernel.nr * self.kernel.entry.units(self.k),
        }
    }
}

/// `c = a b` on this thread, `b` [k, n] packed; row i of `c` is at `c.at(i * c_row)`.
///
/// # Safety
/// Nothing else accesses these rows during the call; `b` is of this kernel and this shape.
unsafe fn multiply_units(
    kernel: &Kernel,
    b: Panels,
    k: usize,
    n: usize,
    a: &[u32],
    c: &Scattered,
    c_row: usize,
) {
    let row = kernel.entry.units(k);
    let m = a.len().checked_div(row).unwrap_or(0);
    assert!(
        a.len() == m * row && n <= c_row,
        "multiply: {} units are no rows of {row}, or rows of {n} are {c_row} apart",
        a.len()
    );
    let product = Product {
        m,
        k,
        n,
        a: Left::Units(a),
        b: Right::Packed(b),
        c_row,
        accumulate: false,
        epilogue: None,
        parallel: false,
    };
    // SAFETY: the caller's promise.
    unsafe { product.run(kernel, c) }
}

/// A buffer of this thread for `n` units, from the start of a cache line on, lent to `f`.
pub(crate) fn with_units<R>(n: usize, f: impl FnOnce(&mut [u32]) -> R) -> R {
    thread_local! {
        // Taken while in use, so that what a waiting thread picks up finds an empty one.
        static UNITS: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    }
    let mut buffer = UNITS.take();
    let result = f(pack::resized(&mut buffer, n));
    UNITS.set(buffer);
    result
}
