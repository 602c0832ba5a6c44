//! The most that a core can multiply and add: the yardstick of the matrix products.

use crate::cpu::{self, Path};
use crate::gemm::Precision;

/// Sums that a loop keeps going: more than the multiply-adds that a core has under way at once.
const SUMS: usize = 24;

/// Floating-point operations of one [`multiply_adds`] round on the path in use, or nothing where the path has no
/// instructions of its own to measure.
pub fn operations(precision: Precision) -> Option<usize> {
    let per_instruction = match (cpu::path(), precision) {
        (Path::Amx, Precision::Bf16) => 2 * 32 * 16 * 16,
        (Path::Bf16, Precision::Bf16) => 2 * 32,
        (Path::Amx | Path::Bf16 | Path::Avx512, _) => 2 * 16,
        (Path::Avx2, _) => 2 * 8,
        (Path::Neon, _) => 2 * 4,
        (Path::Portable, _) => return None,
    };
    Some(per_instruction * SUMS)
}

/// Runs `rounds` rounds of [`SUMS`] independent multiply-adds in registers alone.
pub fn multiply_adds(precision: Precision, rounds: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        let run: unsafe fn(usize) = match (cpu::path(), precision) {
            (Path::Amx, Precision::Bf16) => x86::tiles,
            (Path::Bf16, Precision::Bf16) => x86::pairs,
            (Path::Amx | Path::Bf16 | Path::Avx512, _) => x86::avx512,
            (Path::Avx2, _) => x86::avx2,
            (Path::Portable | Path::Neon, _) => return,
        };
        // SAFETY: the path in use is one that this CPU can run.
        unsafe { run(rounds) };
    }
    #[cfg(target_arch = "aarch64")]
    if cpu::path() == Path::Neon {
        // SAFETY: every aarch64 that Rust's targets know has NEON.
        unsafe { neon(rounds) };
    }
    let _ = (precision, rounds);
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn neon(rounds: usize) {
    use std::arch::aarch64::*;
    let mut sums = [vdupq_n_f32(0.0); SUMS];
    let factor = std::hint::black_box(vdupq_n_f32(0.999));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = vfmaq_f32(*sum, factor, factor);
        }
    }
    std::hint::black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::SUMS;
    use crate::gemm::amx;
    use std::arch::asm;
    use std::arch::x86_64::*;
    use std::hint::black_box;

    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn avx512(rounds: usize) {
        let mut sums = [_mm512_setzero_ps(); SUMS];
        let factor = black_box(_mm512_set1_ps(0.999));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(factor, factor, *sum);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn pairs(rounds: usize) {
        let mut sums = [_mm512_setzero_ps(); SUMS];
        let ones = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1.0), _mm512_set1_ps(1.0));
        let factor = black_box(ones);
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, factor, factor);
            }
        }
        black_box(sums);
    }

    pub(super) unsafe fn tiles(rounds: usize) {
        // SAFETY: the path in use is AMX; whatever the registers hold after their configuration is zero.
        unsafe {
            amx::configure();
            for _ in 0..rounds * SUMS / 4 {
                asm!(
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    options(nostack, nomem, preserves_flags),
                );
            }
            amx::release();
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2(rounds: usize) {
        // Half as many: AVX2 has half the registers.
        let mut sums = [_mm256_setzero_ps(); SUMS / 2];
        let factor = black_box(_mm256_set1_ps(0.999));
        for _ in 0..2 * rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(factor, factor, *sum);
            }
        }
        black_box(sums);
    }
}
