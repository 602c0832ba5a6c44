//! Builds an ONNX graph whose shapes are all known: a mismatch is an error where the node is added,
//! naming it, and not something a runtime finds years later.
//!
//! Opset 17 is the oldest with LayerNormalization, and is read by every runtime in use.
use std::collections::{HashMap, HashSet};

use prost::Message;
use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;

use super::ExportError;

const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;

/// A value of the graph: its name and its static shape. Made by a [`Graph`], used in the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    name: String,
    shape: Vec<usize>,
}

impl Value {
    /// Its dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// An ONNX graph under construction. The operations are in [`ops`](super::ops).
#[derive(Debug, Default)]
pub struct Graph {
    proto: pb::GraphProto,
    names: HashSet<String>,
    scalars: HashMap<u32, Value>,
    shared: HashMap<String, Value>,
    metadata: Vec<pb::StringStringEntryProto>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        let proto = pb::GraphProto {
            name: name.to_owned(),
            ..Default::default()
        };
        Self {
            proto,
            ..Default::default()
        }
    }

    /// Adds an input of f32 values.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Value {
        let value = Value {
            name: self.unique(name),
            shape: shape.to_vec(),
        };
        self.proto.input.push(value_info(&value));
        value
    }

    /// Adds a constant of f32 values, row-major.
    ///
    /// # Errors
    /// [`ExportError::WeightLength`] when the data does not fill the shape.
    pub fn initializer(
        &mut self,
        name: &str,
        shape: &[usize],
        data: &[f32],
    ) -> Result<Value, ExportError> {
        if data.len() != shape.iter().product::<usize>() {
            let name = name.to_owned();
            return Err(ExportError::WeightLength {
                name,
                found: data.len(),
                shape: shape.to_vec(),
            });
        }
        let bytes = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        Ok(self.constant(name, shape, DataType::Float, bytes))
    }

    /// The constant of this name, added the first time it is asked for, with the data given then.
    ///
    /// # Errors
    /// [`ExportError::WeightLength`] when the data does not fill the shape.
    pub fn shared(
        &mut self,
        name: &str,
        shape: &[usize],
        data: &[f32],
    ) -> Result<Value, ExportError> {
        if let Some(known) = self.shared.get(name) {
            return Ok(known.clone());
        }
        let value = self.initializer(name, shape, data)?;
        self.shared.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    /// A constant of rank 0. Equal ones are stored once.
    pub fn scalar(&mut self, value: f32) -> Value {
        if let Some(known) = self.scalars.get(&value.to_bits()) {
            return known.clone();
        }
        let bytes = value.to_le_bytes().to_vec();
        let constant = self.constant(&format!("scalar_{value}"), &[], DataType::Float, bytes);
        self.scalars.insert(value.to_bits(), constant.clone());
        constant
    }

    /// A constant list of sizes or places, as Reshape, Slice and Split take them.
    pub(super) fn integers(&mut self, name: &str, values: &[usize]) -> Value {
        let bytes = values
            .iter()
            .flat_map(|&v| (v as i64).to_le_bytes())
            .collect();
        self.constant(name, &[values.len()], DataType::Int64, bytes)
    }

    fn constant(
        &mut self,
        name: &str,
        shape: &[usize],
        data_type: DataType,
        raw_data: Vec<u8>,
    ) -> Value {
        let value = Value {
            name: self.unique(name),
            shape: shape.to_vec(),
        };
        self.proto.initializer.push(pb::TensorProto {
            name: value.name.clone(),
            dims: shape.iter().map(|&d| d as i64).collect(),
            data_type: data_type as i32,
            raw_data,
            ..Default::default()
        });
        value
    }

    /// Adds a node and returns its outputs, one of each shape. The caller has checked the inputs.
    pub(super) fn node(
        &mut self,
        op: &'static str,
        name: &str,
        inputs: &[&Value],
        attributes: Vec<pb::AttributeProto>,
        shapes: &[Vec<usize>],
    ) -> Vec<Value> {
        let name = self.unique(name);
        let outputs: Vec<Value> = match shapes {
            [shape] => vec![Value {
                name: name.clone(),
                shape: shape.clone(),
            }],
            _ => (0..)
                .zip(shapes)
                .map(|(i, shape)| {
                    let name = self.unique(&format!("{name}.{i}"));
                    Value {
                        name,
                        shape: shape.clone(),
                    }
                })
                .collect(),
        };
        // The shapes we tracked are written down, so that onnx.checker can hold its own against them.
        self.proto.value_info.extend(outputs.iter().map(value_info));
        self.proto.node.push(pb::NodeProto {
            name,
            op_type: op.to_owned(),
            input: inputs.iter().map(|v| v.name.clone()).collect(),
            output: outputs.iter().map(|v| v.name.clone()).collect(),
            attribute: attributes,
            ..Default::default()
        });
        outputs
    }

    /// [`node`](Self::node) with one output.
    pub(super) fn single(
        &mut self,
        op: &'static str,
        name: &str,
        inputs: &[&Value],
        attributes: Vec<pb::AttributeProto>,
        shape: Vec<usize>,
    ) -> Value {
        self.node(op, name, inputs, attributes, &[shape])
            .swap_remove(0)
    }

    /// Makes a value an output of the graph under a name of its own, through an Identity node.
    pub fn output(&mut self, name: &str, value: &Value) {
        let output = self.single("Identity", name, &[value], vec![], value.shape.clone());
        self.proto
            .value_info
            .retain(|info| info.name != output.name);
        self.proto.output.push(value_info(&output));
    }

    /// Adds an entry to the model's metadata.
    pub fn metadata(&mut self, key: &str, value: String) {
        self.metadata.push(pb::StringStringEntryProto {
            key: key.to_owned(),
            value,
        });
    }

    /// The bytes of the model file.
    pub fn encode(self) -> Vec<u8> {
        pb::ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![pb::OperatorSetIdProto {
                domain: String::new(),
                version: OPSET,
            }],
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.proto),
            metadata_props: self.metadata,
            ..Default::default()
        }
        .encode_to_vec()
    }

    /// The name itself, or with a number behind it if it is taken.
    fn unique(&mut self, name: &str) -> String {
        let numbered = (2..).map(|i| format!("{name}_{i}"));
        let free = std::iter::once(name.to_owned())
            .chain(numbered)
            .find(|n| !self.names.contains(n));
        let free = free.unwrap_or_default(); // the numbers do not run out
        self.names.insert(free.clone());
        free
    }
}

fn value_info(value: &Value) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{dimension, Dimension};
    let dim = |&d: &usize| Dimension {
        value: Some(dimension::Value::DimValue(d as i64)),
        ..Default::default()
    };
    let tensor = pb::type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(pb::TensorShapeProto {
            dim: value.shape.iter().map(dim).collect(),
        }),
    };
    pb::ValueInfoProto {
        name: value.name.clone(),
        r#type: Some(pb::TypeProto {
            value: Some(pb::type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// An integer attribute.
pub(super) fn int(name: &str, i: i64) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i,
        ..Default::default()
    }
}

/// An attribute of several integers.
pub(super) fn ints(name: &str, values: &[usize]) -> pb::AttributeProto {
    let ints = values.iter().map(|&v| v as i64).collect();
    pb::AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints,
        ..Default::default()
    }
}

/// A real attribute.
pub(super) fn float(name: &str, f: f32) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Float as i32,
        f,
        ..Default::default()
    }
}
