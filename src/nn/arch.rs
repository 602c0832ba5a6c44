//! The static widths of a network, and the list of those we compile.
//!
//! Width and heads are types: a matrix of the wrong width does not compile. Depth, sides of patches and pictures,
//! prototypes and classes are values: they come from a preset or from the user's data, and no shape between two layers
//! depends on them.
//!
//! A network is named by its widths and the side of its patches in pixels: `tiny16`, `base14`.

use dfdx::shapes::ConstDim;

use crate::config::ConfigError;

/// The widths of an encoder.
pub trait Arch: 'static + Copy + Default + std::fmt::Debug + Send + Sync {
    /// D, the width of a token.
    type Width: ConstDim;
    /// D / 2, the width of the finer level of the feature pyramid.
    type Half: ConstDim;
    /// 3 D: query, key and value.
    type Qkv: ConstDim;
    /// 4 D, the hidden width of a block.
    type Mlp: ConstDim;
    /// Attention heads.
    const HEADS: usize;
    /// D.
    const WIDTH: usize = <Self::Width as ConstDim>::SIZE;
}

/// The largest side of a patch in pixels.
const MAX_PATCH: usize = 64;

macro_rules! arches {
    ($($(#[$doc:meta])* $ty:ident = $name:literal { width: $w:literal, heads: $h:literal })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default)]
            pub struct $ty;
            impl Arch for $ty {
                type Width = dfdx::shapes::Const<$w>;
                type Half = dfdx::shapes::Const<{ $w / 2 }>;
                type Qkv = dfdx::shapes::Const<{ $w * 3 }>;
                type Mlp = dfdx::shapes::Const<{ $w * 4 }>;
                const HEADS: usize = $h;
            }
        )*

        /// The names of the widths and their sizes, the smallest first.
        const WIDTHS: &[(&str, usize)] = &[$(($name, $w)),*];

        /// Runs a generic computation for the network named `name`.
        ///
        /// # Errors
        /// If there is none of that name.
        pub fn dispatch<F: WithArch>(name: &str, f: F) -> Result<F::Output, ConfigError> {
            match parse(name) {
                $(Some(($name, _)) => Ok(f.run::<$ty>()),)*
                _ => Err(unknown(name)),
            }
        }
    };
}

/// A computation generic over the network, to be chosen by name at run time.
pub trait WithArch {
    /// What it gives.
    type Output;
    /// Runs it.
    fn run<A: Arch>(self) -> Self::Output;
}

arches! {
    /// ViT-Tiny.
    Tiny = "tiny" { width: 192, heads: 3 }
    /// ViT-Small.
    Small = "small" { width: 384, heads: 6 }
    /// ViT-Base.
    Base = "base" { width: 768, heads: 12 }
}

/// The name of the widths and the side of a patch that a network's name says.
fn parse(name: &str) -> Option<(&str, usize)> {
    let (widths, patch) = name.split_at(name.find(|c: char| c.is_ascii_digit())?);
    // One name for each network.
    let side = patch.parse().ok().filter(|_| !patch.starts_with('0'))?;
    ((1..=MAX_PATCH).contains(&side)).then_some((widths, side))
}

/// Side of a patch in pixels of the network named `name`.
///
/// # Errors
/// If there is none of that name.
pub fn patch(name: &str) -> Result<usize, ConfigError> {
    match parse(name) {
        Some((widths, side)) if WIDTHS.iter().any(|(known, _)| *known == widths) => Ok(side),
        _ => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> ConfigError {
    ConfigError::Invalid {
        key: "model.arch".into(),
        problem: format!("is `{name}`, expected {}", expected()),
    }
}

/// The name of the network with tokens of this width and patches of this side, if it is compiled in.
pub fn named(width: usize, patch: usize) -> Option<String> {
    let (name, _) = WIDTHS.iter().find(|(_, w)| *w == width)?;
    (1..=MAX_PATCH)
        .contains(&patch)
        .then(|| format!("{name}{patch}"))
}

/// What names there are, in words.
pub fn expected() -> String {
    let widths: Vec<String> = WIDTHS
        .iter()
        .map(|(name, w)| format!("`{name}` ({w})"))
        .collect();
    format!(
        "a width, {}, and the pixels of a patch, at most {MAX_PATCH}, such as `tiny16`",
        widths.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Width;
    impl WithArch for Width {
        type Output = usize;
        fn run<A: Arch>(self) -> usize {
            A::WIDTH
        }
    }

    #[test]
    fn a_name_says_widths_and_patch() {
        for (name, width, side) in [("tiny8", 192, 8), ("small14", 384, 14), ("base64", 768, 64)] {
            assert_eq!(patch(name).unwrap(), side);
            assert_eq!(dispatch(name, Width).unwrap(), width);
            assert_eq!(named(width, side).as_deref(), Some(name));
        }
        for wrong in [
            "",
            "tiny",
            "16",
            "tiny0",
            "tiny016",
            "tiny65",
            "tiny16x",
            "huge16",
            "tiny-8",
            "tiny99999999999999999999",
        ] {
            let error = dispatch(wrong, Width).unwrap_err().to_string();
            assert_eq!(patch(wrong).unwrap_err().to_string(), error);
            assert!(
                error.contains(&format!("is `{wrong}`, expected a width, `tiny` (192)")),
                "{error}"
            );
        }
        assert_eq!(
            (named(1024, 16), named(192, 0), named(192, 65)),
            (None, None, None)
        );
    }
}
