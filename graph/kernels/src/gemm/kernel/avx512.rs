//! AVX-512: tiles of 8 x 48 or 6 x 64, 24 of the 32 registers holding sums; in `f32`, and in `bf16` where the CPU has
//! `vdpbf16ps`, which multiplies two pairs and adds both products to an `f32`.

use super::portable::{self, round, round_rows, transpose16_rounded};
use super::{for_rows, Kernel, Rows, Tile};
use crate::gemm::operand::Entry;
use std::arch::x86_64::*;

const LANES: usize = 16;
const NR: usize = 48;
/// Columns of the wide tiles: the width of a head, and many numbers of channels, are multiples of it and not of 48.
const WIDE: usize = 64;
/// Units of `b` that are on their way to the first-level cache. Where rows of `b` are read in place and each lies on
/// another page than the one before, the CPU does not foresee them.
const AHEAD: usize = 12;

pub(super) static F32: Kernel = Kernel {
    mr: 8,
    nr: NR,
    tile: f32_tiles::tile,
    // SAFETY: this kernel is chosen only where the CPU has AVX-512.
    interleave: |rows, panel| unsafe { copy_rows(rows, panel) },
    transpose16: transpose16_f32,
    wide: Some(&F32_WIDE),
    ..portable::F32
};

static F32_WIDE: Kernel = Kernel {
    mr: 6,
    nr: WIDE,
    tile: f32_tiles::wide,
    wide: None,
    ..F32
};

pub(super) static ROUNDED: Kernel = Kernel {
    entry: Entry::Rounded,
    to_units: round,
    interleave: round_rows,
    transpose16: transpose16_rounded,
    wide: Some(&ROUNDED_WIDE),
    ..F32
};

static ROUNDED_WIDE: Kernel = Kernel {
    mr: 6,
    nr: WIDE,
    tile: f32_tiles::wide,
    wide: None,
    ..ROUNDED
};

pub(super) static PAIRS: Kernel = Kernel {
    entry: Entry::Pairs,
    tile: pair_tiles::tile,
    // SAFETY: this kernel is chosen only where the CPU has AVX-512 BF16.
    to_units: |x, units| unsafe { round_pairs(x, units) },
    // SAFETY: as above.
    interleave: |rows, panel| unsafe { interleave_pairs(rows, panel) },
    transpose16: transpose16_pairs,
    wide: Some(&PAIRS_WIDE),
    ..F32
};

static PAIRS_WIDE: Kernel = Kernel {
    mr: 6,
    nr: WIDE,
    tile: pair_tiles::wide,
    wide: None,
    ..PAIRS
};

/// A module of tiles of 1 to 8 rows and 1 to 3 registers of columns, and of 1 to 6 rows and 4 registers, around one
/// instruction.
macro_rules! tiles {
    ($name:ident, $features:literal, $multiply_add:expr) => {
        mod $name {
            use super::*;

            /// # Safety
            /// See [`Kernel::tile`].
            pub(super) unsafe fn tile(t: &Tile) {
                let run: unsafe fn(&Tile) = match t.cols.div_ceil(LANES) {
                    1 => for_rows!(t.rows, [1 2 3 4 5 6 7 8], R => rows::<R, 1>),
                    2 => for_rows!(t.rows, [1 2 3 4 5 6 7 8], R => rows::<R, 2>),
                    _ => for_rows!(t.rows, [1 2 3 4 5 6 7 8], R => rows::<R, 3>),
                };
                // SAFETY: the caller's promise.
                unsafe { run(t) }
            }

            /// # Safety
            /// See [`Kernel::tile`].
            pub(super) unsafe fn wide(t: &Tile) {
                debug_assert_eq!(t.cols, WIDE);
                let run: unsafe fn(&Tile) = for_rows!(t.rows, [1 2 3 4 5 6], R => rows::<R, 4>);
                // SAFETY: the caller's promise.
                unsafe { run(t) }
            }

            /// # Safety
            /// See [`Kernel::tile`].
            #[target_feature(enable = $features)]
            unsafe fn rows<const R: usize, const V: usize>(t: &Tile) {
                let mut sums = [[_mm512_setzero_ps(); V]; R];
                let (mut a, mut b) = (t.a.cast::<i32>(), t.b.cast::<i32>());
                for _ in 0..t.units {
                    // SAFETY: u < units; the tile's units of `b` can be read `b_unit` apart, rows of a are `a_row` apart.
                    unsafe {
                        let mut bs = [_mm512_setzero_si512(); V];
                        for (v, bs) in bs.iter_mut().enumerate() {
                            *bs = _mm512_loadu_si512(b.add(v * LANES).cast());
                            let ahead = b.wrapping_add(AHEAD * t.b_unit + v * LANES);
                            _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                        }
                        for (r, sums) in sums.iter_mut().enumerate() {
                            let a = _mm512_set1_epi32(*a.add(r * t.a_row));
                            for (sum, b) in sums.iter_mut().zip(bs) {
                                *sum = $multiply_add(a, b, *sum);
                            }
                        }
                        // Past the end after the last round, and then not read.
                        (a, b) = (a.wrapping_add(t.a_unit), b.wrapping_add(t.b_unit));
                    }
                }
                for (r, sums) in sums.iter().enumerate() {
                    for (v, sum) in sums.iter().enumerate() {
                        let left = (t.cols - v * LANES).min(LANES);
                        let mask = (0xffff_u32 >> (LANES - left)) as __mmask16;
                        // SAFETY: masked lanes are not touched, the others lie in row r of c.
                        unsafe {
                            let c = t.c.add(r * t.c_row + v * LANES);
                            let sum = if t.accumulate {
                                _mm512_add_ps(_mm512_maskz_loadu_ps(mask, c), *sum)
                            } else {
                                *sum
                            };
                            _mm512_mask_storeu_ps(c, mask, sum);
                        }
                    }
                }
            }
        }
    };
}

tiles!(f32_tiles, "avx512f", |a, b, sum| _mm512_fmadd_ps(
    _mm512_castsi512_ps(a),
    _mm512_castsi512_ps(b),
    sum
));
tiles!(
    pair_tiles,
    "avx512f,avx512bf16",
    |a: __m512i, b: __m512i, sum| {
        // SAFETY (of the surrounding block): both types are 512 bits of plain data.
        let to_pairs = |x| std::mem::transmute::<__m512i, __m512bh>(x);
        _mm512_dpbf16_ps(sum, to_pairs(a), to_pairs(b))
    }
);

/// Neighbouring values to pairs; a missing second value is 0.
///
/// # Safety
/// The CPU has AVX-512 BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn round_pairs(x: &[f32], units: &mut [u32]) {
    debug_assert_eq!(units.len(), x.len().div_ceil(2));
    let (whole, x) = x.as_chunks::<{ 2 * LANES }>();
    let (whole_units, units) = units.split_at_mut(whole.len() * LANES);
    let pairs = |first: __m512, second: __m512| {
        let pairs = _mm512_cvtne2ps_pbh(second, first);
        // SAFETY: both are 512 bits of plain data.
        unsafe { std::mem::transmute::<__m512bh, __m512i>(pairs) }
    };
    for (x, units) in whole.iter().zip(whole_units.chunks_exact_mut(LANES)) {
        // SAFETY: both halves of 16 lie in x, 16 units in units.
        unsafe {
            let first = _mm512_loadu_ps(x.as_ptr());
            let second = _mm512_loadu_ps(x.as_ptr().add(LANES));
            _mm512_storeu_epi32(units.as_mut_ptr().cast(), pairs(first, second));
        }
    }
    let (low, high) = (mask(x.len()), mask(x.len().saturating_sub(LANES)));
    // SAFETY: masked lanes are not touched, the others lie in the slices; the second half's address is computed
    // without a claim that it is within.
    unsafe {
        let first = _mm512_maskz_loadu_ps(low, x.as_ptr());
        let second = _mm512_maskz_loadu_ps(high, x.as_ptr().wrapping_add(LANES));
        _mm512_mask_storeu_epi32(
            units.as_mut_ptr().cast(),
            mask(units.len()),
            pairs(first, second),
        );
    }
}

/// Rows as they are. Left to the compiler, the copy of a few columns becomes a call that costs more than they do.
///
/// # Safety
/// The CPU has AVX-512.
#[target_feature(enable = "avx512f")]
unsafe fn copy_rows(rows: &Rows, panels: &mut [u32]) {
    let load = |i: usize, first: usize, lanes: __mmask16| {
        let at = rows.data.as_ptr().wrapping_add(i * rows.stride + first);
        // SAFETY: i < k, and masked lanes, which are those past the columns, are not touched.
        unsafe { _mm512_castps_si512(_mm512_maskz_loadu_ps(lanes, at)) }
    };
    // SAFETY: the CPU has AVX-512.
    unsafe { pack_rows(rows, rows.k, panels, load) };
}

/// Every two rows to pairs; a missing second row is 0.
///
/// # Safety
/// The CPU has AVX-512 BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn interleave_pairs(rows: &Rows, panels: &mut [u32]) {
    let load = |i: usize, first: usize, lanes: __mmask16| {
        let at = rows.data.as_ptr().wrapping_add(2 * i * rows.stride + first);
        let second = if 2 * i + 1 < rows.k { lanes } else { 0 };
        // SAFETY: 2 i < k, and masked lanes, which are those past the columns and those of a missing row, are not
        // touched; both 256-bit types are plain data.
        unsafe {
            let to_bf16 = |x| {
                let half = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x));
                _mm512_cvtepu16_epi32(half)
            };
            let low = to_bf16(_mm512_maskz_loadu_ps(lanes, at));
            let high = to_bf16(_mm512_maskz_loadu_ps(second, at.wrapping_add(rows.stride)));
            _mm512_or_si512(low, _mm512_slli_epi32::<16>(high))
        }
    };
    // SAFETY: the CPU has AVX-512.
    unsafe { pack_rows(rows, rows.k.div_ceil(2), panels, load) };
}

/// Packs 16 columns at a time, `load(i, first, lanes)` being unit i of those from `first` on.
///
/// # Safety
/// The CPU has AVX-512.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn pack_rows(
    rows: &Rows,
    units: usize,
    panels: &mut [u32],
    load: impl Fn(usize, usize, __mmask16) -> __m512i,
) {
    const HALF: usize = LANES / 2;
    let Rows {
        data,
        stride,
        k,
        columns,
        width,
    } = *rows;
    let padded = columns.next_multiple_of(width);
    assert!(width.is_multiple_of(HALF) && panels.len() == padded * units);
    assert!(k > 0 && data.len() >= (k - 1) * stride + columns);
    // Of column `first`, within `panels`; its units are `width` apart.
    let place = |first: usize| first / width * width * units + first % width;
    for first in (0..padded).step_by(LANES) {
        let lanes = mask(columns.saturating_sub(first));
        let to = panels.as_mut_ptr();
        for i in 0..units {
            let x = load(i, first, lanes);
            // SAFETY: unit i of columns `first` to `padded`, of which `width` make a panel, lies in `panels`; 8
            // columns from a multiple of 8 lie in one panel, 16 from a multiple of 16 do if 16 divides its width.
            unsafe {
                let low = to.add(place(first) + i * width);
                if width.is_multiple_of(LANES) {
                    _mm512_storeu_si512(low.cast(), x);
                } else {
                    _mm256_storeu_si256(low.cast(), _mm512_castsi512_si256(x));
                    if first + HALF < padded {
                        let high = to.add(place(first + HALF) + i * width);
                        _mm256_storeu_si256(high.cast(), _mm512_extracti64x4_epi64::<1>(x));
                    }
                }
            }
        }
    }
}

/// The lowest `n` lanes, at most 16.
fn mask(n: usize) -> __mmask16 {
    if n == 0 {
        0
    } else {
        (0xffff_u32 >> (LANES - n.min(LANES))) as __mmask16
    }
}

fn transpose16_f32(rows: &[f32], stride: usize, panel: &mut [u32], width: usize) {
    assert!(rows.len() >= 15 * stride + LANES && panel.len() >= 15 * width + LANES);
    // SAFETY: the slices reach far enough, and this kernel is chosen only where the CPU has AVX-512.
    unsafe { transpose16_f32_registers(rows.as_ptr(), stride, panel.as_mut_ptr(), width) }
}

/// # Safety
/// 16 values can be read at each of 16 addresses `stride` apart, 16 units written at 16 `width` apart; the CPU has
/// AVX-512.
#[target_feature(enable = "avx512f")]
unsafe fn transpose16_f32_registers(rows: *const f32, stride: usize, to: *mut u32, width: usize) {
    // SAFETY: the caller's promise, i < 16.
    let load = |i: usize| unsafe { _mm512_loadu_si512(rows.add(i * stride).cast()) };
    // SAFETY: the caller's promise.
    unsafe { transpose16(load, to, width) }
}

fn transpose16_pairs(rows: &[f32], stride: usize, panel: &mut [u32], width: usize) {
    assert!(rows.len() >= 15 * stride + 2 * LANES && panel.len() >= 15 * width + LANES);
    // SAFETY: as above, for AVX-512 BF16.
    unsafe { transpose16_pairs_registers(rows.as_ptr(), stride, panel.as_mut_ptr(), width) }
}

/// # Safety
/// 32 values can be read at each of 16 addresses `stride` apart, 16 units written at 16 `width` apart; the CPU has
/// AVX-512 BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn transpose16_pairs_registers(rows: *const f32, stride: usize, to: *mut u32, width: usize) {
    let load = |i: usize| {
        // SAFETY: the caller's promise, i < 16; both 512-bit types are plain data.
        unsafe {
            let row = rows.add(i * stride);
            let (first, second) = (_mm512_loadu_ps(row), _mm512_loadu_ps(row.add(LANES)));
            std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first))
        }
    };
    // SAFETY: the caller's promise.
    unsafe { transpose16(load, to, width) }
}

/// 16 rows of 16 units side by side to 16 rows `stride` apart.
pub(super) fn transpose16_units(panel: &[u32], rows: &mut [u32], stride: usize) {
    assert!(panel.len() >= LANES * LANES && rows.len() >= 15 * stride + LANES);
    // SAFETY: the slices reach far enough, and this is called only where the CPU has AVX-512.
    unsafe { transpose16_units_registers(panel.as_ptr(), rows.as_mut_ptr(), stride) }
}

/// # Safety
/// 256 units can be read, 16 written at each of 16 addresses `stride` apart; the CPU has AVX-512.
#[target_feature(enable = "avx512f")]
unsafe fn transpose16_units_registers(panel: *const u32, to: *mut u32, stride: usize) {
    // SAFETY: the caller's promise, i < 16.
    let load = |i: usize| unsafe { _mm512_loadu_si512(panel.add(i * LANES).cast()) };
    // SAFETY: the caller's promise.
    unsafe { transpose16(load, to, stride) }
}

/// Transposes the 16 registers that `load` gives, exchanging ever larger blocks.
///
/// # Safety
/// `load` is defined for 0 .. 16; 16 units can be written at each of 16 addresses `to_stride` apart; the CPU has
/// AVX-512.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn transpose16(load: impl Fn(usize) -> __m512i, to: *mut u32, to_stride: usize) {
    let x: [__m512i; 16] = std::array::from_fn(load);
    // Within each 128-bit lane: 4 x 4 units among rows 4i .. 4i + 3.
    let mut y = [_mm512_setzero_si512(); 16];
    for i in 0..4 {
        let (a, b, c, d) = (x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]);
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        y[4 * i] = _mm512_unpacklo_epi64(ab_low, cd_low);
        y[4 * i + 1] = _mm512_unpackhi_epi64(ab_low, cd_low);
        y[4 * i + 2] = _mm512_unpacklo_epi64(ab_high, cd_high);
        y[4 * i + 3] = _mm512_unpackhi_epi64(ab_high, cd_high);
    }
    // Lane l of y[4 i + j] holds column 4 l + j of rows 4 i .. 4 i + 3: gather lane l of four registers.
    for j in 0..4 {
        let (a, b, c, d) = (y[j], y[4 + j], y[8 + j], y[12 + j]);
        let (ab_even, ab_odd) = (
            _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b),
        );
        let (cd_even, cd_odd) = (
            _mm512_shuffle_i32x4::<0b10_00_10_00>(c, d),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(c, d),
        );
        let columns = [
            _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_even, cd_even),
            _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_odd, cd_odd),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_even, cd_even),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_odd, cd_odd),
        ];
        for (l, column) in columns.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_si512(to.add((4 * l + j) * to_stride).cast(), column) };
        }
    }
}
