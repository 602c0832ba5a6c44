//! Sixteen numbers at a time: one AVX-512 register, two AVX2 registers, or an array that the compiler vectorises.
//!
//! For kernels that [`multiversion!`] does not serve, because they keep values in registers over branches and
//! mix bytes with floats. Such a kernel is written once over [`Lanes`]; [`on_lanes!`] compiles it for each
//! instruction set and picks at run time.

mod portable;
#[cfg(target_arch = "x86_64")]
mod shuffles;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

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
