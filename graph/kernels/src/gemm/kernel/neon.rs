//! NEON: tiles of 6 x 16, 24 of the 32 registers holding sums.

use super::portable::{self, round, round_rows, store, transpose16_rounded};
use super::{for_rows, Kernel, Tile};
use crate::gemm::operand::Entry;
use std::arch::aarch64::*;

const LANES: usize = 4;
const NR: usize = 16;

pub(super) static F32: Kernel = Kernel {
    mr: 6,
    nr: NR,
    tile,
    ..portable::F32
};

pub(super) static ROUNDED: Kernel = Kernel {
    entry: Entry::Rounded,
    to_units: round,
    interleave: round_rows,
    transpose16: transpose16_rounded,
    ..F32
};

/// # Safety
/// See [`Kernel::tile`].
unsafe fn tile(t: &Tile) {
    let run: unsafe fn(&Tile) = for_rows!(t.rows, [1 2 3 4 5 6], R => rows::<R>);
    // SAFETY: the caller's promise.
    unsafe { run(t) }
}

/// # Safety
/// See [`Kernel::tile`].
#[target_feature(enable = "neon")]
unsafe fn rows<const R: usize>(t: &Tile) {
    let mut sums = [[vdupq_n_f32(0.0); NR / LANES]; R];
    let (mut a, mut b) = (t.a.cast::<f32>(), t.b.cast::<f32>());
    for _ in 0..t.units {
        // SAFETY: u < units; 16 units of `b` can be read `b_unit` apart, rows of a are `a_row` apart.
        unsafe {
            let bs: [float32x4_t; NR / LANES] =
                std::array::from_fn(|v| vld1q_f32(b.add(v * LANES)));
            for (r, sums) in sums.iter_mut().enumerate() {
                let a = *a.add(r * t.a_row);
                for (sum, b) in sums.iter_mut().zip(bs) {
                    *sum = vfmaq_n_f32(*sum, b, a);
                }
            }
        }
        (a, b) = (a.wrapping_add(t.a_unit), b.wrapping_add(t.b_unit));
    }
    for (r, sums) in sums.iter().enumerate() {
        let mut row = [0.0f32; NR];
        for (v, sum) in sums.iter().enumerate() {
            // SAFETY: four of the row's sixteen.
            unsafe { vst1q_f32(row[v * LANES..][..LANES].as_mut_ptr(), *sum) };
        }
        // SAFETY: the caller's promise for row r.
        unsafe { store(t, r, &row) };
    }
}
