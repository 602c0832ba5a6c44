//! The detector: encoder, simple feature pyramid (ViTDet) and a head of RTMDet's form. The same network
//! as [`crate::export::detector`], here with gradients; names and shapes are those of
//! [`crate::export::DetectorSpec::weights`].
//!
//! Feature maps are rows (NHWC): a 1x1 convolution is a linear layer, a norm over channels a layer norm.

use dfdx::prelude::*;

use crate::export::DetectorSpec;
use crate::module;
use crate::nn::arch::Arch;
use crate::nn::backend::{Activation, Maps};
use crate::nn::module::{join, Init, Kind, Visit, VisitMut};
use crate::nn::ops::assemble::Plan;
use crate::nn::vit::{DropPath, LayerNorm, Positions, TokenInput, Vit};
use crate::nn::{Backend, Groups, Matrix, Module, Rows, Vector};

/// A 1x1 convolution.
#[derive(Clone, Debug)]
pub struct Pointwise<C: Dim, D: Backend> {
    /// `[out, in]`.
    pub weight: Matrix<usize, C, D>,
    /// `[out]`.
    pub bias: Vector<usize, D>,
}
module!([C: Dim, D: Backend] Pointwise<C, D> { weight as Kind::Conv { side: 1 }, bias });

impl<C: Dim, D: Backend> Pointwise<C, D> {
    fn new(init: &mut Init<D>, inp: C, out: usize, std: f32) -> Self {
        Self {
            weight: init.trunc_normal((out, inp), std),
            bias: init.zeros((out,)),
        }
    }
    fn forward<T: Tape<f32, D>>(&self, x: Rows<C, D, T>) -> Rows<usize, D, T> {
        D::linear(x, &self.weight, Some(&self.bias))
    }
}

/// A 3x3 convolution.
#[derive(Clone, Debug)]
pub struct Conv<D: Backend> {
    /// `[out, (ky, kx, in)]`.
    pub weight: Matrix<usize, usize, D>,
    /// `[out]`.
    pub bias: Vector<usize, D>,
}
module!([D: Backend] Conv<D> { weight as Kind::Conv { side: 3 }, bias });

impl<D: Backend> Conv<D> {
    /// Kaiming's deviation for a rectifier.
    fn new(init: &mut Init<D>, channels: usize) -> Self {
        Self::with_std(
            init,
            channels,
            channels,
            (2.0 / (9 * channels) as f32).sqrt(),
        )
    }
    fn with_std(init: &mut Init<D>, inp: usize, out: usize, std: f32) -> Self {
        Self {
            weight: init.trunc_normal((out, 9 * inp), std),
            bias: init.zeros((out,)),
        }
    }
    fn forward<T: Tape<f32, D>>(&self, x: Rows<usize, D, T>, maps: Maps) -> Rows<usize, D, T> {
        D::conv3x3(x, &self.weight, Some(&self.bias), maps)
    }
}

/// A 2x2 transposed convolution of stride 2.
#[derive(Clone, Debug)]
pub struct Deconv<C: Dim, O: Dim, D: Backend> {
    /// `[(dy, dx, out), in]`.
    pub weight: Matrix<usize, C, D>,
    /// `[out]`.
    pub bias: Vector<O, D>,
}
module!([C: Dim, O: Dim, D: Backend] Deconv<C, O, D> { weight as Kind::Deconv2x2, bias });

impl<C: Dim, O: Dim, D: Backend> Deconv<C, O, D> {
    fn new(init: &mut Init<D>, inp: C, out: O) -> Self {
        let std = (2.0 / inp.size() as f32).sqrt();
        Self {
            weight: init.trunc_normal((4 * out.size(), inp), std),
            bias: init.zeros((out,)),
        }
    }
    /// `[b*h*w, in] -> [b*2h*2w, out]`: a linear layer to four locations each, then their order.
    fn forward<T: Tape<f32, D>>(&self, x: Rows<C, D, T>, maps: Maps) -> Rows<O, D, T> {
        let out = self.bias.shape().0;
        let (x, tape) = x.split_tape();
        let bias = self.bias.clone().put_tape(tape).reshape_like(&(1, out));
        let (bias, tape) = D::gather_rows(bias, &[0; 4])
            .reshape_like(&(4 * out.size(),))
            .split_tape();
        let y = D::linear(x.put_tape(tape), &self.weight, Some(&bias));
        let y = y.reshape_like(&(4 * maps.rows(), out));
        let (h, w) = (maps.height, maps.width);
        let index: Vec<u32> = (0..4 * maps.rows())
            .map(|i| {
                let (b, y, x) = (i / (4 * h * w), i / (2 * w) % (2 * h), i % (2 * w));
                (((b * h + y / 2) * w + x / 2) * 4 + y % 2 * 2 + x % 2) as u32
            })
            .collect();
        D::gather_rows(y, &index)
    }
}

/// What every level ends in: a 1x1 convolution, its norm, SiLU.
macro_rules! level_tail {
    ($self:ident, $x:expr) => {{
        let x = $self.lateral_norm.forward($self.lateral.forward($x));
        D::activation(x, Activation::Silu)
    }};
}

/// The finest level, twice the resolution of the tokens.
#[derive(Clone, Debug)]
pub struct Up<A: Arch, D: Backend> {
    /// Doubles the resolution.
    pub deconv: Deconv<A::Width, A::Half, D>,
    /// After it.
    pub deconv_norm: LayerNorm<A::Half, D>,
    /// To the pyramid's channels.
    pub lateral: Pointwise<A::Half, D>,
    /// After it.
    pub lateral_norm: LayerNorm<usize, D>,
}
module!([A: Arch, D: Backend] Up<A, D> { deconv, deconv_norm, lateral, lateral_norm });

/// A level of the tokens' resolution or half of it.
#[derive(Clone, Debug)]
pub struct Level<A: Arch, D: Backend> {
    /// To the pyramid's channels.
    pub lateral: Pointwise<A::Width, D>,
    /// After it.
    pub lateral_norm: LayerNorm<usize, D>,
}
module!([A: Arch, D: Backend] Level<A, D> { lateral, lateral_norm });

impl<A: Arch, D: Backend> Level<A, D> {
    fn new(init: &mut Init<D>, channels: usize) -> Self {
        Self {
            lateral: Pointwise::new(
                init,
                A::Width::default(),
                channels,
                (1.0 / A::WIDTH as f32).sqrt(),
            ),
            lateral_norm: LayerNorm::new(init, channels),
        }
    }
}

/// The simple feature pyramid (Li et al. 2022).
///
/// A level ends in SiLU where ViTDet has another 3x3 convolution and its norm: with that, short trainings reach the same
/// loss and find less (docs/results.md), and take longer.
#[derive(Clone, Debug)]
pub struct Pyramid<A: Arch, D: Backend> {
    /// Stride p / 2, if there is such a level.
    pub up: Option<Up<A, D>>,
    /// Stride p.
    pub same: Level<A, D>,
    /// Stride 2 p.
    pub down: Level<A, D>,
}
module!([A: Arch, D: Backend] Pyramid<A, D> { up, same, down });

/// The head: convolutions shared by the levels, norms of their own (Lyu et al. 2022).
///
/// The predictions are 3x3 convolutions, as in FCOS and RetinaNet, where RTMDet has 1x1: short trainings, ours,
/// learn classes far faster with them (from scratch in four epochs of ten classes: AP .25 against .17).
#[derive(Clone, Debug)]
pub struct Head<D: Backend> {
    /// Towards classes.
    pub cls_tower: Vec<Conv<D>>,
    /// Norms of each level after each convolution.
    pub cls_norm: Vec<Vec<LayerNorm<usize, D>>>,
    /// Towards boxes.
    pub reg_tower: Vec<Conv<D>>,
    /// Norms of each level after each convolution.
    pub reg_norm: Vec<Vec<LayerNorm<usize, D>>>,
    /// Class logits.
    pub cls: Conv<D>,
    /// Logarithms of distances.
    pub reg: Conv<D>,
    /// Mask coefficients.
    pub coef: Option<Conv<D>>,
    /// Multiplies each level's distances' logarithms.
    pub scales: Vector<usize, D>,
}
module!([D: Backend] Head<D> { cls_tower, cls_norm, reg_tower, reg_norm, cls, reg, coef, scales });

/// Mask prototypes from the finest level (Bolya et al. 2019).
#[derive(Clone, Debug)]
pub struct Prototypes<D: Backend> {
    /// Two convolutions.
    pub conv: Vec<Conv<D>>,
    /// After each.
    pub norm: Vec<LayerNorm<usize, D>>,
    /// Doubles the resolution where the finest level is coarser than 4 pixels.
    pub deconv: Option<Deconv<usize, usize, D>>,
    /// To the prototypes.
    pub out: Pointwise<usize, D>,
}
module!([D: Backend] Prototypes<D> { conv, norm, deconv, out });

/// The whole detector.
#[derive(Clone, Debug)]
pub struct Detector<A: Arch, D: Backend> {
    /// The encoder; its names stand at the root, as timm has them.
    pub vit: Vit<A, D>,
    /// The pyramid.
    pub fpn: Pyramid<A, D>,
    /// The head.
    pub head: Head<D>,
    /// Masks, if the data have any.
    pub proto: Option<Prototypes<D>>,
}

impl<A: Arch, D: Backend> Module<D> for Detector<A, D> {
    fn walk<'a>(&'a self, path: &str, visit: Visit<'_, 'a, D>) {
        self.vit.walk(path, visit);
        self.fpn.walk(&join(path, "fpn"), visit);
        self.head.walk(&join(path, "head"), visit);
        self.proto.walk(&join(path, "proto"), visit);
    }
    fn walk_mut<'a>(&'a mut self, path: &str, visit: VisitMut<'_, 'a, D>) {
        self.vit.walk_mut(path, visit);
        self.fpn.walk_mut(&join(path, "fpn"), visit);
        self.head.walk_mut(&join(path, "head"), visit);
        self.proto.walk_mut(&join(path, "proto"), visit);
    }
}

/// What the network says of a batch, before the sigmoid, the exponential and the tanh. Level after level;
/// rows are picture after picture, row-major.
#[derive(Clone, Debug)]
pub struct Outputs<D: Backend> {
    /// `[b*h*w, classes]` of each level.
    pub logits: Vec<Rows<usize, D>>,
    /// `[b*h*w, 4]` of each level: logarithms of the distances in strides.
    pub distances: Vec<Rows<usize, D>>,
    /// `[b*h*w, prototypes]` of each level; empty without masks.
    pub coefficients: Vec<Rows<usize, D>>,
    /// `[b*side*side, prototypes]`.
    pub prototypes: Option<Rows<usize, D>>,
}

impl<A: Arch, D: Backend> Detector<A, D> {
    /// A fresh pyramid and head on an encoder.
    pub fn new(init: &mut Init<D>, vit: Vit<A, D>, spec: &DetectorSpec) -> Self {
        let f = spec.channels;
        let half = A::Half::default();
        let up = spec.fine.then(|| Up {
            deconv: Deconv::new(init, A::Width::default(), half),
            deconv_norm: LayerNorm::new(init, half),
            lateral: Pointwise::new(init, half, f, (1.0 / half.size() as f32).sqrt()),
            lateral_norm: LayerNorm::new(init, f),
        });
        let levels = spec.levels().len();
        let fpn = Pyramid {
            up,
            same: Level::new(init, f),
            down: Level::new(init, f),
        };
        let convs =
            |init: &mut Init<D>, n: usize| (0..n).map(|_| Conv::new(init, f)).collect::<Vec<_>>();
        let norms = |init: &mut Init<D>, n: usize| {
            (0..n).map(|_| LayerNorm::new(init, f)).collect::<Vec<_>>()
        };
        let towers = |init: &mut Init<D>| {
            (
                convs(init, spec.tower_convs),
                (0..levels).map(|_| norms(init, spec.tower_convs)).collect(),
            )
        };
        let (cls_tower, cls_norm) = towers(init);
        let (reg_tower, reg_norm) = towers(init);
        let mut cls = Conv::with_std(init, f, spec.classes, 0.01);
        // Every score starts at 1 %, or the many empty anchors would drown the objects (Lin et al. 2017).
        cls.bias = init.constant((spec.classes,), -(99f32.ln()));
        let head = Head {
            cls_tower,
            cls_norm,
            reg_tower,
            reg_norm,
            cls,
            reg: Conv::with_std(init, f, 4, 0.01),
            coef: (spec.prototypes > 0).then(|| Conv::with_std(init, f, spec.prototypes, 0.02)),
            scales: init.constant((levels,), 1.0),
        };
        let proto = (spec.prototypes > 0).then(|| Prototypes {
            conv: convs(init, 2),
            norm: norms(init, 2),
            deconv: spec.prototypes_upsampled().then(|| Deconv::new(init, f, f)),
            out: Pointwise::new(init, f, spec.prototypes, (1.0 / f as f32).sqrt()),
        });
        Self {
            vit,
            fpn,
            head,
            proto,
        }
    }

    /// Outputs for `batch` pictures of `grid x grid` patches, and the tape.
    pub fn forward<T: Tape<f32, D>>(
        &self,
        patches: Vec<f32>,
        positions: Positions<'_>,
        batch: usize,
        grid: usize,
        drop_path: Option<DropPath>,
        tape: T,
    ) -> (Outputs<D>, T) {
        let plan = Plan::unmasked(Groups::uniform(batch, grid * grid + 1));
        let input = TokenInput {
            patches: patches.into(),
            positions,
            plan: &plan,
        };
        let (tokens, tape) = self.vit.forward(input, drop_path, tape).split_tape();
        // Without CLS, the tokens are a map.
        let cells: Vec<u32> = plan
            .groups
            .starts()
            .flat_map(|(start, len)| start as u32 + 1..(start + len) as u32)
            .collect();
        let (map, tape) = D::gather_rows(tokens.put_tape(tape), &cells).split_tape();

        let maps = |side: usize| Maps {
            batch,
            height: side,
            width: side,
        };
        let (same, fine, coarse) = (maps(grid), maps(2 * grid), maps(grid / 2));
        let (mut levels, mut tape) = (Vec::new(), tape);
        if let Some(up) = &self.fpn.up {
            let x = up.deconv.forward(map.clone().put_tape(tape), same);
            let x = D::activation(up.deconv_norm.forward(x), Activation::Gelu);
            let (x, t) = level_tail!(up, x).split_tape();
            levels.push((x, fine));
            tape = t;
        }
        let level = &self.fpn.same;
        let (x, tape) = level_tail!(level, map.clone().put_tape(tape)).split_tape();
        levels.push((x, same));
        let level = &self.fpn.down;
        let x = max_pool(map.put_tape(tape), same);
        let (x, mut tape) = level_tail!(level, x).split_tape();
        levels.push((x, coarse));

        let mut outputs = Outputs {
            logits: vec![],
            distances: vec![],
            coefficients: vec![],
            prototypes: None,
        };
        let head = &self.head;
        let count = levels.len();
        let (finest, finest_maps) = levels[0].clone();
        for (l, (x, maps)) in levels.into_iter().enumerate() {
            let mut c = x.clone().put_tape(tape);
            for (conv, norm) in head.cls_tower.iter().zip(&head.cls_norm[l]) {
                c = D::activation(norm.forward(conv.forward(c, maps)), Activation::Silu);
            }
            let (logits, t) = head.cls.forward(c, maps).split_tape();
            let mut r = x.put_tape(t);
            for (conv, norm) in head.reg_tower.iter().zip(&head.reg_norm[l]) {
                r = D::activation(norm.forward(conv.forward(r, maps)), Activation::Silu);
            }
            let (r, t) = r.split_tape();
            let (scale, t) = D::gather_rows(
                head.scales.clone().put_tape(t).reshape_like(&(count, 1)),
                &[l as u32],
            )
            .split_tape();
            let distances = head.reg.forward(r.clone().put_tape(t), maps);
            let shape = *distances.shape();
            // The scale's row, once for each location and side.
            let (distances, t) = distances.split_tape();
            let scale =
                D::gather_rows(scale.put_tape(t), &vec![0; 4 * shape.0]).reshape_like(&shape);
            let (distances, t) = (scale * distances).split_tape();
            tape = t;
            if let Some(coef) = &head.coef {
                let (coefficients, t) = coef.forward(r.put_tape(tape), maps).split_tape();
                tape = t;
                outputs.coefficients.push(coefficients);
            }
            outputs.logits.push(logits);
            outputs.distances.push(distances);
        }
        if let Some(proto) = &self.proto {
            let mut x = finest.put_tape(tape);
            for (conv, norm) in proto.conv.iter().zip(&proto.norm) {
                let y = norm.forward(conv.forward(x, finest_maps));
                x = D::activation(y, Activation::Silu);
            }
            if let Some(deconv) = &proto.deconv {
                x = D::activation(deconv.forward(x, finest_maps), Activation::Silu);
            }
            let (prototypes, t) = proto.out.forward(x).split_tape();
            tape = t;
            outputs.prototypes = Some(prototypes);
        }
        (outputs, tape)
    }
}

/// 2x2 max-pool of stride 2; an odd last row or column is left out.
fn max_pool<C: Dim, D: Backend, T: Tape<f32, D>>(x: Rows<C, D, T>, maps: Maps) -> Rows<C, D, T> {
    let (h, w) = (maps.height / 2, maps.width / 2);
    let corner = |dy: usize, dx: usize| -> Vec<u32> {
        (0..maps.batch * h * w)
            .map(|i| {
                let (b, y, x) = (i / (h * w), i / w % h, i % w);
                ((b * maps.height + 2 * y + dy) * maps.width + 2 * x + dx) as u32
            })
            .collect()
    };
    let (x, mut tape) = x.split_tape();
    let mut best: Option<Rows<C, D>> = None;
    for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let here = D::gather_rows(x.clone().put_tape(tape), &corner(dy, dx));
        let (value, t) = match best {
            None => here,
            Some(before) => here.maximum(before),
        }
        .split_tape();
        (best, tape) = (Some(value), t);
    }
    best.expect("four corners").put_tape(tape)
}
