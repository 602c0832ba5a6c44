//! Encoders under timm's names, whose positions are those of the patches of one picture.

use super::arch;
use super::vit::VitConfig;
use super::weights::{HostTensor, StateDict};

/// Turns such an encoder into one of ours: the positions of its patches become a field of as many cells, which a whole
/// picture fills. So they are resampled for other sizes of pictures.
///
/// # Errors
/// As [`config`] and [`take_positions`].
pub fn adopt(dict: &mut StateDict) -> Result<VitConfig, String> {
    let config = config(dict)?;
    let values = take_positions(dict)?;
    let width = dict.tensors.get("cls_token").map_or(0, |t| t.values.len());
    let cells = values.len() / width.max(1);
    let field = HostTensor {
        shape: vec![cells, width],
        values,
    };
    dict.tensors.insert("pos_field.weight".into(), field);
    Ok(VitConfig {
        field: cells.isqrt(),
        field_learned: true,
        ..config
    })
}

/// The network that tensors under timm's names are of, told from their shapes.
///
/// # Errors
/// What is missing, or not among our networks.
pub fn config(dict: &StateDict) -> Result<VitConfig, String> {
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
    if let Some(name) = dict.tensors.keys().find(|name| !is_known(name)) {
        return Err(format!(
            "`{name}` is no part of a plain vision transformer with a class token, and of no other are there networks here"
        ));
    }
    let block = |name: &String| {
        name.strip_prefix("blocks.")?
            .split('.')
            .next()?
            .parse()
            .ok()
    };
    let depth = dict.tensors.keys().filter_map(block).max();
    let scale = dict.tensors.contains_key("blocks.0.ls1.gamma");
    Ok(VitConfig {
        arch,
        depth: depth.map_or(0, |last: usize| last + 1),
        layer_scale: if scale { 1.0 } else { 0.0 },
        drop_path: 0.0,
        field: 0,
        field_learned: true,
    })
}

/// Whether a plain encoder has such a tensor, or features do without it. To pass over others, as registers or norms of
/// queries, would give features that are not the network's.
fn is_known(name: &str) -> bool {
    const AROUND: [&str; 7] = [
        "cls_token",
        "pos_embed",
        "mask_token",
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
    let block = name
        .strip_prefix("blocks.")
        .and_then(|rest| rest.split_once('.'));
    AROUND.contains(&name)
        || name.starts_with("head.")
        || block.is_some_and(|(_, part)| in_block(part))
}

/// Takes timm's positions out: CLS's is added to the CLS token, those of the patches are returned.
///
/// # Errors
/// If there are none, or not those of a square.
pub fn take_positions(dict: &mut StateDict) -> Result<Vec<f32>, String> {
    let HostTensor { shape, mut values } = dict
        .tensors
        .remove("pos_embed")
        .ok_or("there is no tensor `pos_embed`")?;
    let wrong =
        || format!("`pos_embed` has shape {shape:?}, expected [1, patches of a square, width]");
    let &[1, count, width] = shape.as_slice() else {
        return Err(wrong());
    };
    let square = |n: usize| n > 0 && n.isqrt().pow(2) == n;
    if !square(count) {
        if !square(count - 1) {
            return Err(wrong());
        }
        let patches = values.split_off(width);
        if let Some(cls) = dict.tensors.get_mut("cls_token") {
            for (cls, position) in cls.values.iter_mut().zip(&values) {
                *cls += position;
            }
        }
        values = patches;
    }
    Ok(values)
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
    fn what_would_change_the_features_is_not_passed_over() {
        for name in [
            "head.weight",
            "blocks.11.attn.qkv.bias",
            "blocks.0.ls2.gamma",
        ] {
            assert!(is_known(name), "{name}");
        }
        for name in [
            "reg_token",
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
            arch: "tiny16".into(),
            depth: 1,
            layer_scale: 0.0,
            drop_path: 0.0,
            field: 0,
            field_learned: true,
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
        // timm has none.
        dict.tensors.remove("pos_mask_token");

        let config = adopt(&mut dict).unwrap();
        assert_eq!((config.field, config.depth), (3, 1));
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
