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
}

impl Path {
    /// Every path, the slowest first.
    pub const ALL: [Self; 5] = [
        Self::Portable,
        Self::Neon,
        Self::Avx2,
        Self::Avx512,
        Self::Bf16,
    ];

    /// The name in `INTERTWINE_CPU`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Bf16 => "bf16",
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
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Portable || cfg!(target_arch = "aarch64") && self == Self::Neon
        }
    }

    /// Whether `bf16` products have instructions of their own here and are faster than `f32`.
    pub fn has_bf16(self) -> bool {
        self == Self::Bf16
    }
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
