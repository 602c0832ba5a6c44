//! An encoder, whatever network it is: one of ours, from a file or from memory, or a vision transformer under timm's
//! names.

use std::path::Path;

use dfdx::prelude::*;
use image::RgbImage;

use super::ProbeError;
use crate::augment::check;
use crate::field::{Canvas, Filter, Grid, Located, Normalisation, Resampler, Taps, View, Window};
use crate::nn::arch::{self, Arch, WithArch};
use crate::nn::module::Init;
use crate::nn::ops::assemble::Plan;
use crate::nn::stored;
use crate::nn::timm;
use crate::nn::usual::Usual;
use crate::nn::vit::{Positions, TokenInput, Vit, VitConfig};
use crate::nn::weights::StateDict;
use crate::nn::{Backend, Groups};

/// A picture as an encoder is to see it: whole, as a square.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    /// The picture.
    pub picture: &'a RgbImage,
    /// Where it lies in the field, if the encoder has one.
    pub window: Window,
    /// Patches, in raster order, whose position is not told.
    pub masked: Vec<usize>,
}

/// A trained encoder.
pub struct Encoder {
    network: Box<dyn Encode>,
    normalisation: Normalisation,
    usual: Usual,
    stopped_after: Option<u64>,
}

trait Encode: Send + Sync {
    fn width(&self) -> usize;
    fn patch(&self) -> usize;
    /// As [`Encoder::grid`].
    fn grid(&self) -> Option<usize>;
    fn has_field(&self) -> bool;
    fn tokens(&self, shown: &[Shown<'_>], grid: usize, normalisation: Normalisation) -> Vec<f32>;
    fn look(&self, shown: &[Shown<'_>], grid: usize, normalisation: Normalisation) -> Look;
}

/// What an encoder makes of pictures and where it looks.
#[derive(Clone, Debug)]
pub struct Look {
    /// As [`Encoder::tokens`].
    pub tokens: Vec<f32>,
    /// How much CLS attends to each patch in the last block, the mean over heads; `[pictures, grid * grid]`. With what
    /// CLS attends to itself, a picture's values add up to 1.
    pub attention: Vec<f32>,
}

struct Network<A: Arch> {
    vit: Vit<A, Cpu>,
    /// Of the patches of the pictures it was trained on, if they are of a grid.
    positions: Option<timm::Positions>,
}

impl Encoder {
    /// Reads the encoder in a run folder of ours or in a safetensors file, of ours or under timm's names. Files of ours
    /// note how pictures are normalised; for others it is assumed to be as for ImageNet, unless one says
    /// [otherwise](Self::normalised).
    ///
    /// # Errors
    /// If the file cannot be read, or holds no encoder of widths that we have.
    pub fn open(path: &Path) -> Result<Self, ProbeError> {
        let (file, mut dict) = stored::read(path)?;
        let foreign = |what| ProbeError::Foreign {
            path: file.clone(),
            what,
        };
        if let Some((config, normalisation, usual)) =
            stored::notes(&dict.metadata).map_err(foreign)?
        {
            let stopped_after = stored::stopped_after(&dict);
            let encoder = Self::from_weights(&config, &dict, normalisation, usual)?;
            return Ok(Self {
                stopped_after,
                ..encoder
            });
        }
        let (config, positions) = timm::take(&mut dict).map_err(foreign)?;
        Self::load(&config, &dict, Normalisation::IMAGENET, Some(positions))
    }

    /// An encoder of ours with the weights of a dictionary, of pictures that are normalised so and have in common what is `usual`.
    ///
    /// # Errors
    /// If there is no such network, or the weights do not fit it.
    pub fn from_weights(
        config: &VitConfig,
        weights: &StateDict,
        normalisation: Normalisation,
        usual: Usual,
    ) -> Result<Self, ProbeError> {
        let encoder = Self::load(config, weights, normalisation, None)?;
        Ok(Self { usual, ..encoder })
    }

    /// An encoder with random weights, of pictures that are normalised so.
    ///
    /// # Errors
    /// If there is no such network.
    pub fn fresh(
        config: &VitConfig,
        normalisation: Normalisation,
        seed: u64,
    ) -> Result<Self, ProbeError> {
        struct Run<'a>(&'a VitConfig, u64);
        impl WithArch for Run<'_> {
            type Output = Box<dyn Encode>;
            fn run<A: Arch>(self) -> Self::Output {
                let vit = Vit::<A, Cpu>::new(&mut Init::new(&Cpu::default(), self.1), self.0);
                let positions = None;
                Box::new(Network { vit, positions })
            }
        }
        let network = arch::dispatch(&config.arch, Run(config, seed))?;
        Ok(Self {
            network,
            normalisation,
            usual: Usual::default(),
            stopped_after: None,
        })
    }

    fn load(
        config: &VitConfig,
        dict: &StateDict,
        normalisation: Normalisation,
        positions: Option<timm::Positions>,
    ) -> Result<Self, ProbeError> {
        struct Run<'a>(&'a VitConfig, &'a StateDict, Option<timm::Positions>);
        impl WithArch for Run<'_> {
            type Output = Result<Box<dyn Encode>, ProbeError>;
            fn run<A: Arch>(self) -> Self::Output {
                let Run(config, dict, positions) = self;
                let mut vit = Vit::<A, Cpu>::new(&mut Init::new(&Cpu::default(), 0), config);
                // timm has no masks; nothing is masked but by the probe of positions.
                let timm = positions.is_some();
                let optional = |name: &str| timm && name.ends_with("mask_token");
                dict.load_module("", &mut vit, optional)?;
                Ok(Box::new(Network { vit, positions }))
            }
        }
        let network = arch::dispatch(&config.arch, Run(config, dict, positions))??;
        Ok(Self {
            network,
            normalisation,
            usual: Usual::default(),
            stopped_after: None,
        })
    }

    /// The same encoder, of pictures that are normalised otherwise than was assumed.
    ///
    /// # Errors
    /// If they cannot be.
    pub fn normalised(self, normalisation: Normalisation) -> Result<Self, ProbeError> {
        check::normalisation(normalisation.mean, normalisation.std)?;
        Ok(Self {
            normalisation,
            ..self
        })
    }

    /// How pictures are normalised.
    pub fn normalisation(&self) -> Normalisation {
        self.normalisation
    }

    /// Whether its file is not one of ours, and so does not say how pictures are normalised.
    pub fn is_foreign(&self) -> bool {
        // Ours have a field, or positions of every grid.
        self.grid().is_some()
    }

    /// How it has seen pictures, as far as its file says.
    pub fn usual(&self) -> Usual {
        self.usual
    }

    /// Steps of its pretraining, if that has not ended.
    pub fn stopped_after(&self) -> Option<u64> {
        self.stopped_after
    }

    /// Values of a token.
    pub fn width(&self) -> usize {
        self.network.width()
    }

    /// Side of a patch in pixels.
    pub fn patch(&self) -> usize {
        self.network.patch()
    }

    /// Patches on a side of the pictures it was trained on, if its positions are those of their patches: for other grids they
    /// are resampled. None for an encoder whose positions are of no grid.
    pub fn grid(&self) -> Option<usize> {
        self.network.grid()
    }

    /// Whether its positions are a field, in which pictures can lie in different windows.
    pub fn has_field(&self) -> bool {
        self.network.has_field()
    }

    /// The tokens after the last norm, `[pictures, 1 + grid * grid, width]`, CLS first. Each picture is resized to a
    /// square of `grid` patches a side.
    ///
    /// # Panics
    /// If there are no patches.
    pub fn tokens(&self, shown: &[Shown<'_>], grid: usize) -> Vec<f32> {
        assert!(grid > 0);
        self.network.tokens(shown, grid, self.normalisation)
    }

    /// As [`tokens`](Self::tokens), with what CLS attends to.
    ///
    /// # Panics
    /// If there are no patches.
    pub fn look(&self, shown: &[Shown<'_>], grid: usize) -> Look {
        assert!(grid > 0);
        self.network.look(shown, grid, self.normalisation)
    }
}

impl<A: Arch> Encode for Network<A> {
    fn width(&self) -> usize {
        A::WIDTH
    }
    fn patch(&self) -> usize {
        self.vit.patch()
    }
    fn grid(&self) -> Option<usize> {
        Some(self.positions.as_ref()?.grid)
    }
    fn has_field(&self) -> bool {
        self.vit.encoding.is_field()
    }

    fn tokens(&self, shown: &[Shown<'_>], grid: usize, normalisation: Normalisation) -> Vec<f32> {
        self.show(shown, grid, normalisation, |input| {
            Cpu::to_host(&self.vit.forward(input, None, NoneTape))
        })
    }

    fn look(&self, shown: &[Shown<'_>], grid: usize, normalisation: Normalisation) -> Look {
        self.show(shown, grid, normalisation, |input| {
            let (tokens, attention) = self.vit.forward_attending(input);
            let of_patches = attention.chunks_exact(grid * grid + 1);
            Look {
                tokens: Cpu::to_host(&tokens),
                attention: of_patches.flat_map(|row| &row[1..]).copied().collect(),
            }
        })
    }
}

impl<A: Arch> Network<A> {
    /// Hands the pictures to `see` as the network takes them.
    fn show<R>(
        &self,
        shown: &[Shown<'_>],
        grid: usize,
        normalisation: Normalisation,
        see: impl FnOnce(TokenInput<'_>) -> R,
    ) -> R {
        let patch = self.vit.patch();
        let side = (grid * patch) as u32;
        let own = self.positions.as_ref().map(|own| own.resampled(grid));
        let square = Grid::new(grid, grid);
        let mut resampler = Resampler::default();
        let (mut canvas, mut view) = (Canvas::default(), View::default());
        let (mut patches, mut taps, mut fixed) = (Vec::new(), Taps::default(), Vec::new());
        let mut plan = Plan::unmasked(Groups::uniform(shown.len(), grid * grid + 1));
        for (i, shown) in shown.iter().enumerate() {
            let located = Located::whole(shown.picture, shown.window);
            let resized = located.resize(side, side, Filter::Bicubic, &mut resampler, canvas);
            resized.cut(patch, normalisation, &mut view);
            canvas = resized.into_canvas();
            patches.extend_from_slice(view.patches());
            match (self.vit.encoding.learned(), &own) {
                (Some(field), _) => view.taps(Grid::new(field, field), &mut taps),
                (None, Some(own)) => fixed.extend_from_slice(&own.values),
                (None, None) => {
                    let place = view.geometry();
                    self.vit
                        .encoding
                        .append(place, square, square, A::WIDTH, &mut fixed);
                }
            }
            for &patch in &shown.masked {
                plan.position_masked[i * grid * grid + patch] = true;
            }
        }
        let positions = match self.vit.encoding.learned() {
            Some(_) => Positions::Field(&taps),
            None => Positions::Fixed(&fixed),
        };
        see(TokenInput {
            patches: patches.into(),
            positions,
            plan: &plan,
        })
    }
}
