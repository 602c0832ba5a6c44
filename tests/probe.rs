//! `intertwine probe`: weights from elsewhere give the features they gave there, and the figures tell what they should.

#[path = "support/program.rs"]
mod program;
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use image::{Rgb, RgbImage};
use intertwine::field::{Normalisation, Window};
use intertwine::nn::weights::{HostTensor, StateDict};
use intertwine::probe::encoder::{Encoder, Shown};
use intertwine_datasets::{pack, PackOptions, Source};
use intertwine_detect::Detector;
use program::intertwine;

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
    let file = include_str!("fixtures/timm_features.json");
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

/// Makes a detector of pictures of `size` pixels on `dir/init`, in `dir/found`, and returns its config and what was said.
fn fine_tuned(dir: &Path, init: &str, size: usize) -> (String, String) {
    support::packed_at(dir, "labelled", 0..8);
    let size = format!("detector.size={size}");
    let few = [
        &size,
        "detector.channels=16",
        "optim.batch=4",
        "optim.epochs=1.0",
    ];
    let files = ["--data", "labelled", "--init", init, "--out", "found"];
    let mut args = [&["finetune"], &files[..]].concat();
    args.extend(few.iter().flat_map(|setting| ["--set", setting]));
    let (fine, _, said) = intertwine(dir, &args);
    assert!(fine, "{said}");
    assert!(dir.join("found/model.onnx").exists());
    let config = std::fs::read_to_string(dir.join("found/config.toml")).unwrap();
    (config, said)
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

/// Pictures of three colours in folders of their names, noisy: any encoder tells them apart.
fn colours(dir: &Path) {
    for (c, name) in ["red", "green", "blue"].iter().enumerate() {
        std::fs::create_dir_all(dir.join("colours").join(name)).unwrap();
        for i in 0..12u32 {
            let picture = RgbImage::from_fn(48, 48, |x, y| {
                let mut pixel = [(7 * x + 13 * y + 29 * i) as u8 % 60; 3];
                pixel[c] += 180;
                Rgb(pixel)
            });
            let path = dir.join(format!("colours/{name}/{i}.png"));
            picture.save(path).unwrap();
        }
    }
    let source = Source {
        classes_from_folders: true,
        ..Source::new(dir.join("colours"))
    };
    pack(
        &source,
        &PackOptions::default(),
        &dir.join("packed"),
        &|_| {},
    )
    .unwrap();
}

#[test]
fn a_run_is_probed_and_its_features_written() {
    let dir = tempfile::tempdir().unwrap();
    colours(dir.path());
    let small = [
        "model.depth=1",
        // Of patches whose half cannot be halved.
        "model.arch=tiny14",
        "crops.patch=14",
        "head.hidden=32",
        "head.prototypes=64",
        "crops.globals.size=42",
        "crops.locals.size=28",
        "crops.locals.count=1",
        "optim.batch=4",
        "optim.epochs=1.0",
        "crops.mean=[0.5, 0.4, 0.3]",
        "crops.std=[0.5, 0.6, 0.7]",
    ];
    let mut args = vec!["pretrain", "--data", "packed", "--out", "run"];
    args.extend(small.iter().flat_map(|set| ["--set", set]));
    let (success, _, said) = intertwine(dir.path(), &args);
    assert!(success, "{said}");
    let notes = StateDict::read(&dir.path().join("run/model.safetensors"))
        .unwrap()
        .metadata;
    let noted = (&*notes["mean"], &*notes["std"]);
    assert_eq!(noted, ("0.5,0.4,0.3", "0.5,0.6,0.7"));
    assert_eq!(notes["side"], "42");
    // Windows are drawn in the field.
    assert_eq!(notes.get("window"), None);
    let probe = ["probe", "run", "--data", "packed", "--side", "56"];
    let files = [
        "--json",
        "p.json",
        "--embeddings",
        "e.npy",
        "--neighbours",
        "n.png",
        "--drawing",
        "d.png",
    ];
    let (success, printed, said) = intertwine(dir.path(), &[&probe[..], &files].concat());
    assert!(success, "{said}");
    assert!(
        printed.contains("36 pictures of 56 pixels, 36 of them in 3 classes"),
        "{printed}"
    );
    let text = std::fs::read(dir.path().join("p.json")).unwrap();
    let figures: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let figure = |name: &str| {
        figures[name]
            .as_f64()
            .unwrap_or_else(|| panic!("no {name}"))
    };
    // With 20 of 36 pictures voting all classes have votes; the nearer ones must weigh more.
    assert!(figure("knn") > 0.9 && figure("linear") > 0.9, "{figures}");
    assert!((1.0..=36.0).contains(&figure("rank_cls")), "{figures}");
    assert!(
        figure("position_visible") > figure("position_masked"),
        "{figures}"
    );
    let shares = &figures["shortcut"];
    let share = |name: &str| shares[name].as_f64().unwrap();
    assert!(
        share("picture") + share("window") <= 1.0 + 1e-6,
        "{figures}"
    );
    let npy = std::fs::read(dir.path().join("e.npy")).unwrap();
    assert_eq!(npy.len(), 128 + 36 * 192 * 4);
    let sheet = image::open(dir.path().join("n.png")).unwrap();
    assert!(sheet.width() > 0 && sheet.height() > 0);
    // Six pictures in three forms, of 4 x 4 patches, 32 pixels each, and 4 pixels between.
    let drawing = image::open(dir.path().join("d.png")).unwrap();
    assert_eq!(
        (drawing.width(), drawing.height()),
        (6 * 132 - 4, 3 * 132 - 4)
    );

    let half = "0.5,0.5,0.5";
    for (wrong, reason) in [
        (&["--embeddings", "e.csv"][..], "a .npy or a .parquet file"),
        (&["--mean", half, "--std", half], "mean 0.5,0.4,0.3 and std"),
        (&["--window", "nan"], "window = NaN: expected a scale"),
    ] {
        let (success, _, said) = intertwine(dir.path(), &[&probe[..], wrong].concat());
        assert!(!success && said.contains(reason), "{said}");
    }

    // The run itself saw the same after its last step, but for the classes, which it was not given.
    let (success, _, said) = intertwine(dir.path(), &[&probe[..4], &files[..2]].concat());
    assert!(success, "{said}");
    let json = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
    let alone = json(&std::fs::read(dir.path().join("p.json")).unwrap());
    let lines = std::fs::read_to_string(dir.path().join("run/metrics.jsonl")).unwrap();
    let last = json(lines.lines().last().unwrap().as_bytes());
    for name in ["rank_cls", "position_masked", "shortcut"] {
        assert!(!alone[name].is_null());
        assert_eq!(alone[name], last["probe"][name], "{name}");
    }

    // A detector on it is shown the same colours, as its files say.
    fine_tuned(dir.path(), "run", 56);
    let found = dir.path().join("found");
    let detector = Detector::load(&found.join("model.onnx")).unwrap();
    let card = detector.card();
    assert_eq!((card.mean, card.std), ([0.5, 0.4, 0.3], [0.5, 0.6, 0.7]));
    let encoder = Encoder::open(&found).unwrap();
    let (again, usual) = (encoder.normalisation(), encoder.usual());
    assert_eq!((again.mean, again.std), (card.mean, card.std));
    assert_eq!((usual.side, usual.window), (Some(56), Some(0.35)));

    // The same again, on other threads: the same figures.
    let (_, again, _) = intertwine(dir.path(), &[&["--threads", "1"], &probe[..]].concat());
    assert_eq!(printed, again);
}

/// A field that is not learned goes the whole way; and an encoder can be looked at before its run has ended.
#[test]
fn a_fixed_field_is_pretrained_probed_and_fine_tuned() {
    let dir = tempfile::tempdir().unwrap();
    colours(dir.path());
    let small = [
        "model.field_learned=false",
        "model.depth=1",
        "head.hidden=32",
        "head.prototypes=64",
        "crops.globals.size=24",
        "crops.locals.size=16",
        "crops.locals.count=1",
        "optim.batch=4",
        "optim.epochs=1.0",
    ];
    let mut args = vec!["pretrain", "--data", "packed", "--out", "run"];
    args.extend(small.iter().flat_map(|set| ["--set", set]));
    let (success, _, said) = intertwine(dir.path(), &args);
    assert!(success, "{said}");
    let model = dir.path().join("run/model.safetensors");
    let weights = StateDict::read(&model).unwrap();
    assert!(!weights.tensors.contains_key("pos_field.weight"));
    let probe = ["probe", "run", "--data", "packed", "--json", "p.json"];
    let (success, ended, said) = intertwine(dir.path(), &probe);
    assert!(success, "{said}");
    let text = std::fs::read(dir.path().join("p.json")).unwrap();
    let figures: serde_json::Value = serde_json::from_slice(&text).unwrap();
    // It has a field, in which pictures can lie in several windows.
    assert!(figures["shortcut"]["window"].is_number(), "{figures}");

    // As it stands when a run was stopped.
    std::fs::rename(&model, dir.path().join("encoder.safetensors")).unwrap();
    let (success, stopped, said) = intertwine(dir.path(), &probe);
    assert!(success, "{said}");
    let note = "of a pretraining that has done 9 steps, and not ended\n";
    assert_eq!(stopped, format!("{note}{ended}"));

    // What is exported is held against training.
    let (config, said) = fine_tuned(dir.path(), "run", 32);
    assert!(config.contains("field_learned = false"), "{config}");
    assert!(said.contains("run/checkpoints/last.safetensors"), "{said}");
}
