//! Sixteen numbers at a time: one AVX-512 register, two AVX2 registers, or an array that the compiler vectorises.
//!
//! For kernels that [`multiversion!`] does not serve, because they keep values in registers over branches and
//! mix bytes with floats. Such a kernel is written once over [`Lanes`]; [`on_lanes!`] compiles it for each
//! instruction set and picks at run time.

/// How many.
pub(crate) const LANES: usize = 16;

/// Sixteen bytes.
pub(crate) type Bytes = [u8; LANES];
/// Sixteen pixels of red, green and blue.
pub(crate) type Pixels = [[u8; 3]; LANES];

/// Sixteen rows of sixteen bytes.
pub(crate) type Square = [Bytes; LANES];

/// Sixteen `f32`, and what is done to sixteen bytes.
///
/// The functions of the vector implementations may only run where the CPU has the instructions, which
/// [`on_lanes!`] sees to: nothing else names the implementations.
pub(crate) trait Lanes: Copy {
    fn splat(v: f32) -> Self;
    fn load(v: &[f32; LANES]) -> Self;
    fn store(self, out: &mut [f32; LANES]);
    fn from_bytes(v: &[u8; LANES]) -> Self;
    /// To the nearest integers within 0 to 255, halves to even.
    fn to_bytes(self) -> [u8; LANES];
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    /// `self * b + c`, in one instruction where there is one.
    fn mul_add(self, b: Self, c: Self) -> Self;
    fn min(self, b: Self) -> Self;
    fn max(self, b: Self) -> Self;
    fn floor(self) -> Self;
    /// `a` where `self < b`, elsewhere `c`.
    fn less_than(self, b: Self, a: Self, c: Self) -> Self;
    /// Red, green and blue of pixels.
    fn part(pixels: &Pixels) -> [Bytes; 3];
    /// Pixels of red, green and blue.
    fn interleave(colours: [&Bytes; 3]) -> Pixels;
    /// The sum, modulo 256, of `before` and the values up to each.
    fn running_sum(values: &Bytes, before: u8) -> Bytes;
    /// Rows as columns: four perfect shuffles of the rows, each of which moves a bit of a byte's row number to its
    /// column number.
    #[inline(always)]
    fn transpose(square: &Square, out: &mut Square) {
        *out = shuffle(&shuffle(&shuffle(&shuffle(square))));
    }
}

/// Interleaves each of the upper eight rows with the one eight below; compilers make it two instructions a pair.
#[inline(always)]
fn shuffle(square: &Square) -> Square {
    let mut out = [[0; LANES]; LANES];
    for i in 0..8 {
        for j in 0..8 {
            out[2 * i][2 * j] = square[i][j];
            out[2 * i][2 * j + 1] = square[i + 8][j];
            out[2 * i + 1][2 * j] = square[i][j + 8];
            out[2 * i + 1][2 * j + 1] = square[i + 8][j + 8];
        }
    }
    out
}

/// The form for any CPU.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; LANES]);

impl Portable {
    #[inline(always)]
    fn each(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

impl Lanes for Portable {
    #[inline(always)]
    fn splat(v: f32) -> Self {
        Self([v; LANES])
    }
    #[inline(always)]
    fn load(v: &[f32; LANES]) -> Self {
        Self(*v)
    }
    #[inline(always)]
    fn store(self, out: &mut [f32; LANES]) {
        *out = self.0;
    }
    #[inline(always)]
    fn from_bytes(v: &[u8; LANES]) -> Self {
        Self(v.map(f32::from))
    }
    #[inline(always)]
    fn to_bytes(self) -> [u8; LANES] {
        // Adding 2^23 rounds to the nearest integer and leaves it in the low bits of the mantissa.
        const ROUND: f32 = 8_388_608.0;
        let bounded = self.min(Self::splat(255.0)).max(Self::splat(0.0));
        bounded.0.map(|v| (v + ROUND).to_bits() as u8)
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        self.each(b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        self.each(b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        self.each(b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        self.each(b, |a, b| a / b)
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        use crate::simd::{Arithmetic, Baseline};
        Self(std::array::from_fn(|i| {
            Baseline::mul_add(self.0[i], b.0[i], c.0[i])
        }))
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        self.each(b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        self.each(b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn floor(self) -> Self {
        // f32::floor is a library call on plain x86-64. What is floored here is far below 2^31.
        Self(self.0.map(|v| {
            let whole = v as i32 as f32;
            if whole > v {
                whole - 1.0
            } else {
                whole
            }
        }))
    }
    #[inline(always)]
    fn less_than(self, b: Self, a: Self, c: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if self.0[i] < b.0[i] {
                a.0[i]
            } else {
                c.0[i]
            }
        }))
    }
    #[inline(always)]
    fn part(pixels: &Pixels) -> [Bytes; 3] {
        std::array::from_fn(|c| pixels.map(|pixel| pixel[c]))
    }
    #[inline(always)]
    fn interleave(colours: [&Bytes; 3]) -> Pixels {
        std::array::from_fn(|i| colours.map(|colour| colour[i]))
    }
    #[inline(always)]
    fn running_sum(values: &Bytes, mut before: u8) -> Bytes {
        values.map(|value| {
            before = before.wrapping_add(value);
            before
        })
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Bytes, Lanes, Pixels, Square, LANES};
    use std::arch::x86_64::*;

    /// AVX-512 F and BW.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    /// AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256, __m256);

    // SAFETY of every block in this module: the instructions exist, because these functions run only where
    // `on_lanes!` found them (see `Lanes`); loads and stores are unaligned and stay within the array they are given.

    impl Lanes for Avx512 {
        #[inline(always)]
        fn splat(v: f32) -> Self {
            Self(unsafe { _mm512_set1_ps(v) })
        }
        #[inline(always)]
        fn load(v: &[f32; LANES]) -> Self {
            Self(unsafe { _mm512_loadu_ps(v.as_ptr()) })
        }
        #[inline(always)]
        fn store(self, out: &mut [f32; LANES]) {
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), self.0) }
        }
        #[inline(always)]
        fn from_bytes(v: &[u8; LANES]) -> Self {
            Self(unsafe {
                let bytes = _mm_loadu_si128(v.as_ptr().cast());
                _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
            })
        }
        #[inline(always)]
        fn to_bytes(self) -> [u8; LANES] {
            let mut out = [0; LANES];
            unsafe {
                // Saturates at 255; only negative values have to be raised first.
                let whole = _mm512_cvtps_epi32(_mm512_max_ps(self.0, _mm512_setzero_ps()));
                _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtusepi32_epi8(whole));
            }
            out
        }
        #[inline(always)]
        fn add(self, b: Self) -> Self {
            Self(unsafe { _mm512_add_ps(self.0, b.0) })
        }
        #[inline(always)]
        fn sub(self, b: Self) -> Self {
            Self(unsafe { _mm512_sub_ps(self.0, b.0) })
        }
        #[inline(always)]
        fn mul(self, b: Self) -> Self {
            Self(unsafe { _mm512_mul_ps(self.0, b.0) })
        }
        #[inline(always)]
        fn div(self, b: Self) -> Self {
            Self(unsafe { _mm512_div_ps(self.0, b.0) })
        }
        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            Self(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
        }
        #[inline(always)]
        fn min(self, b: Self) -> Self {
            Self(unsafe { _mm512_min_ps(self.0, b.0) })
        }
        #[inline(always)]
        fn max(self, b: Self) -> Self {
            Self(unsafe { _mm512_max_ps(self.0, b.0) })
        }
        #[inline(always)]
        fn floor(self) -> Self {
            Self(unsafe {
                _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(self.0)
            })
        }
        #[inline(always)]
        fn less_than(self, b: Self, a: Self, c: Self) -> Self {
            Self(unsafe {
                _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, b.0), c.0, a.0)
            })
        }
        #[inline(always)]
        fn part(pixels: &Pixels) -> [Bytes; 3] {
            unsafe { part(pixels) }
        }
        #[inline(always)]
        fn interleave(colours: [&Bytes; 3]) -> Pixels {
            unsafe { interleave(colours) }
        }
        #[inline(always)]
        fn running_sum(values: &Bytes, before: u8) -> Bytes {
            unsafe { running_sum(values, before) }
        }
        #[inline(always)]
        fn transpose(square: &Square, out: &mut Square) {
            unsafe { transpose(square, out) }
        }
    }

    impl Lanes for Avx2 {
        #[inline(always)]
        fn splat(v: f32) -> Self {
            let v = unsafe { _mm256_set1_ps(v) };
            Self(v, v)
        }
        #[inline(always)]
        fn load(v: &[f32; LANES]) -> Self {
            unsafe {
                Self(
                    _mm256_loadu_ps(v.as_ptr()),
                    _mm256_loadu_ps(v[LANES / 2..].as_ptr()),
                )
            }
        }
        #[inline(always)]
        fn store(self, out: &mut [f32; LANES]) {
            unsafe {
                _mm256_storeu_ps(out.as_mut_ptr(), self.0);
                _mm256_storeu_ps(out[LANES / 2..].as_mut_ptr(), self.1);
            }
        }
        #[inline(always)]
        fn from_bytes(v: &[u8; LANES]) -> Self {
            unsafe {
                let bytes = _mm_loadu_si128(v.as_ptr().cast());
                let high = _mm_unpackhi_epi64(bytes, bytes);
                Self(
                    _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
                    _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(high)),
                )
            }
        }
        #[inline(always)]
        fn to_bytes(self) -> [u8; LANES] {
            let mut out = [0; LANES];
            unsafe {
                // Packing saturates, to 16 bits with sign and then to 8 without.
                let (low, high) = (_mm256_cvtps_epi32(self.0), _mm256_cvtps_epi32(self.1));
                let words = _mm256_packs_epi32(low, high);
                let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
                let (low, high) = (
                    _mm256_castsi256_si128(words),
                    _mm256_extracti128_si256::<1>(words),
                );
                _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_packus_epi16(low, high));
            }
            out
        }
        #[inline(always)]
        fn add(self, b: Self) -> Self {
            unsafe { Self(_mm256_add_ps(self.0, b.0), _mm256_add_ps(self.1, b.1)) }
        }
        #[inline(always)]
        fn sub(self, b: Self) -> Self {
            unsafe { Self(_mm256_sub_ps(self.0, b.0), _mm256_sub_ps(self.1, b.1)) }
        }
        #[inline(always)]
        fn mul(self, b: Self) -> Self {
            unsafe { Self(_mm256_mul_ps(self.0, b.0), _mm256_mul_ps(self.1, b.1)) }
        }
        #[inline(always)]
        fn div(self, b: Self) -> Self {
            unsafe { Self(_mm256_div_ps(self.0, b.0), _mm256_div_ps(self.1, b.1)) }
        }
        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            unsafe {
                Self(
                    _mm256_fmadd_ps(self.0, b.0, c.0),
                    _mm256_fmadd_ps(self.1, b.1, c.1),
                )
            }
        }
        #[inline(always)]
        fn min(self, b: Self) -> Self {
            unsafe { Self(_mm256_min_ps(self.0, b.0), _mm256_min_ps(self.1, b.1)) }
        }
        #[inline(always)]
        fn max(self, b: Self) -> Self {
            unsafe { Self(_mm256_max_ps(self.0, b.0), _mm256_max_ps(self.1, b.1)) }
        }
        #[inline(always)]
        fn floor(self) -> Self {
            unsafe { Self(_mm256_floor_ps(self.0), _mm256_floor_ps(self.1)) }
        }
        #[inline(always)]
        fn less_than(self, b: Self, a: Self, c: Self) -> Self {
            unsafe {
                Self(
                    _mm256_blendv_ps(c.0, a.0, _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, b.0)),
                    _mm256_blendv_ps(c.1, a.1, _mm256_cmp_ps::<_CMP_LT_OQ>(self.1, b.1)),
                )
            }
        }
        #[inline(always)]
        fn part(pixels: &Pixels) -> [Bytes; 3] {
            unsafe { part(pixels) }
        }
        #[inline(always)]
        fn interleave(colours: [&Bytes; 3]) -> Pixels {
            unsafe { interleave(colours) }
        }
        #[inline(always)]
        fn running_sum(values: &Bytes, before: u8) -> Bytes {
            unsafe { running_sum(values, before) }
        }
    }

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
    unsafe fn part(pixels: &Pixels) -> [Bytes; 3] {
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
    unsafe fn interleave(colours: [&Bytes; 3]) -> Pixels {
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
    unsafe fn transpose(square: &Square, out: &mut Square) {
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
    unsafe fn running_sum(values: &Bytes, before: u8) -> Bytes {
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
}

/// Compiles a function for each instruction set; the first argument of what it makes is the path to take.
///
/// `fn name<V>(arguments) { body }`: `V` is the [`Lanes`] of the version being compiled. All that the body calls with
/// `V` has to be `#[inline(always)]`.
macro_rules! on_lanes {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident<$V:ident>($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block)*) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(path: $crate::cpu::Path, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body<$V: $crate::lanes::Lanes>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    body::<$crate::lanes::Avx512>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    body::<$crate::lanes::Avx2>($($arg),*)
                }
                assert!(path.is_supported(), "the CPU has no {}", path.name());
                if path >= $crate::cpu::Path::Avx512 {
                    // SAFETY: the path has every feature that avx512 is compiled with, and the CPU supports it.
                    return unsafe { avx512($($arg),*) };
                }
                if path >= $crate::cpu::Path::Avx2 {
                    // SAFETY: as above, for avx2.
                    return unsafe { avx2($($arg),*) };
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = path;
            body::<$crate::lanes::Portable>($($arg),*)
        }
    )*};
}
