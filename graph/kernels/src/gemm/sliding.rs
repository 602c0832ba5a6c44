//! The product of every 3 x 3 neighbourhood of a map with a matrix: a convolution with padding 1.
//!
//! The map is copied once into one with a border of zeros. There the three locations of a neighbourhood's line lie side
//! by side, one row of `a` of 3 * channels elements, and the next location's row begins `channels` further on: tiles read
//! the neighbourhoods in place, where a matrix of them would hold every value nine times.

use super::blocks::{cut, GROUP_UNITS, ROWS, TASKS, UNITS, WORK_PER_PIECE};
use super::kernel::{Kernel, Tile};
use super::packed::Packed;
use crate::parallel::{for_each_chunk, for_each_task, Scattered, PIECE};
use crate::{check_len, conv::Shape, size};
use std::cell::Cell;
use std::ops::Range;

/// Finished rows of `c`: the first one's number, the elements of all.
pub(crate) type Rows<'a> = &'a (dyn Fn(usize, &mut [f32]) + Sync);

/// `c (+)= neighbourhoods(x) b`, rows of `c` in the order of the locations of `x`; `b` is [9 * channels, out] in (ky, kx,
/// channel) order, channels filled up with zeros to [`Packed::whole_units`]. Finished rows are handed to `then`.
///
/// # Panics
/// If a slice's length does not fit.
pub(crate) fn sliding(
    x: &[f32],
    shape: &Shape,
    b: &Packed,
    c: &mut [f32],
    accumulate: bool,
    then: Option<Rows>,
) {
    check_len("sliding", "x", x, size([shape.rows(), shape.inp]));
    check_len("sliding", "c", c, size([shape.rows(), b.n()]));
    if shape.rows() == 0 || b.n() == 0 {
        return;
    }
    let kernel = b.kernel();
    let depth = kernel.entry.depth();
    let mut buffer = PADDED.take();
    let map = Padded::new(kernel, x, shape, &mut buffer);
    assert_eq!(b.k(), 9 * map.location * depth, "sliding: rows of b");
    let product = Sliding {
        map,
        b,
        accumulate,
        then,
    };
    let c = Scattered::new(c);
    let lines = shape.batch * shape.height;
    let most = (ROWS / shape.width)
        .min(lines.div_ceil(TASKS))
        .clamp(1, lines);
    let tasks = lines.div_ceil(most);
    let task = |i: usize| {
        let lines = i * lines / tasks..(i + 1) * lines / tasks;
        // SAFETY: tasks have different lines, so different rows of c, which is borrowed mutably.
        unsafe { product.run(lines, &c) }
    };
    let work = shape.rows() * b.k() * b.n();
    for_each_task(tasks, work > WORK_PER_PIECE, task);
    PADDED.set(buffer);
}

// Taken while in use, so that another product which a waiting thread picks up finds an empty one.
thread_local! {
    static PADDED: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// Maps with a border of zeros, in the kernel's units.
struct Padded<'a> {
    units: &'a [u32],
    /// Of the maps themselves.
    height: usize,
    /// Of the maps themselves.
    width: usize,
    /// Units of a location.
    location: usize,
}

impl<'a> Padded<'a> {
    fn new(kernel: &Kernel, x: &[f32], shape: &Shape, buffer: &'a mut Vec<u32>) -> Self {
        let Shape {
            batch,
            height,
            width,
            inp,
            ..
        } = *shape;
        let depth = kernel.entry.depth();
        let location = inp.div_ceil(depth);
        let line = (width + 2) * location;
        let units = super::pack::resized(buffer, batch * (height + 2) * line);
        for_each_chunk(units, line, PIECE, |i, to| {
            let (map, y) = (i / (height + 2), i % (height + 2));
            if !(1..=height).contains(&y) {
                to.fill(0);
                return;
            }
            let from = &x[(map * height + y - 1) * width * inp..][..width * inp];
            to[..location].fill(0);
            to[(width + 1) * location..].fill(0);
            let inner = &mut to[location..(width + 1) * location];
            if inp.is_multiple_of(depth) {
                (kernel.to_units)(from, inner);
            } else {
                let locations = from.chunks_exact(inp).zip(inner.chunks_exact_mut(location));
                locations.for_each(|(from, to)| (kernel.to_units)(from, to));
            }
        });
        Self {
            units,
            height,
            width,
            location,
        }
    }

    /// The address of the location left above the one at `x` of a line, lines being counted through all maps.
    fn corner(&self, line: usize, x: usize) -> *const u32 {
        let (map, y) = (line / self.height, line % self.height);
        let at = (map * (self.height + 2) + y) * (self.width + 2) + x;
        self.units[at * self.location..].as_ptr()
    }
}

struct Sliding<'a> {
    map: Padded<'a>,
    b: &'a Packed,
    accumulate: bool,
    then: Option<Rows<'a>>,
}

impl Sliding<'_> {
    /// The rows of `c` that belong to some lines.
    ///
    /// # Safety
    /// Nothing else accesses these rows during the call; they are initialised if `accumulate`.
    unsafe fn run(&self, lines: Range<usize>, c: &Scattered) {
        let (kernel, n) = (self.b.kernel(), self.b.n());
        let (width, location) = (self.map.width, self.map.location);
        let b = self.b.panels(kernel, self.b.k(), n);
        // Of the three lines of a neighbourhood, one after another.
        let line_units = 3 * location;
        (kernel.enter)();
        for ky in 0..3 {
            for units in cut(line_units, UNITS, 1) {
                let group = (GROUP_UNITS / (units.len() * kernel.nr)).max(1);
                for panels in cut(n.div_ceil(kernel.nr), group, 1) {
                    for line in lines.clone() {
                        for first in (0..width).step_by(kernel.mr) {
                            let a = self.map.corner(line, first);
                            let a = a.wrapping_add(ky * (width + 2) * location + units.start);
                            let row = line * width + first;
                            for panel in panels.clone() {
                                let column = panel * kernel.nr;
                                let unit = ky * line_units + units.start;
                                // SAFETY: the last row that is read begins at location `width - 1` of a line of width + 2,
                                // two lines of the same map follow, so all units lie in the map; `b` has the panel; c's
                                // elements are the caller's.
                                unsafe {
                                    (kernel.tile)(&Tile {
                                        units: units.len(),
                                        a,
                                        a_row: location,
                                        a_unit: 1,
                                        b: b.start.add(panel * b.panel + unit * b.unit),
                                        b_unit: b.unit,
                                        c: c.at(row * n + column),
                                        c_row: n,
                                        rows: kernel.mr.min(width - first),
                                        cols: kernel.nr.min(n - column),
                                        accumulate: self.accumulate || unit > 0,
                                    });
                                }
                            }
                        }
                    }
                }
            }
        }
        (kernel.leave)();
        if let Some(then) = self.then {
            let (first, len) = (lines.start * width, lines.len() * width);
            // SAFETY: these rows are this task's and now written.
            then(first, unsafe { c.piece(first * n, len * n) });
        }
    }
}
