//! Run-time choice of the instruction set, and the vector-friendly arithmetic that the kernels share.
//!
//! Plain loops compile to SSE2 unless the compiler is told otherwise. [`multiversion!`] compiles one body for
//! AVX-512, AVX2 + FMA and the baseline and picks at run time; the bodies are ordinary loops over slices that
//! the compiler vectorises. Sums keep [`LANES`] partial sums in every version, because the compiler must not
//! reorder floating-point additions itself.

/// Partial sums kept by [`sum`] and [`dot`]: one AVX-512 register, two AVX2 registers.
pub(crate) const LANES: usize = 16;

/// Whether the instruction set multiplies and adds in one instruction.
///
/// `f32::mul_add` is a library call where it does not, which is a hundred times slower than the two operations.
pub(crate) trait Arithmetic {
    /// `a * b + c`.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
}

/// With a fused instruction: one rounding.
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    allow(dead_code)
)]
pub(crate) struct Fused;
/// Without: two roundings.
#[cfg_attr(target_arch = "aarch64", allow(dead_code))]
pub(crate) struct Separate;

impl Arithmetic for Fused {
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

impl Arithmetic for Separate {
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

/// What every target of this architecture has.
#[cfg(target_arch = "aarch64")]
pub(crate) type Baseline = Fused;
/// What every target of this architecture has.
#[cfg(not(target_arch = "aarch64"))]
pub(crate) type Baseline = Separate;

/// Compiles a function for each instruction set and calls the best at run time.
///
/// `fn name<A>(arguments) { body }`: `A` is the [`Arithmetic`] of the version being compiled.
macro_rules! multiversion {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident<$A:ident>($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block)*) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::extra_unused_type_parameters)]
            fn body<$A: $crate::simd::Arithmetic>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    body::<$crate::simd::Fused>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    body::<$crate::simd::Fused>($($arg),*)
                }
                let path = $crate::cpu::path();
                if path >= $crate::cpu::Path::Avx512 {
                    // SAFETY: the path was chosen because the CPU has every feature that avx512 is compiled with.
                    return unsafe { avx512($($arg),*) };
                }
                if path >= $crate::cpu::Path::Avx2 {
                    // SAFETY: as above, for avx2.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body::<$crate::simd::Baseline>($($arg),*)
        }
    )*};
}

/// `e^x`, relative error below 2e-7 on [-87.33, 88.37]; 0 below, infinity above, NaN for NaN.
///
/// Cody and Waite's reduction `x = n ln 2 + r` and the degree-7 polynomial of Cephes' `expf` (Moshier). All
/// straight-line arithmetic, so that a loop over it vectorises.
#[inline(always)]
pub(crate) fn exp<A: Arithmetic>(x: f32) -> f32 {
    const LOWEST: f32 = -87.33;
    // Comparisons, not f32::max and min, which would turn a NaN into a number.
    let clamped = if x > 88.9 { 88.9 } else { x };
    let clamped = if clamped < LOWEST { LOWEST } else { clamped };
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    let shifted = A::mul_add(clamped, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    // ln 2 in two parts, the first of so few bits that its product with n is exact.
    let r = A::mul_add(n, -355.0 / 512.0, clamped);
    let r = A::mul_add(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    p = A::mul_add(p, r, 1.398_199_9e-3);
    p = A::mul_add(p, r, 8.333_452e-3);
    p = A::mul_add(p, r, 4.166_579_6e-2);
    p = A::mul_add(p, r, 1.666_666_5e-1);
    p = A::mul_add(p, r, 0.500_000_1);
    let p = A::mul_add(p, r * r, r) + 1.0;
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let y = p * scale;
    if x < LOWEST {
        0.0
    } else {
        y
    }
}

/// `2^x` to a relative error of 8e-5, where rounding to `bf16` costs up to 4e-3, for `x` in [-126, 0]; below, as at -126.
///
/// `x` is split into an integer and a rest of at most a half, for which the cubic is the minimax polynomial.
#[inline(always)]
pub(crate) fn exp2_for_bf16<A: Arithmetic>(x: f32) -> f32 {
    let x = if x < -126.0 { -126.0 } else { x };
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x + ROUND;
    let f = x - (shifted - ROUND);
    let p = A::mul_add(f, 0.055_171_67, 0.242_611_13);
    let p = A::mul_add(p, f, 0.693_260_97);
    let p = A::mul_add(p, f, 0.999_928_06);
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

/// `sum_i x_i` in [`LANES`] partial sums.
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (l, v) in lanes.iter_mut().zip(chunk) {
            *l += v;
        }
    }
    for (l, v) in lanes.iter_mut().zip(tail) {
        *l += v;
    }
    add_lanes(lanes)
}

/// `sum_i x_i y_i` in [`LANES`] partial sums.
#[inline(always)]
pub(crate) fn dot<A: Arithmetic>(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (xs, x_tail) = x.as_chunks::<LANES>();
    let (ys, y_tail) = y.as_chunks::<LANES>();
    for (x, y) in xs.iter().zip(ys) {
        for i in 0..LANES {
            lanes[i] = A::mul_add(x[i], y[i], lanes[i]);
        }
    }
    for ((l, x), y) in lanes.iter_mut().zip(x_tail).zip(y_tail) {
        *l = A::mul_add(*x, *y, *l);
    }
    add_lanes(lanes)
}

/// The largest element, negative infinity for none. A NaN may be lost.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (l, v) in lanes.iter_mut().zip(chunk) {
            *l = if *v > *l { *v } else { *l };
        }
    }
    let mut m = f32::NEG_INFINITY;
    for v in lanes.iter().chain(tail) {
        m = if *v > m { *v } else { m };
    }
    m
}

/// Adds the lanes as a balanced tree.
#[inline(always)]
pub(crate) fn add_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    multiversion! {
        fn exps<A>(x: &[f32], y: &mut [f32]) {
            for (y, x) in y.iter_mut().zip(x) {
                *y = exp::<A>(*x);
            }
        }
    }

    #[test]
    fn exp_is_within_its_stated_error() {
        let x: Vec<f32> = (0..200_000)
            .map(|i| -87.33 + i as f32 * (175.69 / 200_000.0))
            .collect();
        let mut y = vec![0.0; x.len()];
        exps(&x, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let exact = f64::from(*x).exp();
            let error = (f64::from(*y) - exact).abs() / exact;
            assert!(
                error < 2e-7,
                "exp({x}) = {y}, exact {exact}, relative error {error}"
            );
            let separate = f64::from(exp::<Separate>(*x));
            assert!(
                (separate - exact).abs() / exact < 3e-7,
                "without FMA: exp({x}) = {separate}"
            );
        }
    }

    multiversion! {
        fn exp2s<A>(x: &[f32], y: &mut [f32]) {
            for (y, x) in y.iter_mut().zip(x) {
                *y = exp2_for_bf16::<A>(*x);
            }
        }
    }

    #[test]
    fn exp2_is_within_its_stated_error() {
        let x: Vec<f32> = (0..=200_000)
            .map(|i| i as f32 * (-126.0 / 200_000.0))
            .collect();
        let mut y = vec![0.0; x.len()];
        exp2s(&x, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let exact = f64::from(*x).exp2();
            let error = (f64::from(*y) - exact).abs() / exact;
            assert!(
                error < 8e-5,
                "2^{x} = {y}, exact {exact}, relative error {error}"
            );
        }
        let ends = [-127.0, -1e30, f32::NEG_INFINITY, f32::NAN];
        let mut y = [0.0; 4];
        exp2s(&ends, &mut y);
        assert!(
            y[..3].iter().all(|y| (0.0..2e-38).contains(y)) && y[3].is_nan(),
            "{y:?}"
        );
    }

    #[test]
    fn exp_at_the_ends_of_its_range() {
        let x = [
            f32::NEG_INFINITY,
            -1000.0,
            -88.0,
            0.0,
            89.0,
            1000.0,
            f32::INFINITY,
            f32::NAN,
        ];
        let mut y = [0.5; 8];
        exps(&x, &mut y);
        assert_eq!(
            &y[..7],
            &[
                0.0,
                0.0,
                0.0,
                1.0,
                f32::INFINITY,
                f32::INFINITY,
                f32::INFINITY
            ]
        );
        assert!(y[7].is_nan());
    }

    #[test]
    fn sums_cover_every_tail() {
        for n in 0..70 {
            let x: Vec<f32> = (1..=n).map(|v| v as f32).collect();
            assert_eq!(sum(&x), (n * (n + 1) / 2) as f32);
            let squares = n * (n + 1) * (2 * n + 1) / 6;
            assert_eq!(dot::<Separate>(&x, &x), squares as f32);
            assert_eq!(max(&x), if n == 0 { f32::NEG_INFINITY } else { n as f32 });
        }
    }
}
