//! Encoders under timm's names, whose positions are those of the patches of one picture.

use std::borrow::Cow;

use fast_image_resize as fir;
use fir::images::{TypedImage, TypedImageRef};
use fir::pixels::F32;

use super::arch;
use super::vit::VitConfig;
use super::weights::{HostTensor, StateDict};
use crate::config::Validate;

/// Tokens of no patch.
const REGISTERS: &str = "reg_token";

/// Turns such an encoder into one of ours: the positions of its patches become a field of as many cells, which a whole
/// picture fills. So they are resampled for other sizes of pictures.
///
/// # Errors
/// As [`take`].
pub fn adopt(dict: &mut StateDict) -> Result<VitConfig, String> {
    let (config, positions) = take(dict)?;
    let field = HostTensor {
        shape: vec![positions.grid.pow(2), positions.width],
        values: positions.values,
    };
    dict.tensors.insert("pos_field.weight".into(), field);
    Ok(VitConfig {
        field: positions.grid,
        field_learned: true,
        ..config
    })
}

/// The positions of the patches of a square.
#[derive(Clone, Debug, PartialEq)]
pub struct Positions {
    /// Patches on a side.
    pub grid: usize,
    /// Values of each.
    pub width: usize,
    /// `[grid * grid, width]`.
    pub values: Vec<f32>,
}

impl Positions {
    /// For another grid as timm's `resample_abs_pos_embed` has them: each value as a picture, bicubic (a = -1/2) and
    /// antialiased.
    pub fn resampled(&self, grid: usize) -> Cow<'_, Self> {
        if grid == self.grid {
            return Cow::Borrowed(self);
        }
        let options = fir::ResizeOptions::new()
            .resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::CatmullRom));
        let mut resizer = fir::Resizer::new();
        let mut values = vec![0.0; grid * grid * self.width];
        let (from, to) = (self.grid as u32, grid as u32);
        for at in 0..self.width {
            let plane: Vec<F32> = (self.values[at..].iter().step_by(self.width))
                .map(|&v| F32::new(v))
                .collect();
            let plane = TypedImageRef::new(from, from, &plane).expect("a value of each patch");
            let mut resized = TypedImage::<F32>::new(to, to);
            (resizer.resize_typed(&plane, &mut resized, &options)).expect("neither is empty");
            let of_patches = values[at..].iter_mut().step_by(self.width);
            of_patches
                .zip(resized.pixels())
                .for_each(|(to, from)| *to = from.0);
        }
        Cow::Owned(Self {
            grid,
            values,
            width: self.width,
        })
    }
}

/// What the network is, and the positions of its patches, which are taken out: CLS's is added to the CLS token. Heads are of
/// 64 values, as timm's are of these widths; nothing in the tensors tells.
///
/// # Errors
/// What is missing, or not of a plain vision transformer of one of our widths. To pass over other tensors, as norms of
/// queries, would give features that are not the network's.
pub fn take(dict: &mut StateDict) -> Result<(VitConfig, Positions), String> {
    let config = config(dict)?;
    known(dict)?;
    // For pretraining, which timm's and DINOv2's files have in different shapes.
    dict.tensors.remove("mask_token");
    let positions = take_positions(dict)?;
    Ok((config, positions))
}

/// The network that tensors under timm's names are of, told from their shapes.
fn config(dict: &mut StateDict) -> Result<VitConfig, String> {
    let registers = registers(dict)?;
    let projection = "patch_embed.proj.weight";
    let shape = match dict.tensors.get(projection) {
        Some(HostTensor { shape, .. }) if shape.len() == 4 => shape,
        Some(HostTensor { shape, .. }) => {
            return Err(format!(
                "`{projection}` has shape {shape:?}, expected 4 sizes"
            ))
        }
        None => {
            return Err(format!(
                "there is no tensor `{projection}`: expected an encoder of ours or a vision transformer under timm's names"
            ))
        }
    };
    let (width, patch) = (shape[0], shape[3]);
    let arch = arch::named(width, patch).ok_or_else(|| {
        format!(
            "a width of {width} with patches of {patch} pixels is not among the networks that are compiled in: expected {}",
            arch::expected()
        )
    })?;
    let block = |name: &String| -> Option<usize> { block_and_part(name)?.0.parse().ok() };
    let depth = dict.tensors.keys().filter_map(block).max();
    let scale = dict.tensors.contains_key("blocks.0.ls1.gamma");
    let config = VitConfig {
        arch,
        depth: depth.map_or(0, |last| last.saturating_add(1)),
        layer_scale: if scale { 1.0 } else { 0.0 },
        drop_path: 0.0,
        registers,
        field: 0,
        view: 0,
        field_learned: true,
    };
    config.validate().map_err(|e| e.to_string())?;
    Ok(config)
}

/// How many registers there are; they get timm's name, if they have that of DINOv2's own files.
///
/// # Errors
/// If they have another shape.
pub fn registers(dict: &mut StateDict) -> Result<usize, String> {
    if let Some(registers) = dict.tensors.remove("register_tokens") {
        dict.tensors.insert(REGISTERS.into(), registers);
    }
    match dict.tensors.get(REGISTERS).map(|t| t.shape.as_slice()) {
        None => Ok(0),
        Some(&[1, count, _]) => Ok(count),
        Some(shape) => Err(format!(
            "`{REGISTERS}` has shape {shape:?}, expected [1, registers, width]"
        )),
    }
}

/// Number and name within the block of `blocks.NUMBER.NAME`.
fn block_and_part(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("blocks.")?.split_once('.')
}

/// Refuses tensors that are no part of a plain encoder, and without which its features would be others.
///
/// # Errors
/// The first of them.
pub fn known(dict: &StateDict) -> Result<(), String> {
    match dict.tensors.keys().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => Err(format!(
            "`{name}` is no part of a plain vision transformer with a class token, and of no other are there networks here"
        )),
    }
}

/// Whether a plain encoder has such a tensor, or features do without it.
fn is_known(name: &str) -> bool {
    const AROUND: [&str; 10] = [
        "cls_token",
        REGISTERS,
        "pos_embed",
        "mask_token",
        "pos_mask_token",
        "pos_field.weight",
        "patch_embed.proj.weight",
        "patch_embed.proj.bias",
        "norm.weight",
        "norm.bias",
    ];
    const LAYERS: [&str; 6] = [
        "norm1",
        "attn.qkv",
        "attn.proj",
        "norm2",
        "mlp.fc1",
        "mlp.fc2",
    ];
    let in_block = |part: &str| match part.rsplit_once('.') {
        Some((layer, "weight" | "bias")) => LAYERS.contains(&layer),
        Some((scale, "gamma")) => ["ls1", "ls2"].contains(&scale),
        _ => false,
    };
    AROUND.contains(&name)
        || name.starts_with("head.")
        || block_and_part(name).is_some_and(|(_, part)| in_block(part))
}

/// Takes timm's positions out: CLS's is added to the CLS token, those of the patches are returned.
fn take_positions(dict: &mut StateDict) -> Result<Positions, String> {
    let HostTensor { shape, mut values } = dict
        .tensors
        .remove("pos_embed")
        .ok_or("there is no tensor `pos_embed`")?;
    let mut cls = dict.tensors.get_mut("cls_token");
    let token = cls.as_ref().map_or(0, |cls| cls.values.len());
    let square = |n: usize| n > 0 && n.isqrt().pow(2) == n;
    let of_patches = match *shape.as_slice() {
        [1, count, width] if width == token && square(count) => count,
        [1, count, width] if width == token && count > 0 && square(count - 1) => {
            let patches = values.split_off(width);
            for (cls, position) in cls.iter_mut().flat_map(|cls| &mut cls.values).zip(&values) {
                *cls += position;
            }
            values = patches;
            count - 1
        }
        _ => {
            return Err(format!(
                "`pos_embed` has shape {shape:?}, expected [1, patches of a square, {token} as `cls_token`]"
            ))
        }
    };
    Ok(Positions {
        grid: of_patches.isqrt(),
        width: token,
        values,
    })
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::*;

    use super::*;
    use crate::nn::arch::Tiny;
    use crate::nn::module::Init;
    use crate::nn::positions::WholePicture;
    use crate::nn::vit::Vit;

    #[test]
    fn positions_are_resampled_as_by_timm() {
        // The first value differs by column, the second by row.
        let rows = [0.0, 0.0, 1.0, 0.0].map(|y| [0.0, 0.0, 1.0, 0.0].map(|x| [x, y]));
        let positions = Positions {
            grid: 4,
            width: 2,
            values: rows.into_iter().flatten().flatten().collect(),
        };
        // Halved, the kernel is twice as wide. To a new patch's centre the third of four old ones is 0.75 and 0.25 of its
        // units away: k(0.75) = 0.2265625, k(0.25) = 0.8671875, k(1.25) = -0.0703125, and all four add up to 1.890625.
        let (far, near) = (0.226_562_5 / 1.890_625, 0.867_187_5 / 1.890_625);
        let expected = [far, far, near, far, far, near, near, near];
        let halved = positions.resampled(2);
        let pairs = halved.values.iter().zip(expected);
        assert!(
            pairs.clone().all(|(a, b)| (a - b).abs() < 1e-6),
            "{pairs:?}"
        );
        assert_eq!(*positions.resampled(4), positions);
    }

    #[test]
    fn what_would_change_the_features_is_not_passed_over() {
        for name in [
            "head.weight",
            "blocks.11.attn.qkv.bias",
            "blocks.0.ls2.gamma",
            "reg_token",
        ] {
            assert!(is_known(name), "{name}");
        }
        for name in [
            "dist_token",
            "head_dist.weight",
            "fc_norm.weight",
            "norm_pre.bias",
            "blocks.0.attn.q_norm.weight",
            "blocks.0.mlp.w12.weight",
            "blocks.0.norm1.gamma",
        ] {
            assert!(!is_known(name), "{name}");
        }
    }

    #[test]
    fn positions_become_a_field_that_a_picture_fills() {
        let plain = VitConfig {
            registers: 4,
            ..VitConfig::plain("tiny16")
        };
        let dev = Cpu::default();
        let mut dict = StateDict::default();
        dict.insert_module("", &Vit::<Tiny, Cpu>::new(&mut Init::new(&dev, 1), &plain));
        let (cls, width) = (dict.tensors["cls_token"].values.clone(), 192);
        let values: Vec<f32> = (0..10 * width).map(|i| (i as f32).sin()).collect();
        let pos_embed = HostTensor {
            shape: vec![1, 10, width],
            values: values.clone(),
        };
        dict.tensors.insert("pos_embed".into(), pos_embed);

        let config = adopt(&mut dict).unwrap();
        assert_eq!((config.field, config.depth, config.registers), (3, 1, 4));
        let mut vit = Vit::<Tiny, Cpu>::new(&mut Init::new(&dev, 2), &config);
        dict.load_module("", &mut vit, |name| name.ends_with("mask_token"))
            .unwrap();
        assert_eq!(dict.tensors["cls_token"].values[7], cls[7] + values[7]);
        let field = &dict.tensors["pos_field.weight"].values;
        let baked = |grid| WholePicture::new(&vit, grid, 1.0).bake(field, width);
        let own = &values[width..];
        assert!(baked(3).iter().zip(own).all(|(a, b)| (a - b).abs() < 1e-6));
        // Twice as fine: the second patch of the first row lies a quarter of the way from the first cell to the second.
        let expected = 0.75 * own[5] + 0.25 * own[width + 5];
        assert!((baked(6)[width + 5] - expected).abs() < 1e-5);
    }
}
