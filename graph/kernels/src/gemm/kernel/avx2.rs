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
    transpose16: transpose16_f32,
    narrow: true,
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
    if t.cols == V * LANES {
        // AMD's CPUs of before Zen 4 take many cycles for a masked store (uops.info).
        for (r, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                // SAFETY: row r of c has V registers of columns.
                unsafe {
                    let c = t.c.add(r * t.c_row + v * LANES);
                    let sum = if t.accumulate {
                        _mm256_add_ps(_mm256_loadu_ps(c), *sum)
                    } else {
                        *sum
                    };
                    _mm256_storeu_ps(c, sum);
                }
            }
        }
        return;
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

fn transpose16_f32(rows: &[f32], stride: usize, panel: &mut [u32], width: usize) {
    assert!(rows.len() >= 15 * stride + 16 && panel.len() >= 15 * width + 16);
    // SAFETY: the slices reach far enough, and this kernel is chosen only where the CPU has AVX2.
    unsafe { transpose16(rows.as_ptr(), stride, panel.as_mut_ptr().cast(), width) }
}

/// In four blocks of 8 x 8, in each exchanging ever larger blocks.
///
/// # Safety
/// 16 values can be read at each of 16 addresses `stride` apart, 16 written at 16 `to_stride` apart; the CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn transpose16(rows: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
    for (row, column) in [(0, 0), (0, LANES), (LANES, 0), (LANES, LANES)] {
        // SAFETY: the caller's promise, i < 8.
        let x: [__m256; LANES] = std::array::from_fn(|i| unsafe {
            _mm256_loadu_ps(rows.add((row + i) * stride + column))
        });
        // Within each 128-bit lane: 4 x 4 values among rows 4 i .. 4 i + 3.
        let mut y = [_mm256_setzero_ps(); LANES];
        for i in [0, 4] {
            let (a, b, c, d) = (x[i], x[i + 1], x[i + 2], x[i + 3]);
            let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            y[i] = _mm256_shuffle_ps::<0b01_00_01_00>(ab_low, cd_low);
            y[i + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(ab_low, cd_low);
            y[i + 2] = _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high);
            y[i + 3] = _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high);
        }
        // Lane l of y[4 i + j] holds column 4 l + j of rows 4 i .. 4 i + 3.
        for j in 0..4 {
            let columns = [
                _mm256_permute2f128_ps::<0x20>(y[j], y[4 + j]),
                _mm256_permute2f128_ps::<0x31>(y[j], y[4 + j]),
            ];
            for (l, values) in columns.into_iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { _mm256_storeu_ps(to.add((column + 4 * l + j) * to_stride + row), values) };
            }
        }
    }
}
