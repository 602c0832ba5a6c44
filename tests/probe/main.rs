//! `intertwine probe`: weights from elsewhere give the features they gave there, and the figures tell what they should.

#[path = "../support/program.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;
mod timm;

use std::path::Path;

use image::{Rgb, RgbImage};
use intertwine::nn::weights::StateDict;
use intertwine::probe::encoder::Encoder;
use intertwine_datasets::{pack, PackOptions, Source};
use intertwine_detect::Detector;
use program::intertwine;

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
