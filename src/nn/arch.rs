//! The static widths of a network, and the list of the networks we compile.
//!
//! Width, heads and patch side are types: a matrix of the wrong width does not compile. Depth, picture
//! size, prototypes and classes are values: they come from a preset or from the user's data, and no
//! shape between two layers depends on them.

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
    /// 3 * patch * patch, the values of a patch.
    type PatchDim: ConstDim;
    /// The name in a config.
    const NAME: &'static str;
    /// Side of a patch in pixels.
    const PATCH: usize;
    /// Attention heads.
    const HEADS: usize;
    /// D.
    const WIDTH: usize = <Self::Width as ConstDim>::SIZE;
}

macro_rules! arches {
    ($($(#[$doc:meta])* $ty:ident = $name:literal { width: $w:literal, heads: $h:literal, patch: $p:literal })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default)]
            pub struct $ty;
            impl Arch for $ty {
                type Width = dfdx::shapes::Const<$w>;
                type Half = dfdx::shapes::Const<{ $w / 2 }>;
                type Qkv = dfdx::shapes::Const<{ $w * 3 }>;
                type Mlp = dfdx::shapes::Const<{ $w * 4 }>;
                type PatchDim = dfdx::shapes::Const<{ 3 * $p * $p }>;
                const NAME: &'static str = $name;
                const PATCH: usize = $p;
                const HEADS: usize = $h;
            }
        )*

        /// The names of the networks, in the order of their size.
        pub const NAMES: &[&str] = &[$($name),*];

        /// The name of the network with tokens of this width and patches of this side.
        pub fn named(width: usize, patch: usize) -> Option<&'static str> {
            $(if (width, patch) == ($w, $p) {
                return Some($name);
            })*
            None
        }

        /// Runs a generic computation for the network named `name`.
        ///
        /// # Errors
        /// If there is none of that name.
        pub fn dispatch<F: WithArch>(name: &str, f: F) -> Result<F::Output, ConfigError> {
            match name {
                $($name => Ok(f.run::<$ty>()),)*
                _ => Err(ConfigError::Invalid {
                    key: "model.arch".into(),
                    problem: format!("is `{name}`, expected one of {}", NAMES.join(", ")),
                }),
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
    /// Tiny width with small patches, for small pictures.
    Tiny8 = "tiny8" { width: 192, heads: 3, patch: 8 }
    /// ViT-Tiny/16.
    Tiny16 = "tiny16" { width: 192, heads: 3, patch: 16 }
    /// ViT-Small/16.
    Small16 = "small16" { width: 384, heads: 6, patch: 16 }
    /// ViT-Base/16.
    Base16 = "base16" { width: 768, heads: 12, patch: 16 }
}
