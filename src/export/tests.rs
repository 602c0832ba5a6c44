//! The exported model against the plain network, through tract; and what must not be written.
use std::fs;

use intertwine_flow::random::{stream, Purpose};
use rand_distr::{Distribution, StandardNormal};
use serde_json::json;

use super::reference::{forward, Outputs};
use super::*;

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
        layer_scale: true,
    }
}

fn picture(spec: &DetectorSpec) -> Vec<f32> {
    let mut random = stream(1, Purpose::Probe, 0, 0);
    StandardNormal
        .sample_iter(&mut random)
        .take(3 * spec.image_size * spec.image_size)
        .collect()
}

fn export_to(
    path: &std::path::Path,
    spec: &DetectorSpec,
    weights: &Weights,
    outputs: &Outputs,
) -> Result<ParityReport, ExportError> {
    let image = picture(spec);
    export(
        spec,
        weights,
        &json!({}),
        Reference {
            image: &image,
            outputs,
        },
        path,
    )
}

#[test]
fn tract_computes_the_plain_network() {
    let specs = [
        small(8, 64, 0),
        small(8, 64, 7),
        small(16, 96, 4),
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
        let report =
            export_random(spec, i as u64, &path).unwrap_or_else(|e| panic!("{spec:?}: {e}"));
        assert_eq!(
            report.max_abs_diff.len(),
            if spec.prototypes > 0 { 4 } else { 2 }
        );
        // Boxes are in pixels, and lie up to exp(4) strides away.
        for (name, diff) in report.max_abs_diff {
            let limit = if name == "boxes" { 1e-3 } else { 1e-4 };
            assert!(diff < limit, "{spec:?}: {name} differs by {diff}");
        }
        println!("{spec:?}: {:?}", fs::metadata(&path).unwrap().len());
    }
}
