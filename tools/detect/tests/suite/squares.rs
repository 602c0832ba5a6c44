//! A small real detector, built by hand: it finds grid-aligned bright and dark squares.
//!
//! Its input is 128 x 128. A convolution of 16 x 16 with stride 16 takes the mean brightness m (-1..=1) of each
//! cell; scores are sigmoid(20 m - 14) for `bright` and sigmoid(-20 m - 14) for `dark`. Each cell is its own
//! box. The one mask prototype that counts is the mean brightness of 4 x 4 pixels times 20.

use image::{Rgb, RgbImage};
use intertwine_detect::card::METADATA_KEY;
use intertwine_detect::{Class, MaskCard, ModelCard};
use prost::Message;
use tract_onnx::pb;

pub const SIZE: u32 = 128;
pub const CELL: u32 = 16;
pub const GREY: Rgb<u8> = Rgb([128; 3]);
pub const WHITE: Rgb<u8> = Rgb([255; 3]);
pub const BLACK: Rgb<u8> = Rgb([0; 3]);
const MASK_STRIDE: u32 = 4;

pub fn card() -> ModelCard {
    let classes = [(3, "bright"), (8, "dark")].map(|(id, name)| Class {
        id,
        name: name.into(),
    });
    ModelCard {
        mean: [0.5; 3],
        std: [0.5; 3],
        pad_value: [128; 3],
        masks: Some(MaskCard {
            prototypes: 2,
            stride: MASK_STRIDE,
        }),
        strides: vec![CELL],
        ..ModelCard::new(SIZE, classes.to_vec())
    }
}

/// The model, still open to damage.
pub fn proto() -> pb::ModelProto {
    let cells = i64::from(SIZE / CELL);
    let anchors = cells * cells;
    let boxes: Vec<f32> = (0..anchors)
        .flat_map(|at| {
            let (x, y) = (
                (at % cells) as f32 * CELL as f32,
                (at / cells) as f32 * CELL as f32,
            );
            [x, y, x + CELL as f32, y + CELL as f32]
        })
        .collect();
    let mean =
        |side: u32, gain: f32| vec![gain / (3 * side * side) as f32; (3 * side * side) as usize];
    let cell_weights = [mean(CELL, 20.0), mean(CELL, -20.0)].concat();
    let mask_weights = [mean(MASK_STRIDE, 20.0), mean(MASK_STRIDE, 0.0)].concat();
    let (cell, stride) = (i64::from(CELL), i64::from(MASK_STRIDE));
    let graph = pb::GraphProto {
        name: "squares".into(),
        input: vec![value("image", &[1, 3, SIZE as i64, SIZE as i64])],
        initializer: vec![
            floats("cell_weights", &[2, 3, cell, cell], &cell_weights),
            floats("cell_bias", &[2], &[-14.0, -14.0]),
            floats("mask_weights", &[2, 3, stride, stride], &mask_weights),
            floats("mask_bias", &[2], &[0.0, -1.0]),
            floats("grid", &[1, anchors, 4], &boxes),
            floats("ones", &[1, anchors, 2], &vec![1.0; 2 * anchors as usize]),
            integers("flat", &[1, 2, anchors]),
        ],
        node: vec![
            node(
                "Conv",
                &["image", "cell_weights", "cell_bias"],
                "cells",
                vec![ints("strides", &[cell, cell])],
            ),
            node("Reshape", &["cells", "flat"], "rows", vec![]),
            node(
                "Transpose",
                &["rows"],
                "logits",
                vec![ints("perm", &[0, 2, 1])],
            ),
            node("Sigmoid", &["logits"], "scores", vec![]),
            node("Identity", &["grid"], "boxes", vec![]),
            node("Identity", &["ones"], "coefficients", vec![]),
            node(
                "Conv",
                &["image", "mask_weights", "mask_bias"],
                "prototypes",
                vec![ints("strides", &[stride, stride])],
            ),
        ],
        output: ["boxes", "scores", "coefficients", "prototypes"]
            .map(untyped)
            .to_vec(),
        ..Default::default()
    };
    pb::ModelProto {
        ir_version: 8,
        opset_import: vec![pb::OperatorSetIdProto {
            domain: String::new(),
            version: 17,
        }],
        graph: Some(graph),
        metadata_props: vec![entry(&card().to_json().unwrap())],
        ..Default::default()
    }
}

pub fn bytes() -> Vec<u8> {
    proto().encode_to_vec()
}

/// The card as the model's metadata.
pub fn entry(json: &str) -> pb::StringStringEntryProto {
    pb::StringStringEntryProto {
        key: METADATA_KEY.into(),
        value: json.into(),
    }
}

/// A grey picture with filled rectangles `[x, y, w, h]`.
pub fn picture(width: u32, height: u32, rectangles: &[([u32; 4], Rgb<u8>)]) -> RgbImage {
    let mut picture = RgbImage::from_pixel(width, height, GREY);
    for &([x0, y0, w, h], color) in rectangles {
        for (x, y) in (x0..x0 + w).flat_map(|x| (y0..y0 + h).map(move |y| (x, y))) {
            picture.put_pixel(x, y, color);
        }
    }
    picture
}

pub fn floats(name: &str, dims: &[i64], data: &[f32]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: pb::tensor_proto::DataType::Float as i32,
        raw_data: data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..Default::default()
    }
}

pub fn integers(name: &str, data: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.into(),
        dims: vec![data.len() as i64],
        data_type: pb::tensor_proto::DataType::Int64 as i32,
        raw_data: data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..Default::default()
    }
}

pub fn node(
    op: &str,
    input: &[&str],
    output: &str,
    attribute: Vec<pb::AttributeProto>,
) -> pb::NodeProto {
    pb::NodeProto {
        name: output.into(),
        op_type: op.into(),
        input: input.iter().map(|s| s.to_string()).collect(),
        output: vec![output.into()],
        attribute,
        ..Default::default()
    }
}

fn ints(name: &str, values: &[i64]) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.into(),
        r#type: pb::attribute_proto::AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..Default::default()
    }
}

pub fn value(name: &str, dims: &[i64]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{dimension::Value, Dimension};
    let dim = dims
        .iter()
        .map(|&d| Dimension {
            value: Some(Value::DimValue(d)),
            ..Default::default()
        })
        .collect();
    let tensor = pb::type_proto::Tensor {
        elem_type: pb::tensor_proto::DataType::Float as i32,
        shape: Some(pb::TensorShapeProto { dim }),
    };
    pb::ValueInfoProto {
        name: name.into(),
        r#type: Some(pb::TypeProto {
            value: Some(pb::type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn untyped(name: &str) -> pb::ValueInfoProto {
    pb::ValueInfoProto {
        name: name.into(),
        ..Default::default()
    }
}

/// The file in `tests/data`, for the examples of the documentation. To write it anew:
/// `UPDATE_TEST_DATA=1 cargo test -p intertwine-detect`.
#[test]
fn the_checked_in_model_is_this_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/squares.onnx");
    if std::env::var_os("UPDATE_TEST_DATA").is_some() {
        std::fs::write(path, bytes()).unwrap();
    }
    assert!(
        std::fs::read(path).unwrap() == bytes(),
        "{path} is out of date: set UPDATE_TEST_DATA=1"
    );
}
