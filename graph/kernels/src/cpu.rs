//! Which instruction set the kernels use: found once, and what `INTERTWINE_CPU` may lower it to.

use std::fmt;
use std::sync::OnceLock;

/// The environment variable that forces a path, to test it or to compare it.
pub const VARIABLE: &str = "INTERTWINE_CPU";

/// A set of instructions that the kernels are written for, the slower first; of x86-64, each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// What the compiler makes of plain loops for any CPU of the architecture (NEON on aarch64, too).
    Portable,
    /// NEON with tiles of its own: any aarch64.
    Neon,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX-512 with BF16: products of `bf16` pairs.
    Bf16,
    /// That and AMX with BF16: products of whole tiles.
    Amx,
}

impl Path {
    /// Every path, the slowest first.
    pub const ALL: [Self; 6] = [
        Self::Portable,
        Self::Neon,
        Self::Avx2,
        Self::Avx512,
        Self::Bf16,
        Self::Amx,
    ];

    /// The name in `INTERTWINE_CPU`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Bf16 => "bf16",
            Self::Amx => "amx",
        }
    }

    /// Whether this CPU can run it.
    pub fn is_supported(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            match self {
                Self::Portable => true,
                Self::Neon => false,
                Self::Avx2 => avx2,
                Self::Avx512 => avx512,
                Self::Bf16 => avx512 && is_x86_feature_detected!("avx512bf16"),
                Self::Amx => Self::Bf16.is_supported() && has_amx(),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Portable || cfg!(target_arch = "aarch64") && self == Self::Neon
        }
    }

    /// Whether `bf16` products have instructions of their own here and are faster than `f32`.
    pub fn has_bf16(self) -> bool {
        matches!(self, Self::Bf16 | Self::Amx)
    }
}

/// Whether the CPU has tiles of `bf16` and the system lets this process use them, which it must be asked for.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
fn has_amx() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    // Intel's manual, volume 2A, CPUID: leaf 7, EDX.
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    // Linux, Documentation/arch/x86/xstate.rst.
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const TILE_DATA: libc::c_ulong = 18;
    static GRANTED: OnceLock<bool> = OnceLock::new();
    *GRANTED.get_or_init(|| {
        // Of CPUs that have leaf 7 this asks for nothing else; others answer 0 for the highest leaf below it.
        let found = if __cpuid(0).eax >= 7 {
            __cpuid_count(7, 0).edx
        } else {
            0
        };
        found & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE
            // SAFETY: a system call that takes two numbers and fails where it is not known.
            && unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) } == 0
    })
}

/// Elsewhere nobody has tried how a process asks for them.
#[cfg(all(
    target_arch = "x86_64",
    not(all(target_os = "linux", target_env = "gnu"))
))]
fn has_amx() -> bool {
    false
}

/// `INTERTWINE_CPU` asks for what cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusablePath {
    /// What it says.
    pub found: String,
}

impl fmt::Display for UnusablePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usable = Path::ALL.into_iter().filter(|p| p.is_supported());
        let usable: Vec<_> = usable.map(Path::name).collect();
        write!(
            f,
            "{VARIABLE} is \"{}\"; this CPU can run {}; unset it to use the fastest",
            self.found,
            usable.join(", ")
        )
    }
}

impl std::error::Error for UnusablePath {}

/// The path that `asked` names, or the fastest of this CPU.
fn choose(asked: Option<&str>) -> Result<Path, UnusablePath> {
    let mut supported = Path::ALL.into_iter().filter(|p| p.is_supported());
    let chosen = match asked {
        None | Some("") => supported.next_back(),
        Some(name) => supported.find(|p| p.name() == name),
    };
    chosen.ok_or_else(|| UnusablePath {
        found: asked.unwrap_or_default().to_owned(),
    })
}

/// The path in use, chosen at the first call and the same ever after.
///
/// # Errors
/// If `INTERTWINE_CPU` names no path or one that this CPU cannot run. Programs call this at their start to say so.
pub fn checked_path() -> Result<Path, UnusablePath> {
    static CHOSEN: OnceLock<Result<Path, UnusablePath>> = OnceLock::new();
    CHOSEN
        .get_or_init(|| {
            let asked = std::env::var_os(VARIABLE);
            choose(asked.map(|s| s.to_string_lossy().into_owned()).as_deref())
        })
        .clone()
}

/// As [`checked_path`].
///
/// # Panics
/// Where that is an error.
#[inline]
pub fn path() -> Path {
    static CHOSEN: OnceLock<Path> = OnceLock::new();
    *CHOSEN.get_or_init(|| match checked_path() {
        Ok(path) => path,
        Err(e) => panic!("{e}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_is_the_default_and_any_slower_one_can_be_had() {
        let best = choose(None).unwrap();
        assert!(best.is_supported());
        assert!(Path::ALL
            .into_iter()
            .filter(|p| p.is_supported())
            .all(|p| p <= best));
        assert_eq!(choose(Some("")), Ok(best));
        for path in Path::ALL.into_iter().filter(|p| p.is_supported()) {
            assert_eq!(choose(Some(path.name())), Ok(path));
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_what_there_is() {
        let error = choose(Some("sse9")).unwrap_err().to_string();
        assert!(
            error.contains("\"sse9\"") && error.contains("can run portable"),
            "{error}"
        );
    }
}
