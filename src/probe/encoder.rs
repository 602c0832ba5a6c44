//! An encoder, whatever network it is: one of ours, from a file or from memory, or a vision transformer under timm's
//! names.

use std::path::Path;

use dfdx::prelude::*;
use image::RgbImage;

use super::ProbeError;
use crate::field::{Canvas, Filter, Grid, Located, Normalisation, Resampler, Taps, View, Window};
use crate::nn::arch::{self, Arch, WithArch};
use crate::nn::module::Init;
use crate::nn::ops::assemble::Plan;
use crate::nn::timm;
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
}

trait Encode: Send + Sync {
    fn width(&self) -> usize;
    fn patch(&self) -> usize;
    /// Patches on a side, if the positions are of no other.
    fn grid(&self) -> Option<usize>;
    fn has_field(&self) -> bool;
    fn tokens(&self, shown: &[Shown<'_>], grid: usize) -> Vec<f32>;
    fn look(&self, shown: &[Shown<'_>], grid: usize) -> Look;
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
    /// A position for each patch of a fixed grid, `[grid * grid, width]`.
    positions: Option<Vec<f32>>,
}

impl Encoder {
    /// Reads the encoder in a run folder of ours or in a safetensors file, of ours or under timm's names.
    ///
    /// # Errors
    /// If the file cannot be read, or holds no encoder of widths that we have.
    pub fn open(path: &Path) -> Result<Self, ProbeError> {
        let file = if path.is_dir() {
            path.join("model.safetensors")
        } else {
            path.to_owned()
        };
        let mut dict = StateDict::read(&file)?;
        if let Some(model) = dict.metadata.get("model") {
            let config = toml::from_str(model).map_err(|e| ProbeError::Foreign {
                path: file.clone(),
                what: format!("its note `model` is no encoder's config: {e}"),
            })?;
            return Self::load(&config, &dict, None);
        }
        let foreign = |what| ProbeError::Foreign {
            path: file.clone(),
            what,
        };
        let config = timm::config(&dict).map_err(foreign)?;
        let positions = timm::take_positions(&mut dict).map_err(foreign)?;
        Self::load(&config, &dict, Some(positions))
    }

    /// An encoder of ours with the weights of a dictionary.
    ///
    /// # Errors
    /// If there is no such network, or the weights do not fit it.
    pub fn from_weights(config: &VitConfig, weights: &StateDict) -> Result<Self, ProbeError> {
        Self::load(config, weights, None)
    }

    /// An encoder with random weights.
    ///
    /// # Errors
    /// If there is no such network.
    pub fn fresh(config: &VitConfig, seed: u64) -> Result<Self, ProbeError> {
        struct Run<'a>(&'a VitConfig, u64);
        impl WithArch for Run<'_> {
            type Output = Encoder;
            fn run<A: Arch>(self) -> Encoder {
                let vit = Vit::<A, Cpu>::new(&mut Init::new(&Cpu::default(), self.1), self.0);
                Encoder::of(vit, None)
            }
        }
        Ok(arch::dispatch(&config.arch, Run(config, seed))?)
    }

    fn load(
        config: &VitConfig,
        dict: &StateDict,
        positions: Option<Vec<f32>>,
    ) -> Result<Self, ProbeError> {
        struct Run<'a>(&'a VitConfig, &'a StateDict, Option<Vec<f32>>);
        impl WithArch for Run<'_> {
            type Output = Result<Encoder, ProbeError>;
            fn run<A: Arch>(self) -> Self::Output {
                let Run(config, dict, positions) = self;
                let mut vit = Vit::<A, Cpu>::new(&mut Init::new(&Cpu::default(), 0), config);
                // timm has no masks; nothing is masked but by the probe of positions.
                let timm = positions.is_some();
                let optional = |name: &str| timm && name.ends_with("mask_token");
                dict.load_module("", &mut vit, optional)?;
                Ok(Encoder::of(vit, positions))
            }
        }
        arch::dispatch(&config.arch, Run(config, dict, positions))?
    }

    fn of<A: Arch>(vit: Vit<A, Cpu>, positions: Option<Vec<f32>>) -> Self {
        Self {
            network: Box::new(Network { vit, positions }),
        }
    }

    /// Values of a token.
    pub fn width(&self) -> usize {
        self.network.width()
    }

    /// Side of a patch in pixels.
    pub fn patch(&self) -> usize {
        self.network.patch()
    }

    /// Patches on a side, if the encoder knows positions of no other grid.
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
    /// If the grid is not [`Self::grid`], where that is fixed.
    pub fn tokens(&self, shown: &[Shown<'_>], grid: usize) -> Vec<f32> {
        assert!(grid > 0 && self.grid().is_none_or(|own| own == grid));
        self.network.tokens(shown, grid)
    }

    /// As [`tokens`](Self::tokens), with what CLS attends to.
    ///
    /// # Panics
    /// If the grid is not [`Self::grid`], where that is fixed.
    pub fn look(&self, shown: &[Shown<'_>], grid: usize) -> Look {
        assert!(grid > 0 && self.grid().is_none_or(|own| own == grid));
        self.network.look(shown, grid)
    }
}

impl<A: Arch> Encode for Network<A> {
    fn width(&self) -> usize {
        A::WIDTH
    }
    fn patch(&self) -> usize {
        A::PATCH
    }
    fn grid(&self) -> Option<usize> {
        let positions = self.positions.as_ref()?;
        Some((positions.len() / A::WIDTH).isqrt())
    }
    fn has_field(&self) -> bool {
        self.vit.encoding.is_field()
    }

    fn tokens(&self, shown: &[Shown<'_>], grid: usize) -> Vec<f32> {
        self.show(shown, grid, |input| {
            Cpu::to_host(&self.vit.forward(input, None, NoneTape))
        })
    }

    fn look(&self, shown: &[Shown<'_>], grid: usize) -> Look {
        self.show(shown, grid, |input| {
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
        see: impl FnOnce(TokenInput<'_>) -> R,
    ) -> R {
        let side = (grid * A::PATCH) as u32;
        let mut resampler = Resampler::default();
        let (mut canvas, mut view) = (Canvas::default(), View::default());
        let (mut patches, mut taps, mut fixed) = (Vec::new(), Taps::default(), Vec::new());
        let mut plan = Plan::unmasked(Groups::uniform(shown.len(), grid * grid + 1));
        for (i, shown) in shown.iter().enumerate() {
            let located = Located::whole(shown.picture, shown.window);
            let resized = located.resize(side, side, Filter::Bicubic, &mut resampler, canvas);
            resized.cut(A::PATCH, Normalisation::IMAGENET, &mut view);
            canvas = resized.into_canvas();
            patches.extend_from_slice(view.patches());
            let square = Grid::new(grid, grid);
            match (self.vit.encoding.learned(), &self.positions) {
                (Some(field), _) => view.taps(Grid::new(field, field), &mut taps),
                (None, Some(own)) => fixed.extend_from_slice(own),
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
