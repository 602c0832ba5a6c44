//! The form for any CPU.

use super::{Bytes, Lanes, Pixels, LANES};

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
