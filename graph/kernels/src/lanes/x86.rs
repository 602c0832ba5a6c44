//! AVX-512 and AVX2.

use std::arch::x86_64::*;

use super::{shuffles, Bytes, Lanes, Pixels, Square, LANES};

/// AVX-512 F and BW.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

/// AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256, __m256);

// SAFETY of every block in this module: the instructions exist, because these functions run only where
// `on_lanes!` found them (see `Lanes`); loads and stores are unaligned and stay within the array they are given.

/// What both do with bytes; the registers are SSE's.
macro_rules! shuffles {
    () => {
        #[inline(always)]
        fn part(pixels: &Pixels) -> [Bytes; 3] {
            unsafe { shuffles::part(pixels) }
        }
        #[inline(always)]
        fn interleave(colours: [&Bytes; 3]) -> Pixels {
            unsafe { shuffles::interleave(colours) }
        }
        #[inline(always)]
        fn running_sum(values: &Bytes, before: u8) -> Bytes {
            unsafe { shuffles::running_sum(values, before) }
        }
    };
}

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
    shuffles!();
    #[inline(always)]
    fn transpose(square: &Square, out: &mut Square) {
        unsafe { shuffles::transpose(square, out) }
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
    shuffles!();
}
