//! Bytes moved about within registers: SSSE3, and AVX-512 for the transpose.

use std::arch::x86_64::*;

use super::{Bytes, Pixels, Square, LANES};

// SAFETY of every block in this module, and what its functions ask of callers: the instructions exist, because they run
// only where `on_lanes!` found them (see `Lanes`); loads and stores are unaligned and stay within the array they are
// given.

/// Where the bytes of colour `c` lie in the `k`th sixteen bytes of sixteen pixels: for each pixel its place, or
/// 128, which the shuffle turns into 0.
const fn places(c: usize, k: usize) -> Bytes {
    let mut out = [128; LANES];
    let mut pixel = 0;
    while pixel < LANES {
        let at = 3 * pixel + c;
        if at / LANES == k {
            out[pixel] = (at % LANES) as u8;
        }
        pixel += 1;
    }
    out
}

/// For each of the `k`th sixteen bytes of sixteen pixels, the pixel it is of if it is of colour `c`, else 128.
const fn owners(c: usize, k: usize) -> Bytes {
    let mut out = [128; LANES];
    let mut i = 0;
    while i < LANES {
        let at = LANES * k + i;
        if at % 3 == c {
            out[i] = (at / 3) as u8;
        }
        i += 1;
    }
    out
}

const PLACES: [[Bytes; 3]; 3] = table(false);
const OWNERS: [[Bytes; 3]; 3] = table(true);

const fn table(of_owners: bool) -> [[Bytes; 3]; 3] {
    let mut out = [[[0; LANES]; 3]; 3];
    let mut i = 0;
    while i < 9 {
        let (a, b) = (i / 3, i % 3);
        out[a][b] = if of_owners {
            owners(b, a)
        } else {
            places(a, b)
        };
        i += 1;
    }
    out
}

#[inline(always)]
unsafe fn load(bytes: &Bytes) -> __m128i {
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline(always)]
unsafe fn store(out: &mut Bytes, bytes: __m128i) {
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), bytes) }
}

/// Three vectors, each byte of which is 0 in all but one after its shuffle, put together.
#[inline(always)]
unsafe fn picked(from: [__m128i; 3], shuffles: &[Bytes; 3]) -> Bytes {
    let mut out = [0; LANES];
    unsafe {
        let a = _mm_shuffle_epi8(from[0], load(&shuffles[0]));
        let b = _mm_shuffle_epi8(from[1], load(&shuffles[1]));
        let c = _mm_shuffle_epi8(from[2], load(&shuffles[2]));
        store(&mut out, _mm_or_si128(_mm_or_si128(a, b), c));
    }
    out
}

#[inline(always)]
pub(super) unsafe fn part(pixels: &Pixels) -> [Bytes; 3] {
    unsafe {
        let (thirds, _) = pixels.as_flattened().as_chunks::<LANES>();
        let from = [load(&thirds[0]), load(&thirds[1]), load(&thirds[2])];
        // No closures in here: they would be functions without the instructions.
        [
            picked(from, &PLACES[0]),
            picked(from, &PLACES[1]),
            picked(from, &PLACES[2]),
        ]
    }
}

#[inline(always)]
pub(super) unsafe fn interleave(colours: [&Bytes; 3]) -> Pixels {
    let mut pixels = [[0; 3]; LANES];
    unsafe {
        let from = [load(colours[0]), load(colours[1]), load(colours[2])];
        let (thirds, _) = pixels.as_flattened_mut().as_chunks_mut::<LANES>();
        for (third, owners) in thirds.iter_mut().zip(&OWNERS) {
            *third = picked(from, owners);
        }
    }
    pixels
}

/// Four rows in a register: first squares of four by four bytes are transposed within each, then numbers of four
/// bytes between them.
#[inline(always)]
pub(super) unsafe fn transpose(square: &Square, out: &mut Square) {
    unsafe {
        let quarters = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let within = _mm512_broadcast_i32x4(_mm_setr_epi8(
            0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
        ));
        // Sixteen bytes each of columns 0 to 3, 4 to 7, and so on, of these four rows.
        let a = rows(square, 0, quarters, within);
        let b = rows(square, 4, quarters, within);
        let c = rows(square, 8, quarters, within);
        let d = rows(square, 12, quarters, within);
        let (ab0, ab1) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd0, cd1) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        // Columns i, i + 4, i + 8, i + 12.
        spread(out, 0, _mm512_unpacklo_epi64(ab0, cd0));
        spread(out, 1, _mm512_unpackhi_epi64(ab0, cd0));
        spread(out, 2, _mm512_unpacklo_epi64(ab1, cd1));
        spread(out, 3, _mm512_unpackhi_epi64(ab1, cd1));
    }
}

#[inline(always)]
unsafe fn rows(square: &Square, first: usize, quarters: __m512i, within: __m512i) -> __m512i {
    unsafe {
        let low = _mm256_set_m128i(load(&square[first + 1]), load(&square[first]));
        let high = _mm256_set_m128i(load(&square[first + 3]), load(&square[first + 2]));
        let rows = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
        _mm512_shuffle_epi8(_mm512_permutexvar_epi32(quarters, rows), within)
    }
}

#[inline(always)]
unsafe fn spread(out: &mut Square, first: usize, columns: __m512i) {
    unsafe {
        store(&mut out[first], _mm512_castsi512_si128(columns));
        store(&mut out[first + 4], _mm512_extracti32x4_epi32::<1>(columns));
        store(&mut out[first + 8], _mm512_extracti32x4_epi32::<2>(columns));
        store(
            &mut out[first + 12],
            _mm512_extracti32x4_epi32::<3>(columns),
        );
    }
}

/// Four shifted additions: sums of two, four, eight and sixteen.
#[inline(always)]
pub(super) unsafe fn running_sum(values: &Bytes, before: u8) -> Bytes {
    let mut out = [0; LANES];
    unsafe {
        let sums = load(values);
        let sums = _mm_add_epi8(sums, _mm_slli_si128::<1>(sums));
        let sums = _mm_add_epi8(sums, _mm_slli_si128::<2>(sums));
        let sums = _mm_add_epi8(sums, _mm_slli_si128::<4>(sums));
        let sums = _mm_add_epi8(sums, _mm_slli_si128::<8>(sums));
        let sums = _mm_add_epi8(sums, _mm_set1_epi8(before as i8));
        store(&mut out, sums);
    }
    out
}
