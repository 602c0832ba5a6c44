//! Weights from elsewhere give the features they gave there, and are fine-tuned.

use std::collections::BTreeMap;
use std::path::Path;

use image::{Rgb, RgbImage};
use intertwine::field::{Normalisation, Window};
use intertwine::nn::weights::{HostTensor, StateDict};
use intertwine::probe::encoder::{Encoder, Shown};

use super::program::intertwine;
use super::{fine_tuned, support};

/// What timm makes of a picture with computed weights; `tests/peers/timm_features.py` writes it.
#[derive(serde::Deserialize)]
struct Expected {
    shapes: BTreeMap<String, Vec<usize>>,
    cls: Vec<f32>,
    last: Vec<f32>,
}

/// Cosines, around 1 for what scales.
fn computed(name: &str, count: usize) -> Vec<f32> {
    let phase: u64 = name.bytes().map(u64::from).sum();
    let scales = name.contains("norm") && name.ends_with("weight");
    let offset = if scales { 1.0 } else { 0.0 };
    let value = |i: usize| (0.05 * (0.37 * i as f64 + phase as f64).cos() + offset) as f32;
    (0..count).map(value).collect()
}

fn timm_weights(expected: &Expected, path: &Path) -> StateDict {
    let mut dict = StateDict::default();
    for (name, shape) in &expected.shapes {
        let values = computed(name, shape.iter().product());
        let shape = shape.clone();
        dict.tensors
            .insert(name.clone(), HostTensor { shape, values });
    }
    dict.write(path).unwrap();
    dict
}

/// Of the `plain` vision transformer, one with `registers` or a `wide` one.
fn expected_of(network: &str) -> Expected {
    let file = include_str!("../fixtures/timm_features.json");
    let mut networks: BTreeMap<String, Expected> = serde_json::from_str(file).unwrap();
    networks.remove(network).unwrap()
}

fn expected() -> Expected {
    expected_of("plain")
}

#[test]
fn weights_of_timm_give_timms_features() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vit.safetensors");
    // The first two are parts of ViT-Tiny, the last of ViT-Small.
    for (network, width) in [("plain", 192), ("registers", 192), ("wide", 384)] {
        let expected = expected_of(network);
        timm_weights(&expected, &path);
        let encoder = Encoder::open(&path).unwrap();
        assert_eq!(
            (encoder.width(), encoder.patch(), encoder.grid()),
            (width, 16, Some(2))
        );
        assert!(encoder.is_foreign());
        assert_eq!(difference(&encoder, &expected), None, "{network}");
    }
}

/// Under Meta's name or timm's, and in the exported detector.
#[test]
fn registers_are_fine_tuned() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vit.safetensors");
    let mut dict = timm_weights(&expected_of("registers"), &path);
    let registers = dict.tensors.remove("reg_token").unwrap();
    dict.tensors.insert("register_tokens".into(), registers);
    dict.write(&path).unwrap();
    let (config, _) = fine_tuned(dir.path(), "vit.safetensors", 64);
    assert!(config.contains("registers = 3"), "{config}");
    let found = StateDict::read(&dir.path().join("found/model.safetensors")).unwrap();
    assert_eq!(found.tensors["reg_token"].shape, [1, 3, 192]);
}

/// What an encoder gives of timm's picture that is not what timm gives.
fn difference(encoder: &Encoder, expected: &Expected) -> Option<(f32, f32)> {
    let bytes = (0..3 * 32 * 32).map(|i| (i * 7919 % 256) as u8).collect();
    let picture = RgbImage::from_raw(32, 32, bytes).unwrap();
    let shown = Shown {
        picture: &picture,
        window: Window::WHOLE,
        masked: Vec::new(),
    };
    let tokens = encoder.tokens(&[shown], 2);
    let width = encoder.width();
    let (cls, last) = (&tokens[..width], &tokens[4 * width..]);
    assert_eq!((expected.cls.len(), expected.last.len()), (width, width));
    let expected = expected.cls.iter().chain(&expected.last);
    let mut pairs = cls.iter().chain(last).copied().zip(expected.copied());
    pairs.find(|(a, b)| {
        (a - b)
            .abs()
            .partial_cmp(&1e-4)
            .is_none_or(|order| order.is_ge())
    })
}

#[test]
fn pictures_are_normalised_as_is_said() {
    let (dir, expected) = (tempfile::tempdir().unwrap(), expected());
    let path = dir.path().join("vit.safetensors");
    let mut dict = timm_weights(&expected, &path);
    // A projection of other colours c = (v - n) / t with what makes it that of ImageNet's (v - m) / s:
    // w c t / s + w (n - m) / s.
    let (Normalisation { mean: m, std: s }, n, t) =
        (Normalisation::IMAGENET, [0.5, 0.4, 0.3], [0.5, 0.6, 0.7]);
    let weight = dict.tensors.get_mut("patch_embed.proj.weight").unwrap();
    let mut offsets = vec![0.0; 192];
    for (i, w) in weight.values.iter_mut().enumerate() {
        let (out, c) = (i / (3 * 256), i / 256 % 3);
        offsets[out] += *w * (n[c] - m[c]) / s[c];
        *w *= t[c] / s[c];
    }
    let bias = dict.tensors.get_mut("patch_embed.proj.bias").unwrap();
    bias.values
        .iter_mut()
        .zip(offsets)
        .for_each(|(b, o)| *b += o);
    dict.write(&path).unwrap();
    let encoder = Encoder::open(&path).unwrap();
    assert!(difference(&encoder, &expected).is_some());
    let other = Normalisation { mean: n, std: t };
    let encoder = encoder.normalised(other).unwrap();
    assert_eq!(difference(&encoder, &expected), None);
}

#[test]
fn colours_of_a_foreign_file_are_assumed_or_given() {
    let dir = tempfile::tempdir().unwrap();
    timm_weights(&expected(), &dir.path().join("vit.safetensors"));
    support::packed(dir.path(), 0..8);
    let probe = |options: &[&str]| {
        let probe = ["probe", "vit.safetensors", "--data", "packed"];
        intertwine(dir.path(), &[&probe[..], options].concat())
    };
    let (_, assumed, said) = probe(&[]);
    let line = "colours: mean 0.485,0.456,0.406, std 0.229,0.224,0.225, assumed";
    assert!(assumed.contains(line), "{assumed}{said}");
    let half = "0.5,0.5,0.5";
    let (_, given, said) = probe(&["--mean", half, "--std", half]);
    let line = "colours: mean 0.5,0.5,0.5, std 0.5,0.5,0.5, as given";
    assert!(given.contains(line), "{given}{said}");
    let figures = |printed: &str| printed.split("colours").next().map(str::to_owned);
    assert_ne!(figures(&assumed), figures(&given));
    for (wrong, reason) in [
        (&["--mean", half][..], "--std"),
        (&["--mean", half, "--std", "0.5"], "expected R,G,B"),
        (&["--mean", half, "--std", "0,1,1"], "three numbers above 0"),
        (&["--side", "16"], "side = 16: expected a multiple of 16"),
    ] {
        let (success, _, said) = probe(wrong);
        assert!(!success && said.contains(reason), "{said}");
    }
    // Its positions are those of 2 x 2 patches.
    let (_, larger, said) = probe(&["--side", "48"]);
    let line = "positions: of 2 x 2 patches, resampled to 3 x 3";
    assert!(
        larger.contains(line) && !assumed.contains("positions:"),
        "{larger}{said}"
    );
}

#[test]
fn weights_of_timm_are_fine_tuned() {
    let dir = tempfile::tempdir().unwrap();
    timm_weights(&expected(), &dir.path().join("vit.safetensors"));
    let (config, said) = fine_tuned(dir.path(), "vit.safetensors", 64);
    let line = "starts from vit.safetensors: tiny16 of 2 blocks; window of the field: 1, whatever data.window says; colours: mean 0.485,0.456,0.406, std 0.229,0.224,0.225, \
                as for ImageNet";
    assert!(said.contains(line), "{said}");
    // The positions of the file are a field that the picture fills.
    for line in ["arch = \"tiny16\"", "field = 2", "window = 1.0"] {
        assert!(config.contains(line), "{config}");
    }
}

/// As DINOv2's, whose patches are of 14 pixels.
#[test]
fn patches_of_any_side_are_read() {
    let (dir, mut expected) = (tempfile::tempdir().unwrap(), expected());
    let path = dir.path().join("vit.safetensors");
    let mut shape = |name: &str, shape: &[usize]| expected.shapes.insert(name.into(), shape.into());
    shape("patch_embed.proj.weight", &[192, 3, 14, 14]);
    shape("pos_embed", &[1, 10, 192]);
    // Meta's own files have such a one.
    shape("mask_token", &[1, 192]);
    timm_weights(&expected, &path);
    let encoder = Encoder::open(&path).unwrap();
    let (sizes, of_grid) = ((encoder.width(), encoder.patch()), encoder.grid());
    assert_eq!((sizes, of_grid), ((192, 14), Some(3)));
    let picture = RgbImage::from_fn(42, 42, |x, y| Rgb([x as u8, 3 * y as u8, 200]));
    let tokens = |grid| {
        let (picture, window) = (&picture, Window::WHOLE);
        let shown = [Shown {
            picture,
            window,
            masked: Vec::new(),
        }];
        encoder.tokens(&shown, grid)
    };
    assert_eq!((tokens(3).len(), tokens(5).len()), (10 * 192, 26 * 192));
    let (config, _) = fine_tuned(dir.path(), "vit.safetensors", 56);
    assert!(config.contains("arch = \"tiny14\""), "{config}");
}

#[test]
fn what_is_no_encoder_is_refused_with_a_reason() {
    let (dir, expected) = (tempfile::tempdir().unwrap(), expected());
    let path = dir.path().join("vit.safetensors");
    let dict = timm_weights(&expected, &path);
    let error = |dict: &StateDict| -> String {
        dict.write(&path).unwrap();
        Encoder::open(&path).err().unwrap().to_string()
    };
    let mut without = dict.clone();
    without.tensors.remove("patch_embed.proj.weight");
    assert!(error(&without).contains("no tensor `patch_embed.proj.weight`"));
    let mut without = dict.clone();
    without.tensors.remove("pos_embed");
    assert!(error(&without).contains("no tensor `pos_embed`"));
    let mut without = dict.clone();
    without.tensors.remove("blocks.1.mlp.fc2.bias");
    assert!(error(&without).contains("`blocks.1.mlp.fc2.bias`"));
    let mut other = dict.clone();
    let norm = dict.tensors["norm.weight"].clone();
    (other.tensors).insert("blocks.0.attn.q_norm.weight".into(), norm);
    let said = error(&other);
    assert!(said.contains("`blocks.0.attn.q_norm.weight` is no part of a plain vision transformer"));
    let mut bent = dict.clone();
    let registers = dict.tensors["norm.weight"].clone();
    bent.tensors.insert("reg_token".into(), registers);
    assert!(error(&bent).contains("`reg_token` has shape [192], expected [1, registers, width]"));
    let mut narrow = dict.clone();
    narrow
        .tensors
        .get_mut("patch_embed.proj.weight")
        .unwrap()
        .shape = vec![96, 3, 32, 16];
    let said = error(&narrow);
    assert!(
        said.contains("width of 96") && said.contains("tiny16"),
        "{said}"
    );
    for shape in [&[5, 192][..], &[1, 0, 192], &[1, 10, 96], &[1, 6, 192]] {
        let mut bent = dict.clone();
        let values = vec![0.5; shape.iter().product()];
        let shape = shape.to_vec();
        let said =
            format!("`pos_embed` has shape {shape:?}, expected [1, patches of a square, 192");
        let positions = HostTensor { shape, values };
        bent.tensors.insert("pos_embed".into(), positions);
        assert!(error(&bent).contains(&said), "{said}");
    }
    let mut deep = dict.clone();
    let norm = dict.tensors["blocks.0.norm1.weight"].clone();
    for number in ["4000000000", "18446744073709551615"] {
        let name = format!("blocks.{number}.norm1.weight");
        deep.tensors.insert(name.clone(), norm.clone());
        assert!(error(&deep).contains("`model.depth` is"), "{name}");
        deep.tensors.remove(&name);
    }
    // Of a file of ours.
    let mut noted = dict;
    for (note, wrong) in [
        ("arch = \"huge16\"\ndepth = 2", "is `huge16`"),
        ("arch = \"tiny16\"\ndepth = 4000", "`model.depth` is 4000"),
    ] {
        let rest = "\nlayer_scale = 0.0\ndrop_path = 0.0\nfield = 4";
        noted
            .metadata
            .insert("model".into(), format!("{note}{rest}"));
        let said = error(&noted);
        assert!(
            said.contains("vit.safetensors: its note `model`") && said.contains(wrong),
            "{said}"
        );
    }
}
