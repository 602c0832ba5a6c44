//! Sixteen numbers at a time: one AVX-512 register, two AVX2 registers, or an array that the compiler vectorises.
//!
//! For kernels that [`multiversion!`] does not serve, because they keep values in registers over branches and
//! mix bytes with floats. Such a kernel is written once over [`Lanes`]; [`on_lanes!`] compiles it for each
//! instruction set and picks at run time.

/// How many.
pub(crate) const LANES: usize = 16;

/// Sixteen `f32`.
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
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Lanes, LANES};
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
