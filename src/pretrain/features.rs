//! What an encoder makes of whole pictures: its patch features.

use std::path::Path;

use dfdx::prelude::*;
use image::RgbImage;

use crate::field::{
    Canvas, Filter, Geometry, Grid, Located, Normalisation, Resampler, View, Window,
};
use crate::nn::arch::{self, Arch, WithArch};
use crate::nn::module::Init;
use crate::nn::ops::assemble::Plan;
use crate::nn::vit::{Positions, TokenInput, Vit, VitConfig};
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

/// Patch features of pictures, each resized to a square of `side` pixels, lying in a centred window of the
/// field. `weights` is a pretrained encoder; without it the encoder is fresh, from `seed`.
///
/// # Errors
/// If the weights cannot be read or do not fit.
pub fn patch_features(
    weights: Option<&Path>,
    config: &VitConfig,
    seed: u64,
    pictures: &[RgbImage],
    side: u32,
    window: f64,
) -> Result<Vec<Features>, WeightsError> {
    struct Run<'a>(
        Option<&'a Path>,
        &'a VitConfig,
        u64,
        &'a [RgbImage],
        u32,
        f64,
    );
    impl WithArch for Run<'_> {
        type Output = Result<Vec<Features>, WeightsError>;
        fn run<A: Arch>(self) -> Self::Output {
            features::<A>(self.0, self.1, self.2, self.3, self.4, self.5)
        }
    }
    let run = Run(weights, config, seed, pictures, side, window);
    arch::dispatch(&config.arch, run).unwrap_or_else(|| Ok(Vec::new()))
}

fn features<A: Arch>(
    weights: Option<&Path>,
    config: &VitConfig,
    seed: u64,
    pictures: &[RgbImage],
    side: u32,
    window: f64,
) -> Result<Vec<Features>, WeightsError> {
    let dev = Cpu::default();
    let mut vit = Vit::<A, Cpu>::new(&mut Init::new(&dev, seed), config);
    if let Some(path) = weights {
        StateDict::read(path)?.load_module("", &mut vit, |_| false)?;
    }
    let grid = (side as usize / A::PATCH).max(1);
    let side = (grid * A::PATCH) as u32;
    let cells = Grid::new(grid, grid);
    let plan = Plan::unmasked(Groups::uniform(1, grid * grid + 1));
    let mut resampler = Resampler::default();
    let mut out = Vec::with_capacity(pictures.len());
    for picture in pictures {
        let mut view = View::default();
        let window = Window::centred(window);
        Located::whole(picture, window)
            .resize(
                side,
                side,
                Filter::Bicubic,
                &mut resampler,
                Canvas::default(),
            )
            .cut(A::PATCH, Normalisation::IMAGENET, &mut view);
        let (taps, fixed);
        let positions = match vit.field_side() {
            Some(n) => {
                taps =
                    crate::field::taps(Geometry::whole(window).positions(cells), Grid::new(n, n));
                Positions::Field(&taps)
            }
            None => {
                let mut values = vec![0.0; cells.len() * A::WIDTH];
                let own = Geometry::whole(Window::WHOLE).positions(cells);
                crate::field::sincos::encode(
                    own,
                    (grid as f32, grid as f32),
                    A::WIDTH,
                    &mut values,
                );
                fixed = values;
                Positions::Fixed(&fixed)
            }
        };
        let input = TokenInput {
            patches: view.into_patches(),
            positions,
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
