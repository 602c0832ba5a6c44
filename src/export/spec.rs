//! What a detector is: its sizes, and the name and shape of every weight.
//!
//! Training builds the same network from the same names. A vision transformer (timm's names) reads
//! the picture; a simple feature pyramid (ViTDet, Li et al. 2022, section 3) makes three maps of its
//! last one; a one-stage head (RTMDet's form, Lyu et al. 2022: convolutions shared by the levels,
//! norms of their own) gives a box and a score for each class at each location; prototypes and
//! coefficients (YOLACT, Bolya et al. 2019) give masks.
use intertwine_detect::card::{Class, MaskCard, ModelCard, MAX_INPUT_SIZE};

use super::ExportError;
use crate::field::Normalisation;

/// Added to a variance before its square root, in every layer norm of the network.
pub const NORM_EPSILON: f32 = 1e-6;
/// The largest exponent of a distance: exp(4) = 55 strides, beyond any box a level is meant for.
pub const MAX_LOG_DISTANCE: f32 = 4.0;
/// Hidden width of a transformer block's MLP, in widths.
pub const MLP_RATIO: usize = 4;
/// The levels' names in weight names, finest first; not every detector has the first.
const LEVELS: [&str; 3] = ["up", "same", "down"];

/// The sizes of a detector. [`validate`](Self::validate) says whether they describe one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DetectorSpec {
    /// Side of the square input in pixels; a multiple of `patch`.
    pub image_size: usize,
    /// Side of a patch in pixels; even.
    pub patch: usize,
    /// Channels of a token; even, a multiple of `heads`.
    pub width: usize,
    /// Transformer blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Classes to tell apart.
    pub classes: usize,
    /// Channels of the pyramid and the head.
    pub channels: usize,
    /// Mask prototypes; 0 for a detector of boxes only.
    pub prototypes: usize,
    /// 3 x 3 convolutions in each of the head's two towers.
    pub tower_convs: usize,
    /// Whether there is a level of half the patches' stride, for objects smaller than a patch.
    pub fine: bool,
    /// Whether the blocks have LayerScale (Touvron et al. 2021) after attention and MLP.
    pub layer_scale: bool,
    /// Tokens of no patch (Darcet et al. 2024), which the blocks see after the patches.
    pub registers: usize,
}

/// A weight's name and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightShape {
    /// Its timm-like name.
    pub name: String,
    /// Its shape in PyTorch's order.
    pub shape: Vec<usize>,
}

impl DetectorSpec {
    /// ViT-Tiny/16 with 128 channels behind it and no masks.
    pub fn tiny(image_size: usize, classes: usize) -> Self {
        Self {
            image_size,
            patch: 16,
            width: 192,
            depth: 12,
            heads: 3,
            classes,
            channels: 128,
            prototypes: 0,
            tower_convs: 2,
            fine: true,
            layer_scale: false,
            registers: 0,
        }
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`ExportError::Spec`] names the first field that does not.
    pub fn validate(&self) -> Result<(), ExportError> {
        let refuse = |field, found, reason: String| {
            Err(ExportError::Spec {
                field,
                found,
                reason,
            })
        };
        for (field, found) in [
            ("image_size", self.image_size),
            ("patch", self.patch),
            ("width", self.width),
            ("depth", self.depth),
            ("heads", self.heads),
            ("classes", self.classes),
            ("channels", self.channels),
        ] {
            if found == 0 {
                return refuse(field, found, "it must be at least 1".into());
            }
        }
        if self.image_size > MAX_INPUT_SIZE as usize {
            let reason = format!("the edge program reads up to {MAX_INPUT_SIZE}");
            return refuse("image_size", self.image_size, reason);
        }
        if !self.patch.is_multiple_of(2) {
            let reason =
                "it must be even, since the finest level or the masks have stride patch / 2";
            return refuse("patch", self.patch, reason.into());
        }
        if !self.image_size.is_multiple_of(self.patch) || self.image_size < 2 * self.patch {
            let reason = format!(
                "it must be a multiple of the patch ({}), two patches at least",
                self.patch
            );
            return refuse("image_size", self.image_size, reason);
        }
        if !self.width.is_multiple_of(self.heads) || !self.width.is_multiple_of(2) {
            let reason = format!(
                "it must be even and a multiple of the heads ({})",
                self.heads
            );
            return refuse("width", self.width, reason);
        }
        Ok(())
    }

    /// Patches along a side of the picture.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch
    }

    /// Width of one attention head.
    pub fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// The levels' names in weight names, finest first.
    pub fn levels(&self) -> &'static [&'static str] {
        &LEVELS[usize::from(!self.fine)..]
    }

    /// Pixels between neighbouring locations of each level, finest first.
    pub fn strides(&self) -> Vec<usize> {
        let all = [self.patch / 2, self.patch, self.patch * 2];
        all[usize::from(!self.fine)..].to_vec()
    }

    /// Locations along a side of each level. Where the patch grid is odd, the coarsest level leaves
    /// out its last row and column, as pooling without padding does.
    pub fn sides(&self) -> Vec<usize> {
        let grid = self.grid();
        let all = [grid * 2, grid, grid / 2];
        all[usize::from(!self.fine)..].to_vec()
    }

    /// Locations of all levels: the first dimension of boxes and scores.
    pub fn anchors(&self) -> usize {
        self.sides().iter().map(|side| side * side).sum()
    }

    /// Centre of each location in pixels (x, y) and its level's stride: level by level, finest
    /// first, row by row inside.
    pub fn anchor_points(&self) -> impl Iterator<Item = ([f32; 2], f32)> {
        self.sides()
            .into_iter()
            .zip(self.strides())
            .flat_map(|(side, stride)| {
                let stride = stride as f32;
                (0..side * side).map(move |i| {
                    let (row, column) = ((i / side) as f32, (i % side) as f32);
                    ([(column + 0.5) * stride, (row + 0.5) * stride], stride)
                })
            })
    }

    /// Whether the prototypes are one step finer than the finest level, whose stride is above 4 and can be halved.
    pub fn prototypes_upsampled(&self) -> bool {
        let finest = self.strides()[0];
        finest > 4 && finest.is_multiple_of(2)
    }

    /// Pixels between neighbouring values of a prototype, if there are any.
    pub fn mask_stride(&self) -> Option<usize> {
        let finest = self.strides()[0];
        let stride = if self.prototypes_upsampled() {
            finest / 2
        } else {
            finest
        };
        (self.prototypes > 0).then_some(stride)
    }

    /// Values along a side of a prototype, if there are any.
    pub fn mask_side(&self) -> Option<usize> {
        self.mask_stride().map(|stride| self.image_size / stride)
    }

    /// What the exported file says about itself, of pictures that are normalised so, with default thresholds; `classes`
    /// in the order of the scores.
    pub fn card(
        &self,
        classes: Vec<Class>,
        Normalisation { mean, std }: Normalisation,
    ) -> ModelCard {
        let masks = self.mask_stride().map(|stride| MaskCard {
            prototypes: self.prototypes,
            stride: stride as u32,
        });
        ModelCard {
            mean,
            std,
            masks,
            strides: self.strides().into_iter().map(|s| s as u32).collect(),
            ..ModelCard::new(self.image_size as u32, classes)
        }
    }

    /// Every weight of the network, in the order of the forward pass.
    pub fn weights(&self) -> Vec<WeightShape> {
        let mut list = List(Vec::new());
        let (d, f, grid) = (self.width, self.channels, self.grid());
        list.affine("patch_embed.proj", &[d, 3, self.patch, self.patch], d);
        list.push("cls_token", &[1, 1, d]);
        if self.registers > 0 {
            list.push("reg_token", &[1, self.registers, d]);
        }
        list.push("pos_embed", &[grid * grid, d]);
        for i in 0..self.depth {
            let block = format!("blocks.{i}");
            list.norm(&format!("{block}.norm1"), d);
            list.affine(&format!("{block}.attn.qkv"), &[3 * d, d], 3 * d);
            list.affine(&format!("{block}.attn.proj"), &[d, d], d);
            if self.layer_scale {
                list.push(&format!("{block}.ls1.gamma"), &[d]);
            }
            list.norm(&format!("{block}.norm2"), d);
            list.affine(
                &format!("{block}.mlp.fc1"),
                &[MLP_RATIO * d, d],
                MLP_RATIO * d,
            );
            list.affine(&format!("{block}.mlp.fc2"), &[d, MLP_RATIO * d], d);
            if self.layer_scale {
                list.push(&format!("{block}.ls2.gamma"), &[d]);
            }
        }
        list.norm("norm", d);

        if self.fine {
            list.affine("fpn.up.deconv", &[d, d / 2, 2, 2], d / 2);
            list.norm("fpn.up.deconv_norm", d / 2);
        }
        for &level in self.levels() {
            let input = if level == "up" { d / 2 } else { d };
            list.affine(&format!("fpn.{level}.lateral"), &[f, input, 1, 1], f);
            list.norm(&format!("fpn.{level}.lateral_norm"), f);
        }
        for tower in ["cls", "reg"] {
            for i in 0..self.tower_convs {
                list.affine(&format!("head.{tower}_tower.{i}"), &[f, f, 3, 3], f);
                for level in 0..self.levels().len() {
                    list.norm(&format!("head.{tower}_norm.{level}.{i}"), f);
                }
            }
        }
        list.affine("head.cls", &[self.classes, f, 3, 3], self.classes);
        list.affine("head.reg", &[4, f, 3, 3], 4);
        list.push("head.scales", &[self.levels().len()]);
        if self.prototypes > 0 {
            list.affine("head.coef", &[self.prototypes, f, 3, 3], self.prototypes);
            for i in 0..2 {
                list.affine(&format!("proto.conv.{i}"), &[f, f, 3, 3], f);
                list.norm(&format!("proto.norm.{i}"), f);
            }
            if self.prototypes_upsampled() {
                list.affine("proto.deconv", &[f, f, 2, 2], f);
            }
            list.affine("proto.out", &[self.prototypes, f, 1, 1], self.prototypes);
        }
        list.0
    }
}

struct List(Vec<WeightShape>);

impl List {
    fn push(&mut self, name: &str, shape: &[usize]) {
        self.0.push(WeightShape {
            name: name.to_owned(),
            shape: shape.to_vec(),
        });
    }

    /// A weight and the bias of its outputs.
    fn affine(&mut self, name: &str, shape: &[usize], outputs: usize) {
        self.push(&format!("{name}.weight"), shape);
        self.push(&format!("{name}.bias"), &[outputs]);
    }

    fn norm(&mut self, name: &str, channels: usize) {
        self.affine(name, &[channels], channels);
    }
}
