//! What must not be written: models that disagree with training, weights and sizes that are no detector's.

use super::*;

#[test]
fn a_model_that_disagrees_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    fs::write(&path, "an older model").unwrap();
    let spec = small(16, 96, 4);
    let weights = Weights::random(&spec, 0);

    type Damage = fn(&mut Outputs);
    let damages: [(&str, Vec<usize>, Damage); 5] = [
        ("boxes", vec![2, 1], |o| o.boxes[9] += 5.0),
        ("scores", vec![3, 4], |o| o.scores[19] += 2e-3),
        ("scores", vec![0, 1], |o| o.scores[1] = f32::NAN),
        ("coefficients", vec![1, 0], |o| {
            o.coefficients.as_mut().unwrap()[4] -= 0.01
        }),
        ("prototypes", vec![1, 2, 3], |o| {
            o.prototypes.as_mut().unwrap()[24 * 24 + 51] *= -100.0
        }),
    ];
    for (name, place, damage) in damages {
        match export_damaged(&path, &spec, &weights, damage) {
            Err(ExportError::Parity { output, index, .. }) => {
                assert_eq!((output, index), (name, place))
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let error = export_damaged(&path, &spec, &weights, |o| o.scores.truncate(9)).unwrap_err();
    assert!(
        matches!(
            error,
            ExportError::ReferenceLength {
                output: "scores",
                ..
            }
        ),
        "{error}"
    );
    let error = export_damaged(&path, &spec, &weights, |o| o.coefficients = None).unwrap_err();
    assert!(
        matches!(
            error,
            ExportError::ReferenceLength {
                output: "coefficients",
                ..
            }
        ),
        "{error}"
    );

    let error = export_damaged(&path, &spec, &weights, |o| o.boxes[2] = f32::INFINITY).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`boxes` differs from the reference at [0, 2]"),
        "{error}"
    );

    // A card of another detector.
    let (image, outputs) = (
        picture(&spec),
        forward(&spec, &weights, &picture(&spec)).unwrap(),
    );
    let mut other = card(&spec);
    other.classes.pop();
    let reference = Reference {
        image: &image,
        outputs: outputs.raw(),
    };
    let error = export(&spec, &weights, &other, reference, &path)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`scores`"), "{error}");

    // Other weights than the reference's: what the gate is there for.
    let error = export_damaged(&path, &spec, &Weights::random(&spec, 1), |_| ()).unwrap_err();
    assert!(matches!(error, ExportError::Parity { .. }), "{error}");

    assert_eq!(fs::read(&path).unwrap(), b"an older model");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn errors_name_the_weight() {
    let spec = small(16, 96, 0);
    let refused = |change: fn(&mut Weights)| {
        let mut weights = Weights::random(&spec, 0);
        change(&mut weights);
        detector::encode(&spec, &weights, &card(&spec))
            .unwrap_err()
            .to_string()
    };
    let error = refused(|w| drop(w.remove("blocks.1.mlp.fc1.bias")));
    assert!(
        error.contains("`blocks.1.mlp.fc1.bias` (expected with shape [192])"),
        "{error}"
    );
    assert!(error.contains("did you mean `blocks."), "{error}");

    let error = refused(|w| w.insert("head.scales", &[2], vec![1.0; 2]).unwrap());
    assert!(
        error.contains("`head.scales` has shape [2], expected [3]"),
        "{error}"
    );

    let error = refused(|w| w.insert("blocks.2.norm1.weight", &[1], vec![1.0]).unwrap());
    assert!(
        error.contains("1 weights have no place in this network, the first is `blocks.2.norm1"),
        "{error}"
    );

    let error = refused(|w| {
        w.insert(
            "cls_token",
            &[1, 1, 48],
            [&[0.0; 47][..], &[f32::NAN]].concat(),
        )
        .unwrap()
    });
    assert!(
        error.contains("`cls_token` holds NaN at [0, 0, 47]"),
        "{error}"
    );

    let error = Weights::new()
        .insert("a", &[2, 3], vec![0.0; 5])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("5 values") && error.contains("holds 6"),
        "{error}"
    );
}

#[test]
fn impossible_specs_name_the_field() {
    let good = small(16, 96, 4);
    for (field, spec) in [
        (
            "image_size",
            DetectorSpec {
                image_size: 100,
                ..good.clone()
            },
        ),
        (
            "image_size",
            DetectorSpec {
                image_size: 1 << 40,
                ..good.clone()
            },
        ),
        (
            "image_size",
            DetectorSpec {
                image_size: 16,
                ..good.clone()
            },
        ),
        (
            "patch",
            DetectorSpec {
                patch: 15,
                image_size: 90,
                ..good.clone()
            },
        ),
        (
            "width",
            DetectorSpec {
                width: 50,
                ..good.clone()
            },
        ),
        (
            "heads",
            DetectorSpec {
                heads: 0,
                ..good.clone()
            },
        ),
        (
            "classes",
            DetectorSpec {
                classes: 0,
                ..good.clone()
            },
        ),
    ] {
        let error = spec.validate().unwrap_err();
        assert!(
            matches!(error, ExportError::Spec { field: f, .. } if f == field),
            "{error}"
        );
    }
    good.validate().unwrap();
}

#[test]
fn shape_mismatches_name_the_node() {
    let mut graph = onnx::Graph::new("test");
    let x = graph.input("x", &[1, 4, 5, 5]);
    let y = graph.input("y", &[3, 4]);
    let weight = graph.initializer("w", &[8, 4, 3, 3], &[0.0; 288]).unwrap();
    let bias = graph.initializer("b", &[7], &[0.0; 7]).unwrap();
    let errors = [
        graph.conv("narrow", &x, &weight, &bias, 1, 1),
        graph.add("sum", &x, &y),
        graph.matmul("product", &x, &y),
        graph.reshape("flat", &x, &[99]),
        graph.transpose("turned", &x, &[0, 1, 1, 2]),
        graph.slice("cut", &x, 1, 2, 5),
        graph.concat("joined", &[&x, &y], 0),
        graph.split::<3>("parts", &x, 1).map(|[first, ..]| first),
        graph.layer_norm("norm", &y, &bias, &bias, 1e-6),
        graph.max_pool("pool", &y, 2),
        graph.softmax("share", &y, 2),
    ];
    let names = [
        "narrow", "sum", "product", "flat", "turned", "cut", "joined", "parts", "norm", "pool",
        "share",
    ];
    for (result, name) in errors.into_iter().zip(names) {
        match result {
            Err(ExportError::Shape { node, .. }) => assert_eq!(node, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}
