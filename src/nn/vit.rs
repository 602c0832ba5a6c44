//! The encoder: a pre-norm vision transformer whose position encoding is a vector field.
//!
//! Parameter names are timm's (`patch_embed.proj.weight`, `blocks.0.attn.qkv.weight`, ..). What timm has
//! not: `pos_field`, `mask_token`, `pos_mask_token`.

use std::borrow::Cow;

use dfdx::prelude::*;
use intertwine_flow::random::{stream, Purpose};
use rand::RngExt;

use super::arch::{self, Arch};
use super::backend::Groups;
use super::module::{Init, Kind};
use super::ops::assemble::{Plan, SpecialTokens};
use super::ops::block::RowScales;
use super::positions::Encoding;
use super::registers::Registers;
use super::{Backend, Matrix, Rows, Vector};
use crate::export::spec::NORM_EPSILON;
use crate::field::{sincos, Grid, Taps};
use crate::module;

/// `y = x w^T + b`.
#[derive(Clone, Debug)]
pub struct Linear<I: Dim, O: Dim, D: Backend> {
    /// `[out, in]`.
    pub weight: Matrix<O, I, D>,
    /// `[out]`.
    pub bias: Vector<O, D>,
}
module!([I: Dim, O: Dim, D: Backend] Linear<I, O, D> { weight, bias });

impl<I: Dim, O: Dim, D: Backend> Linear<I, O, D> {
    /// Truncated normal weights of deviation 0.02, zero bias, as timm.
    pub fn new(init: &mut Init<D>, inp: I, out: O) -> Self {
        Self {
            weight: init.trunc_normal((out, inp), 0.02),
            bias: init.zeros((out,)),
        }
    }
    /// `[rows, in] -> [rows, out]`.
    pub fn forward<T: Tape<f32, D>>(&self, x: Rows<I, D, T>) -> Rows<O, D, T> {
        D::linear(x, &self.weight, Some(&self.bias))
    }
}

/// Layer norm over a row.
#[derive(Clone, Debug)]
pub struct LayerNorm<C: Dim, D: Backend> {
    /// Gain.
    pub weight: Vector<C, D>,
    /// Offset.
    pub bias: Vector<C, D>,
}
module!([C: Dim, D: Backend] LayerNorm<C, D> { weight, bias });

impl<C: Dim, D: Backend> LayerNorm<C, D> {
    /// Gain 1, offset 0.
    pub fn new(init: &mut Init<D>, width: C) -> Self {
        Self {
            weight: init.constant((width,), 1.0),
            bias: init.zeros((width,)),
        }
    }
    /// `[rows, width] -> [rows, width]`.
    pub fn forward<T: Tape<f32, D>>(&self, x: Rows<C, D, T>) -> Rows<C, D, T> {
        D::layer_norm(x, &self.weight, &self.bias, NORM_EPSILON)
    }
}

/// LayerScale: a gain per channel on a block's branch.
#[derive(Clone, Debug)]
pub struct LayerScale<C: Dim, D: Backend> {
    /// The gain.
    pub gamma: Vector<C, D>,
}
module!([C: Dim, D: Backend] LayerScale<C, D> { gamma });

/// The two projections around attention.
#[derive(Clone, Debug)]
pub struct Attention<A: Arch, D: Backend> {
    /// To query, key and value.
    pub qkv: Linear<A::Width, A::Qkv, D>,
    /// Back to the stream.
    pub proj: Linear<A::Width, A::Width, D>,
}
module!([A: Arch, D: Backend] Attention<A, D> { qkv, proj });

/// The two layers of a block's perceptron.
#[derive(Clone, Debug)]
pub struct Mlp<A: Arch, D: Backend> {
    /// D to 4 D.
    pub fc1: Linear<A::Width, A::Mlp, D>,
    /// 4 D to D.
    pub fc2: Linear<A::Mlp, A::Width, D>,
}
module!([A: Arch, D: Backend] Mlp<A, D> { fc1, fc2 });

/// One block: attention, then a perceptron, each behind a norm and added to the stream.
#[derive(Clone, Debug)]
pub struct Block<A: Arch, D: Backend> {
    /// Before attention.
    pub norm1: LayerNorm<A::Width, D>,
    /// Attention.
    pub attn: Attention<A, D>,
    /// LayerScale of attention.
    pub ls1: Option<LayerScale<A::Width, D>>,
    /// Before the perceptron.
    pub norm2: LayerNorm<A::Width, D>,
    /// The perceptron.
    pub mlp: Mlp<A, D>,
    /// LayerScale of the perceptron.
    pub ls2: Option<LayerScale<A::Width, D>>,
}
module!([A: Arch, D: Backend] Block<A, D> { norm1, attn, ls1, norm2, mlp, ls2 });

/// The linear map from a patch's values to a token.
#[derive(Clone, Debug)]
pub struct PatchEmbed<A: Arch, D: Backend> {
    /// A convolution in timm, a linear layer on cut-out patches here: the same memory.
    pub proj: PatchProjection<A, D>,
}
module!([A: Arch, D: Backend] PatchEmbed<A, D> { proj });

/// See [`PatchEmbed`].
#[derive(Clone, Debug)]
pub struct PatchProjection<A: Arch, D: Backend> {
    /// `[D, (channel, y, x)]`: the side of a patch is no type, so that a network of other patches is not another program.
    pub weight: Matrix<A::Width, usize, D>,
    /// `[D]`.
    pub bias: Vector<A::Width, D>,
}
module!([A: Arch, D: Backend] PatchProjection<A, D> { weight as Kind::Patches, bias });

/// What an encoder is made of besides its static widths.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VitConfig {
    /// Name of the static widths and pixels of a patch's side: `tiny16`, `base14`; see [`arch`](super::arch).
    pub arch: String,
    /// Blocks.
    pub depth: usize,
    /// Initial LayerScale; 0 for none.
    pub layer_scale: f32,
    /// Stochastic depth of the last block; grows linearly from 0 at the first.
    pub drop_path: f32,
    /// Tokens that belong to no patch; see [`registers`](super::registers).
    #[serde(default)]
    pub registers: usize,
    /// Cells on a side of the position field, which is cropped with the picture; 0 for none: the sine-cosine encoding of
    /// a patch's place in its view, whatever part of the picture that shows.
    pub field: usize,
    /// Cells on a side of a view where there is no field. 0 for its patches, in a pretraining those of the largest view: then
    /// neighbouring patches are a cell apart at every size, and a larger picture reaches further than any view did. The
    /// patches of the pretraining's largest view keep pictures of every size within what was seen.
    #[serde(default)]
    pub view: usize,
    /// Whether the field is learned, starting from the sine-cosine encoding, or stays that, evaluated where a patch lies.
    #[serde(default = "yes")]
    pub field_learned: bool,
}

fn yes() -> bool {
    true
}

impl VitConfig {
    /// Of one block, and of nothing that it can do without: positions are those in the view.
    pub fn plain(arch: &str) -> Self {
        Self {
            arch: arch.into(),
            depth: 1,
            layer_scale: 0.0,
            drop_path: 0.0,
            registers: 0,
            field: 0,
            view: 0,
            field_learned: true,
        }
    }

    /// Side of a patch in pixels.
    ///
    /// # Panics
    /// If there is no such network, which [`dispatch`](super::arch::dispatch) and validation find out.
    pub fn patch(&self) -> usize {
        arch::patch(&self.arch).expect("the config was validated")
    }
}

/// Where the positions of the patches come from.
#[derive(Clone, Debug)]
pub enum Positions<'a> {
    /// Four taps a patch into the learned field.
    Field(&'a Taps),
    /// Given vectors, `[patches, D]`: a fixed encoding.
    Fixed(&'a [f32]),
}

/// A batch of views, patches in the order of the sequences.
#[derive(Clone, Debug)]
pub struct TokenInput<'a> {
    /// `[patches, 3 * patch * patch]`, see [`crate::augment`].
    pub patches: Cow<'a, [f32]>,
    /// Where each patch lies.
    pub positions: Positions<'a>,
    /// Sequences (CLS counted) and masks.
    pub plan: &'a Plan,
}

/// Which samples skip which branches in this step.
#[derive(Clone, Copy, Debug)]
pub struct DropPath {
    /// Seed of the run.
    pub seed: u64,
    /// Step of the run.
    pub step: u64,
}

/// The position encoding as a learned vector field (METHOD section 1).
#[derive(Clone, Debug)]
pub struct PositionField<A: Arch, D: Backend> {
    /// `[side * side, D]`, row-major cells.
    pub weight: Rows<A::Width, D>,
}
module!([A: Arch, D: Backend] PositionField<A, D> { weight });

/// The encoder.
#[derive(Clone, Debug)]
pub struct Vit<A: Arch, D: Backend> {
    /// Patch to token.
    pub patch_embed: PatchEmbed<A, D>,
    /// The class token; it has no position.
    pub cls_token: Vector<A::Width, D>,
    /// Stands for a masked content.
    pub mask_token: Vector<A::Width, D>,
    /// Stands for a masked position.
    pub pos_mask_token: Vector<A::Width, D>,
    /// Tokens of no patch.
    pub reg_token: Option<Registers<A, D>>,
    /// Where positions come from.
    pub encoding: Encoding,
    /// The learned position field.
    pub pos_field: Option<PositionField<A, D>>,
    /// The blocks.
    pub blocks: Vec<Block<A, D>>,
    /// After the last block.
    pub norm: LayerNorm<A::Width, D>,
    /// Stochastic depth of the last block.
    pub drop_path: f32,
    /// Whether the backward pass computes a block's activations again instead of keeping them.
    pub recompute: bool,
}
module!([A: Arch, D: Backend] Vit<A, D> {
    patch_embed, cls_token as Kind::Token, mask_token as Kind::Token, pos_mask_token as Kind::Token,
    reg_token, pos_field, blocks, norm
});

impl<A: Arch, D: Backend> Vit<A, D> {
    /// A fresh encoder: truncated normal weights, the field starting from the sine-cosine encoding.
    pub fn new(init: &mut Init<D>, config: &VitConfig) -> Self {
        const {
            assert!(
                <A::Width as ConstDim>::SIZE.is_multiple_of(A::HEADS),
                "heads must divide the width"
            )
        };
        let width = A::Width::default();
        let scale = |init: &mut Init<D>| {
            (config.layer_scale > 0.0).then(|| LayerScale {
                gamma: init.constant((width,), config.layer_scale),
            })
        };
        let (patch_values, encoding) = (3 * config.patch().pow(2), Encoding::of(config));
        // Xavier, as MAE and DINOv2 start the patch embedding.
        let bound = (6.0 / (patch_values + width.size()) as f32).sqrt();
        Self {
            patch_embed: PatchEmbed {
                proj: PatchProjection {
                    weight: init.uniform((width, patch_values), bound),
                    bias: init.zeros((width,)),
                },
            },
            cls_token: init.trunc_normal((width,), 0.02),
            mask_token: init.trunc_normal((width,), 0.02),
            pos_mask_token: init.trunc_normal((width,), 0.02),
            reg_token: (config.registers > 0)
                .then(|| Registers(init.trunc_normal((config.registers, width), 0.02))),
            encoding,
            pos_field: encoding.learned().map(|side| {
                let values =
                    sincos::field(Grid::new(side, side), (side as f32, side as f32), A::WIDTH);
                PositionField {
                    weight: init.values((side * side, width), values),
                }
            }),
            blocks: (0..config.depth)
                .map(|_| Block {
                    norm1: LayerNorm::new(init, width),
                    attn: Attention {
                        qkv: Linear::new(init, width, Default::default()),
                        proj: Linear::new(init, width, width),
                    },
                    ls1: scale(init),
                    norm2: LayerNorm::new(init, width),
                    mlp: Mlp {
                        fc1: Linear::new(init, width, Default::default()),
                        fc2: Linear::new(init, Default::default(), width),
                    },
                    ls2: scale(init),
                })
                .collect(),
            norm: LayerNorm::new(init, width),
            drop_path: config.drop_path,
            recompute: false,
        }
    }

    /// Side of a patch in pixels.
    pub fn patch(&self) -> usize {
        (self.patch_embed.proj.weight.shape().1 / 3).isqrt()
    }

    /// Tokens after the last norm, `[rows, D]`, CLS first in each sequence.
    pub fn forward<T: Tape<f32, D>>(
        &self,
        input: TokenInput<'_>,
        drop_path: Option<DropPath>,
        tape: T,
    ) -> Rows<A::Width, D, T> {
        let x = self.embed(input.patches, &input.positions, input.plan, tape);
        let (x, groups) = self.with_registers(x, &input.plan.groups);
        let x = self.run_blocks(x, &groups, drop_path);
        (self.norm).forward(self.without_registers(x, &input.plan.groups))
    }

    /// Patches and positions to tokens, before the first block.
    pub(super) fn embed<T: Tape<f32, D>>(
        &self,
        patches: Cow<'_, [f32]>,
        positions: &Positions<'_>,
        plan: &Plan,
        tape: T,
    ) -> Rows<A::Width, D, T> {
        let dev = self.cls_token.device();
        let width = A::Width::default();
        let patch_values = self.patch_embed.proj.weight.shape().1;
        let count = patches.len() / patch_values;
        let (position, tape) = match (positions, &self.pos_field) {
            (Positions::Field(taps), Some(field)) => D::gather_taps(
                field.weight.clone().put_tape(tape),
                &taps.index,
                &taps.weight,
            )
            .split_tape(),
            (Positions::Fixed(values), _) => (
                D::tensor_from(dev, Cow::Borrowed(*values), (count, width)),
                tape,
            ),
            (Positions::Field(_), None) => {
                unreachable!("taps are made only for encoders with a field")
            }
        };
        let patches = D::tensor_from(dev, patches, (count, patch_values));
        let embed = &self.patch_embed.proj;
        let content = D::linear_of_data(patches, &embed.weight, Some(&embed.bias), tape);
        let tokens = SpecialTokens {
            cls: &self.cls_token,
            mask: &self.mask_token,
            position_mask: &self.pos_mask_token,
        };
        D::assemble(content, position, tokens, plan)
    }

    /// As [`forward`](Self::forward), for some rows only: what the last block does to the others is not computed.
    pub fn forward_rows<T: Tape<f32, D>>(
        &self,
        input: TokenInput<'_>,
        rows: &[u32],
        drop_path: Option<DropPath>,
        tape: T,
    ) -> Rows<A::Width, D, T> {
        let rows = &self.rows_with_registers(&input.plan.groups, rows);
        let x = self.embed(input.patches, &input.positions, input.plan, tape);
        let (x, groups) = self.with_registers(x, &input.plan.groups);
        let groups = &*groups;
        let x = match self.blocks.split_last() {
            Some((last, before)) => {
                let x = self.run(before, x, groups, drop_path);
                let scales = self.row_scales(before.len(), groups, drop_path);
                D::block_rows(x, last, groups, scales, rows)
            }
            None => D::gather_rows(x, rows),
        };
        self.norm.forward(x)
    }

    /// The blocks.
    pub(crate) fn run_blocks<T: Tape<f32, D>>(
        &self,
        x: Rows<A::Width, D, T>,
        groups: &Groups,
        drop_path: Option<DropPath>,
    ) -> Rows<A::Width, D, T> {
        self.run(&self.blocks, x, groups, drop_path)
    }

    /// The first blocks.
    pub(super) fn run<T: Tape<f32, D>>(
        &self,
        blocks: &[Block<A, D>],
        mut x: Rows<A::Width, D, T>,
        groups: &Groups,
        drop_path: Option<DropPath>,
    ) -> Rows<A::Width, D, T> {
        for (i, block) in blocks.iter().enumerate() {
            let scales = self.row_scales(i, groups, drop_path);
            x = D::block(x, block, groups, scales, self.recompute);
        }
        x
    }

    /// Stochastic depth of block `i`.
    pub(super) fn row_scales(
        &self,
        i: usize,
        groups: &Groups,
        drop_path: Option<DropPath>,
    ) -> RowScales {
        let rate = self.drop_path * i as f32 / (self.blocks.len().max(2) - 1) as f32;
        [0, 1].map(|branch| {
            drop_path.and_then(|d| row_scales(groups, rate, d, 2 * i as u64 + branch))
        })
    }
}

/// 0 for the rows of a dropped sequence and 1 / (1 - rate) for the others; `None` when nothing can drop.
fn row_scales(groups: &Groups, rate: f32, drop: DropPath, branch: u64) -> Option<Vec<f32>> {
    if rate <= 0.0 {
        return None;
    }
    let mut rng = stream(drop.seed, Purpose::DropPath, drop.step, branch);
    let mut scales = Vec::with_capacity(groups.rows());
    for (_, len) in groups.starts() {
        let scale = if rng.random::<f32>() < rate {
            0.0
        } else {
            1.0 / (1.0 - rate)
        };
        scales.extend(std::iter::repeat_n(scale, len));
    }
    Some(scales)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_dropped_the_more_the_deeper() {
        let config = VitConfig {
            depth: 3,
            drop_path: 0.5,
            ..VitConfig::plain("tiny8")
        };
        let vit = Vit::<arch::Tiny, Cpu>::new(&mut Init::new(&Cpu::default(), 0), &config);
        let (groups, drop) = (Groups::uniform(1000, 1), DropPath { seed: 1, step: 2 });
        let kept = |block| {
            vit.row_scales(block, &groups, Some(drop))
                .map(|scales| scales.map(|s| s[..].iter().fold(0.0f32, |a, b| a.max(*b))))
        };
        // 0, a quarter, a half; what is left makes up for it.
        assert_eq!(kept(0), [None, None]);
        assert_eq!(kept(1), [Some(1.0 / 0.75); 2]);
        assert_eq!(kept(2), [Some(2.0); 2]);
        assert_eq!(vit.row_scales(2, &groups, None), [None, None]);
    }

    #[test]
    fn a_dropped_path_is_made_up_for_by_the_others() {
        let groups = Groups::uniform(4000, 3);
        let drop = DropPath { seed: 1, step: 2 };
        let scales = row_scales(&groups, 0.25, drop, 0).unwrap();
        let kept = 1.0 / 0.75;
        let mut dropped = 0;
        for sequence in scales.chunks(3) {
            assert!(
                sequence == [0.0; 3] || sequence == [kept; 3],
                "{sequence:?}"
            );
            dropped += usize::from(sequence[0] == 0.0);
        }
        // 1,000 in the mean, with a deviation of 27.
        assert!((890..1110).contains(&dropped), "{dropped}");
        assert!(row_scales(&groups, 0.0, drop, 0).is_none());
        assert_ne!(row_scales(&groups, 0.25, drop, 1).unwrap(), scales);
    }
}
