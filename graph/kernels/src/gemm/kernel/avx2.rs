//! AVX2 and FMA: tiles of 6 x 16, twelve of the sixteen registers holding sums.

use super::portable::{self, round, round_rows, transpose16_rounded};
use super::{for_rows, Kernel, Tile};
use crate::gemm::operand::Entry;
use std::arch::x86_64::*;

const LANES: usize = 8;
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
    let run: unsafe fn(&Tile) = if t.cols > LANES {
        for_rows!(t.rows, [1 2 3 4 5 6], R => rows::<R, 2>)
    } else {
        for_rows!(t.rows, [1 2 3 4 5 6], R => rows::<R, 1>)
    };
    // SAFETY: the caller's promise.
    unsafe { run(t) }
}

/// # Safety
/// See [`Kernel::tile`].
#[target_feature(enable = "avx2,fma")]
unsafe fn rows<const R: usize, const V: usize>(t: &Tile) {
    let mut sums = [[_mm256_setzero_ps(); V]; R];
    let (mut a, mut b) = (t.a.cast::<f32>(), t.b.cast::<f32>());
    for _ in 0..t.units {
        // SAFETY: u < units; 16 units of `b` can be read `b_unit` apart, rows of a are `a_row` apart.
        unsafe {
            let mut bs = [_mm256_setzero_ps(); V];
            for (v, bs) in bs.iter_mut().enumerate() {
                *bs = _mm256_loadu_ps(b.add(v * LANES));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let a = _mm256_broadcast_ss(&*a.add(r * t.a_row));
                for (sum, b) in sums.iter_mut().zip(bs) {
                    *sum = _mm256_fmadd_ps(a, b, *sum);
                }
            }
            (a, b) = (a.wrapping_add(t.a_unit), b.wrapping_add(t.b_unit));
        }
    }
    let index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for (r, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            let left = t.cols.saturating_sub(v * LANES).min(LANES) as i32;
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(left), index);
            // SAFETY: masked lanes are not touched, the others lie in row r of c.
            unsafe {
                let c = t.c.add(r * t.c_row + v * LANES);
                let sum = if t.accumulate {
                    _mm256_add_ps(_mm256_maskload_ps(c, mask), *sum)
                } else {
                    *sum
                };
                _mm256_maskstore_ps(c, mask, sum);
            }
        }
    }
}
