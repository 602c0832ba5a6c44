//! The exported model against the plain network, through tract; `refusals`: what must not be written.
use std::fs;
use std::path::Path;

use std::num::NonZeroUsize;

use intertwine_detect::{Class, Detector, EngineKind, ModelCard, Options};
use intertwine_flow::random::{stream, Purpose};
use rand_distr::{Distribution, StandardNormal};

use super::reference::{forward, Outputs};
use super::*;
use crate::field::Normalisation;

mod refusals;

fn small(patch: usize, image_size: usize, prototypes: usize) -> DetectorSpec {
    DetectorSpec {
        image_size,
        patch,
        width: 48,
        depth: 2,
        heads: 3,
        classes: 5,
        channels: 32,
        prototypes,
        tower_convs: 2,
        fine: true,
        layer_scale: true,
        registers: 0,
    }
}

fn picture(spec: &DetectorSpec) -> Vec<f32> {
    let mut random = stream(1, Purpose::Probe, 0, 0);
    StandardNormal
        .sample_iter(&mut random)
        .take(3 * spec.image_size * spec.image_size)
        .collect()
}

/// Exports with the plain network's outputs after `damage` has been at them.
fn export_damaged(
    path: &Path,
    spec: &DetectorSpec,
    weights: &Weights,
    damage: impl FnOnce(&mut Outputs),
) -> Result<ParityReport, ExportError> {
    let image = picture(spec);
    let mut outputs = forward(spec, &Weights::random(spec, 0), &image).unwrap();
    damage(&mut outputs);
    export(
        spec,
        weights,
        &card(spec),
        Reference {
            image: &image,
            outputs: outputs.raw(),
        },
        path,
    )
}

fn card(spec: &DetectorSpec) -> ModelCard {
    let classes = (0..spec.classes as u32).map(|id| Class {
        id: id * 10,
        name: format!("c{id}"),
    });
    spec.card(classes.collect(), Normalisation::IMAGENET)
}

#[test]
fn tract_computes_the_plain_network() {
    let specs = [
        small(8, 64, 0),
        small(8, 64, 7),
        small(16, 96, 4),
        DetectorSpec {
            registers: 4,
            ..small(16, 96, 0)
        },
        // The finest level's stride, 7, cannot be halved.
        small(14, 84, 4),
        DetectorSpec {
            fine: false,
            ..small(8, 64, 7)
        },
        // An odd grid (5) and no LayerScale, one tower convolution.
        DetectorSpec {
            tower_convs: 1,
            layer_scale: false,
            ..small(16, 80, 0)
        },
        DetectorSpec {
            classes: 1,
            heads: 1,
            tower_convs: 0,
            ..small(32, 128, 3)
        },
    ];
    let folder = tempfile::tempdir().unwrap();
    for (i, spec) in specs.iter().enumerate() {
        let path = folder.path().join(format!("{i}.onnx"));
        let report = export_random(spec, Normalisation::IMAGENET, i as u64, &path)
            .unwrap_or_else(|e| panic!("{spec:?}: {e}"));
        assert_eq!(
            report.max_abs_diff.len(),
            if spec.prototypes > 0 { 4 } else { 2 }
        );
        // Boxes are in pixels, and lie up to exp(4) strides away.
        for (name, diff) in report.max_abs_diff {
            let limit = if name == "boxes" { 1e-3 } else { 1e-4 };
            assert!(diff < limit, "{spec:?}: {name} differs by {diff}");
        }
    }
}

#[test]
fn the_edge_program_reads_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let spec = small(16, 96, 4);
    export_damaged(&path, &spec, &Weights::random(&spec, 0), |_| ()).unwrap();

    let mut detector = Detector::load(&path).unwrap();
    assert_eq!(detector.card(), &card(&spec));
    assert_eq!(detector.card().strides, [8, 16, 32]);
    assert_eq!(detector.card().masks.unwrap().stride, 4);
    let raw = detector.run_raw(&picture(&spec)).unwrap();
    assert_eq!(raw.boxes.len(), (12 * 12 + 6 * 6 + 3 * 3) * 4);
    assert_eq!(raw.prototypes.unwrap().len(), 4 * 24 * 24);
    // Only the model is left in the folder.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A pattern that the edge no longer recognises would cost its speed and nothing else.
#[test]
fn all_that_is_heavy_runs_on_our_own_layers() {
    for (spec, masks) in [(small(16, 96, 4), true), (small(8, 64, 0), false)] {
        let weights = Weights::random(&spec, 0);
        let model = detector::encode(&spec, &weights, &card(&spec)).unwrap();
        let load = |engine| {
            let options = Options {
                engine,
                ..Options::default()
            };
            Detector::from_bytes_with(&model, options).unwrap()
        };
        let (mut fused, mut tract) = (load(EngineKind::Fused), load(EngineKind::Tract));
        let nodes = fused.profile(NonZeroUsize::MIN).unwrap();
        let count = |kind| nodes.iter().filter(|node| node.kind == kind).count();
        let (d, towers) = (spec.depth, 6 * spec.tower_convs);
        assert_eq!(count("Attention"), d);
        let upsampled = usize::from(spec.prototypes_upsampled());
        let (mask_linears, mask_convs) = if masks {
            (1 + upsampled, 3 + 2)
        } else {
            (0, 0)
        };
        assert_eq!(count("Linear"), 2 * d + 4 + mask_linears);
        assert_eq!(count("Mlp"), d);
        assert_eq!(count("Conv3x3"), towers + 6 + mask_convs);
        assert_eq!(count("Patches"), 1);
        let heavy = |kind: &str| kind.contains("Mat") || kind.contains("Conv") && kind != "Conv3x3";
        let left: Vec<_> = nodes.iter().filter(|node| heavy(&node.kind)).collect();
        assert!(left.is_empty(), "tract computes {left:?}");

        let image = picture(&spec);
        let (fused, tract) = (
            fused.run_raw(&image).unwrap(),
            tract.run_raw(&image).unwrap(),
        );
        let pairs = [
            (Some(fused.boxes), Some(tract.boxes)),
            (Some(fused.scores), Some(tract.scores)),
            (fused.coefficients, tract.coefficients),
            (fused.prototypes, tract.prototypes),
        ];
        for (ours, theirs) in pairs.into_iter().filter_map(|(a, b)| a.zip(b)) {
            for (a, b) in ours.iter().zip(theirs) {
                assert!(
                    (a - b).abs() <= 1e-4 * b.abs().max(1.0),
                    "{a}, tract has {b}"
                );
            }
        }
    }
}

#[test]
fn smaller_weights_give_a_smaller_file_and_nearly_the_same_answers() {
    let spec = small(16, 96, 4);
    let weights = Weights::random(&spec, 0);
    let model = detector::encode(&spec, &weights, &card(&spec)).unwrap();
    let image = picture(&spec);
    let scores = |model: &[u8], engine| {
        let options = Options {
            engine,
            ..Options::default()
        };
        let mut detector = Detector::from_bytes_with(model, options).unwrap();
        let nodes = detector.profile(NonZeroUsize::MIN).unwrap();
        let linear = nodes.iter().filter(|node| node.kind == "Linear").count();
        (detector.run_raw(&image).unwrap().scores.to_vec(), linear)
    };
    let difference = |a: &[f32], b: &[f32]| {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let (exact, layers) = scores(&model, EngineKind::Fused);
    for (format, size, rounding) in [
        (WeightFormat::F16, 0.6, 1e-3),
        (WeightFormat::Int8, 0.4, 3e-2),
    ] {
        let small = compress(&model, format).unwrap();
        assert!(
            (small.len() as f64) < size * model.len() as f64,
            "{format:?}"
        );
        let (fused, found) = scores(&small, EngineKind::Fused);
        assert_eq!(found, layers, "{format:?}: a layer is not recognised");
        let (tract, _) = scores(&small, EngineKind::Tract);
        assert!(
            difference(&fused, &tract) < 1e-4,
            "{format:?}: the engines differ"
        );
        let cost = difference(&fused, &exact);
        assert!((1e-7..rounding).contains(&cost), "{format:?} costs {cost}");
    }
}

#[test]
fn boxes_lie_around_their_anchor_points() {
    // With the last convolution at zero every distance is exp(bias scale) strides.
    let spec = DetectorSpec {
        layer_scale: false,
        ..small(16, 80, 0)
    };
    let mut weights = Weights::random(&spec, 0);
    let (f, reg) = (spec.channels, [0.0, 1.0, -1.0, 9.0]);
    weights
        .insert("head.reg.weight", &[4, f, 3, 3], vec![0.0; 4 * 9 * f])
        .unwrap();
    weights.insert("head.reg.bias", &[4], reg.to_vec()).unwrap();
    weights
        .insert("head.scales", &[3], vec![1.0, 2.0, 0.5])
        .unwrap();
    let model = detector::encode(&spec, &weights, &card(&spec)).unwrap();
    let mut detector = Detector::from_bytes(&model).unwrap();
    let boxes = detector.run_raw(&picture(&spec)).unwrap().boxes.to_vec();

    // A grid of 5: 100 points at stride 8, 25 at 16, 4 at 32.
    assert_eq!(boxes.len(), 129 * 4);
    for (anchor, [x, y], stride, scale) in [
        (0, [4.0, 4.0], 8.0, 1.0f32),
        (11, [12.0, 12.0], 8.0, 1.0),
        (19, [76.0, 12.0], 8.0, 1.0),
        (100 + 7, [40.0, 24.0], 16.0, 2.0),
        (125 + 1, [48.0, 16.0], 32.0, 0.5),
    ] {
        let d = reg.map(|v: f32| (v * scale).min(4.0).exp() * stride);
        let expected = [x - d[0], y - d[1], x + d[2], y + d[3]];
        for (found, expected) in boxes[anchor * 4..][..4].iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-3,
                "anchor {anchor}: {found}, not {expected}"
            );
        }
    }
}

/// Writes models, each with an input and the plain network's outputs, for tests/peers/onnx_parity.py:
/// `PEERS=folder cargo test --lib export::tests::record -- --ignored`.
#[test]
#[ignore = "writes files for a peer to read"]
fn record() {
    let folder = std::path::PathBuf::from(std::env::var_os("PEERS").expect("PEERS names a folder"));
    for (name, spec) in [
        ("masks16", small(16, 96, 4)),
        ("masks8", small(8, 64, 7)),
        (
            "odd",
            DetectorSpec {
                layer_scale: false,
                ..small(16, 80, 0)
            },
        ),
        (
            "tiny384",
            DetectorSpec {
                prototypes: 16,
                ..DetectorSpec::tiny(384, 80)
            },
        ),
    ] {
        let path = folder.join(name).with_extension("onnx");
        println!(
            "{name}: {:?}",
            export_random(&spec, Normalisation::IMAGENET, 0, &path).unwrap()
        );
        let image = picture(&spec);
        let outputs = forward(&spec, &Weights::random(&spec, 0), &image).unwrap();
        let record = serde_json::json!({
            "image": image,
            "boxes": outputs.boxes,
            "scores": outputs.scores,
            "coefficients": outputs.coefficients,
            "prototypes": outputs.prototypes,
        });
        fs::write(path.with_extension("json"), record.to_string()).unwrap();
    }
}

/// The same for exported detectors and tract: `PEERS=model.onnx:other.onnx` gets `model.json` and `other.json` beside
/// them.
#[test]
#[ignore = "writes files for a peer to read"]
fn record_tract() {
    let models = std::env::var_os("PEERS").expect("PEERS names exported detectors");
    for path in std::env::split_paths(&models) {
        let mut detector = Detector::load(&path).unwrap();
        let side = detector.card().input_size as usize;
        let random = stream(1, Purpose::Probe, 0, 0);
        let image: Vec<f32> = StandardNormal
            .sample_iter(random)
            .take(3 * side * side)
            .collect();
        let raw = detector.run_raw(&image).unwrap();
        let record = serde_json::json!({
            "image": image,
            "boxes": raw.boxes,
            "scores": raw.scores,
            "coefficients": raw.coefficients,
            "prototypes": raw.prototypes,
        });
        fs::write(path.with_extension("json"), record.to_string()).unwrap();
    }
}
