//! Models that are damaged, foreign or lie: always an error that says what is wrong, never a panic.

use intertwine_detect::{DetectError, Detector, ModelError};
use prost::Message;
use tract_onnx::pb;

use crate::squares::{self, entry, floats, integers, node, value};

fn error_of(model: &pb::ModelProto) -> ModelError {
    match Detector::from_bytes(&model.encode_to_vec()) {
        Ok(_) => panic!("the model was accepted"),
        Err(DetectError::Model { source, .. }) => source,
        Err(other) => panic!("{other}"),
    }
}

/// The error after `damage`, as text.
fn after(damage: impl FnOnce(&mut pb::ModelProto, &mut pb::GraphProto)) -> String {
    let mut model = squares::proto();
    let mut graph = model.graph.take().unwrap();
    damage(&mut model, &mut graph);
    model.graph.get_or_insert(graph);
    error_of(&model).to_string()
}

#[track_caller]
fn assert_says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "`{part}` is missing in: {error}");
    }
}

#[test]
fn a_truncated_file_is_an_error_at_every_length() {
    let bytes = squares::bytes();
    let step = bytes.len() / 60;
    for length in (0..bytes.len())
        .step_by(step)
        .chain(bytes.len() - 80..bytes.len())
    {
        assert!(
            Detector::from_bytes(&bytes[..length]).is_err(),
            "{length} of {} bytes",
            bytes.len()
        );
    }
}

#[test]
fn flipped_bytes_never_panic() {
    // Most flips hit a weight and are no error; what counts is that the call returns.
    let bytes = squares::bytes();
    for at in (0..bytes.len())
        .step_by(211)
        .chain(bytes.len() - 60..bytes.len())
    {
        for flip in [0xff, 0x01] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            let _ = Detector::from_bytes(&bytes);
        }
    }
}

#[test]
fn garbage_is_an_error() {
    let mut noise = vec![0u8; 4096];
    let mut state = 1u32;
    for byte in &mut noise {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    for bytes in [&noise[..], b"", b"\x89PNG\r\n\x1a\n", b"not a model at all"] {
        assert!(Detector::from_bytes(bytes).is_err());
    }
}

#[test]
fn a_file_error_names_the_file() {
    let error = Detector::load("no/such/model.onnx".as_ref())
        .err()
        .unwrap()
        .to_string();
    assert_says(&error, &["no/such/model.onnx", "cannot read"]);
}

#[test]
fn a_foreign_model_is_told_from_a_broken_one() {
    let foreign = after(|model, _| model.metadata_props.clear());
    assert_says(
        &foreign,
        &[
            "not an Intertwine export",
            "intertwine.model_card",
            "intertwine export",
        ],
    );
    let broken = after(|model, _| model.metadata_props = vec![entry("{\"format_version\": 1,")]);
    assert_says(&broken, &["intertwine.model_card", "line 1"]);
    let newer = after(|model, _| model.metadata_props = vec![entry("{\"format_version\": 9}")]);
    assert_says(&newer, &["format_version is 9", "update"]);
    let wrong = after(|model, _| {
        let json = squares::card()
            .to_json()
            .unwrap()
            .replace("\"nms_iou\":0.6", "\"nms_iou\":6");
        model.metadata_props = vec![entry(&json)];
    });
    assert_says(&wrong, &["nms_iou", "6", "0 to 1"]);
}

#[test]
fn inputs_and_outputs_must_be_those_of_the_contract() {
    let no_masks = after(|_, graph| graph.output.truncate(2));
    assert_says(&no_masks, &["output", "`coefficients`", "boxes, scores"]);
    let renamed = after(|_, graph| {
        graph.input[0].name = "pixels".into();
        for node in &mut graph.node {
            for input in node.input.iter_mut().filter(|name| *name == "image") {
                *input = "pixels".into();
            }
        }
    });
    assert_says(&renamed, &["input", "`image`", "pixels"]);
    let second = after(|_, graph| graph.input.push(value("mask", &[1])));
    assert_says(&second, &["second input `mask`"]);
    let other_size = after(|model, _| {
        let json = squares::card()
            .to_json()
            .unwrap()
            .replace("\"input_size\":128", "\"input_size\":64");
        model.metadata_props = vec![entry(&json)];
    });
    assert_says(&other_size, &["`image`", "1, 3, 128, 128", "1, 3, 64, 64"]);
    let fewer_classes = after(|model, _| {
        let mut card = squares::card();
        card.classes.pop();
        model.metadata_props = vec![entry(&card.to_json().unwrap())];
    });
    assert_says(&fewer_classes, &["`scores`", "1, 64, 2", "1, 64, 1"]);
    let other_stride = after(|model, _| {
        let mut card = squares::card();
        card.masks.as_mut().unwrap().stride = 8;
        model.metadata_props = vec![entry(&card.to_json().unwrap())];
    });
    assert_says(
        &other_stride,
        &["`prototypes`", "1, 2, 32, 32", "1, 2, 16, 16"],
    );
    let dynamic = after(|_, graph| graph.input[0] = value("image", &[-1, 3, 128, 128]));
    assert_says(&dynamic, &["`image`"]);
}

#[test]
fn a_graph_that_does_not_hold_together_is_an_error() {
    after(|model, _| model.graph = Some(pb::GraphProto::default()));
    let unmade = after(|_, graph| {
        graph.node.retain(|node| node.output[0] != "scores");
    });
    assert_says(&unmade, &["scores"]);
    after(|_, graph| graph.node[0].input[1] = "no_such_weight".into());
    after(|_, graph| graph.node[0].op_type = "NoSuchOperator".into());
    after(|_, graph| graph.node[1].input.clear());
    after(|_, graph| graph.node[0].input[0] = "scores".into()); // a cycle
    after(|_, graph| graph.initializer[0].raw_data.truncate(17));
    after(|_, graph| graph.initializer[0].data_type = 9999);
    after(|_, graph| graph.initializer[0].dims = vec![2, 3, -16, 16]);
}

#[test]
fn sizes_that_nobody_has_memory_for_are_refused() {
    let huge = after(|_, graph| graph.initializer[0].dims = vec![1 << 40, 1 << 30, 16, 16]);
    assert_says(&huge, &["cell_weights"]);
    // More ones than there are addresses, folded into a constant by any planner that does not look first.
    let filled = after(|_, graph| {
        graph
            .initializer
            .push(integers("much", &[1 << 28, 1 << 22]));
        graph
            .node
            .push(node("ConstantOfShape", &["much"], "filled", vec![]));
        graph.output.push(value("filled", &[1 << 28, 1 << 22]));
    });
    assert_says(&filled, &["not a usable ONNX model"]);
    let card = after(|model, _| {
        let json = squares::card()
            .to_json()
            .unwrap()
            .replace("\"input_size\":128", "\"input_size\":4000000000");
        model.metadata_props = vec![entry(&json)];
    });
    assert_says(&card, &["input_size", "4000000000"]);
}

#[test]
fn weights_in_another_file_are_refused_and_not_read() {
    let error = after(|_, graph| {
        graph.initializer[0].raw_data.clear();
        graph.initializer[0].data_location = Some(pb::tensor_proto::DataLocation::External as i32);
        graph.initializer[0].external_data = vec![pb::StringStringEntryProto {
            key: "location".into(),
            value: "/etc/passwd".into(),
        }];
    });
    assert_says(&error, &["cell_weights", "one file"]);
}

/// tract counts up to the axis of a norm, which takes centuries here, and orders axes step by step until they are in order.
#[test]
fn attributes_that_nobody_means_are_refused() {
    let with = |attribute: pb::AttributeProto| {
        after(|_, graph| {
            let from = graph.node[0].output[0].clone();
            let (norm, out) = ("LayerNormalization", "far");
            let inputs = [&from, "grid"];
            graph.node.push(node(norm, &inputs, out, vec![attribute]));
        })
    };
    for axis in [i64::MAX, i64::MIN] {
        let error = with(pb::AttributeProto {
            name: "axis".into(),
            i: axis,
            ..Default::default()
        });
        let parts = ["axis", "LayerNormalization", "far", &axis.to_string()];
        assert_says(&error, &parts);
    }
    let error = with(pb::AttributeProto {
        name: "body".into(),
        g: Some(pb::GraphProto::default()),
        ..Default::default()
    });
    assert_says(&error, &["body", "loops"]);
    let error = with(pb::AttributeProto {
        name: "perm".into(),
        ints: vec![0, 2, 2],
        ..Default::default()
    });
    assert_says(&error, &["perm", "[0, 2, 2]"]);
}

#[test]
fn a_model_may_name_its_outputs_in_any_order_and_have_more() {
    let mut model = squares::proto();
    let graph = model.graph.as_mut().unwrap();
    graph.output.reverse();
    graph.output.insert(1, value("cells", &[1, 2, 8, 8]));
    let mut detector = Detector::from_bytes(&model.encode_to_vec()).unwrap();
    let picture = squares::picture(128, 128, &[([32, 64, 16, 16], squares::WHITE)]);
    assert_eq!(detector.detect(&picture).unwrap().len(), 1);
    assert_eq!(
        detector
            .run_raw(&vec![0.0; 3 * 128 * 128])
            .unwrap()
            .coefficients
            .unwrap()
            .len(),
        128
    );
}

#[test]
fn a_model_of_boxes_only_gives_no_masks() {
    let mut model = squares::proto();
    model.graph.as_mut().unwrap().output.truncate(2);
    let mut card = squares::card();
    card.masks = None;
    model.metadata_props = vec![entry(&card.to_json().unwrap())];
    let mut detector = Detector::from_bytes(&model.encode_to_vec()).unwrap();
    let picture = squares::picture(128, 128, &[([32, 64, 16, 16], squares::WHITE)]);
    assert_eq!(detector.detect(&picture).unwrap()[0].mask, None);
}

#[test]
fn what_is_not_a_number_is_no_detection() {
    // Scores of NaN everywhere, boxes of NaN and infinity: 0 / 0 in the graph does that.
    let mut model = squares::proto();
    let graph = model.graph.as_mut().unwrap();
    let grid = graph
        .initializer
        .iter_mut()
        .find(|tensor| tensor.name == "grid")
        .unwrap();
    let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3.0e38];
    *grid = floats(
        "grid",
        &[1, 64, 4],
        &(0..256).map(|i| bad[i % 4]).collect::<Vec<_>>(),
    );
    let mut detector = Detector::from_bytes(&model.encode_to_vec()).unwrap();
    let white = squares::picture(128, 128, &[([0, 0, 128, 128], squares::WHITE)]);
    assert_eq!(detector.detect(&white).unwrap(), []);

    let mut model = squares::proto();
    let graph = model.graph.as_mut().unwrap();
    graph.initializer[1] = floats("cell_bias", &[2], &[f32::NAN, f32::NAN]);
    let mut detector = Detector::from_bytes(&model.encode_to_vec()).unwrap();
    assert_eq!(detector.detect(&white).unwrap(), []);
}
