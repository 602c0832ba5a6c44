//! What an encoder makes of whole pictures: its patch features.

use std::path::Path;

use dfdx::prelude::*;
use image::RgbImage;

use crate::config::ConfigError;
use crate::field::{Canvas, Filter, Located, Normalisation, Resampler, View, Window};
use crate::nn::arch::{self, Arch, WithArch};
use crate::nn::module::Init;
use crate::nn::ops::assemble::Plan;
use crate::nn::positions::WholePicture;
use crate::nn::vit::{TokenInput, Vit, VitConfig};
use crate::nn::weights::{StateDict, WeightsError};
use crate::nn::{Backend, Groups};

/// The features of one picture.
#[derive(Clone, Debug)]
pub struct Features {
    /// `[grid * grid, width]`, raster order.
    pub patches: Vec<f32>,
    /// Patches on a side.
    pub grid: usize,
    /// Width of a feature.
    pub width: usize,
}

/// Why there are no features.
#[derive(Debug, thiserror::Error)]
pub enum FeaturesError {
    /// There is no such network.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights cannot be read or do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// Patch features of pictures, each resized to a square of `side` pixels, lying in a centred window of the
/// field. `weights` is a pretrained encoder; without it the encoder is fresh, from `seed`.
///
/// # Errors
/// As [`FeaturesError`].
pub fn patch_features(
    weights: Option<&Path>,
    config: &VitConfig,
    seed: u64,
    pictures: &[RgbImage],
    side: u32,
    window: f64,
) -> Result<Vec<Features>, FeaturesError> {
    struct Run<'a>(
        Option<&'a Path>,
        &'a VitConfig,
        u64,
        &'a [RgbImage],
        u32,
        f64,
    );
    impl WithArch for Run<'_> {
        type Output = Result<Vec<Features>, FeaturesError>;
        fn run<A: Arch>(self) -> Self::Output {
            features::<A>(self.0, self.1, self.2, self.3, self.4, self.5)
        }
    }
    let run = Run(weights, config, seed, pictures, side, window);
    arch::dispatch(&config.arch, run)?
}

fn features<A: Arch>(
    weights: Option<&Path>,
    config: &VitConfig,
    seed: u64,
    pictures: &[RgbImage],
    side: u32,
    window: f64,
) -> Result<Vec<Features>, FeaturesError> {
    let dev = Cpu::default();
    let mut vit = Vit::<A, Cpu>::new(&mut Init::new(&dev, seed), config);
    if let Some(path) = weights {
        StateDict::read(path)?.load_module("", &mut vit, |_| false)?;
    }
    let grid = (side as usize / A::PATCH).max(1);
    let side = (grid * A::PATCH) as u32;
    let positions = WholePicture::new(&vit, grid, window);
    let plan = Plan::unmasked(Groups::uniform(1, grid * grid + 1));
    let mut resampler = Resampler::default();
    let mut out = Vec::with_capacity(pictures.len());
    for picture in pictures {
        let mut view = View::default();
        Located::whole(picture, Window::centred(window))
            .resize(
                side,
                side,
                Filter::Bicubic,
                &mut resampler,
                Canvas::default(),
            )
            .cut(A::PATCH, Normalisation::IMAGENET, &mut view);
        let input = TokenInput {
            patches: view.into_patches(),
            positions: positions.view(),
            plan: &plan,
        };
        let tokens = Cpu::to_host(&vit.forward(input, None, NoneTape));
        out.push(Features {
            patches: tokens[A::WIDTH..].to_vec(),
            grid,
            width: A::WIDTH,
        });
    }
    Ok(out)
}
