//! An ONNX graph to look things up in: what makes a value, who reads it, which shape it has, what is constant.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::f16;

/// A graph and the shapes of its values.
pub(super) struct Graph<'a> {
    makers: HashMap<&'a str, &'a pb::NodeProto>,
    readers: HashMap<&'a str, Vec<&'a pb::NodeProto>>,
    constants: HashMap<&'a str, &'a pb::TensorProto>,
    outputs: HashSet<&'a str>,
    shapes: HashMap<String, Vec<usize>>,
}

impl<'a> Graph<'a> {
    /// `shapes` are those of the values that are known to be `f32`.
    pub(super) fn new(proto: &'a pb::GraphProto, shapes: HashMap<String, Vec<usize>>) -> Self {
        let mut readers: HashMap<&str, Vec<&pb::NodeProto>> = HashMap::new();
        for node in &proto.node {
            for input in &node.input {
                readers.entry(input).or_default().push(node);
            }
        }
        let made = |node: &'a pb::NodeProto| node.output.iter().map(move |o| (o.as_str(), node));
        Self {
            makers: proto.node.iter().flat_map(made).collect(),
            readers,
            constants: proto
                .initializer
                .iter()
                .map(|tensor| (tensor.name.as_str(), tensor))
                .collect(),
            outputs: proto.output.iter().map(|o| o.name.as_str()).collect(),
            shapes,
        }
    }

    /// The shape of a value of `f32`.
    pub(super) fn shape(&self, value: &str) -> Option<&[usize]> {
        self.shapes.get(value).map(Vec::as_slice)
    }

    /// The nodes that read a value, unless the world outside does, too.
    pub(super) fn readers(&self, value: &str) -> &[&'a pb::NodeProto] {
        if self.outputs.contains(value) {
            return &[];
        }
        self.readers.get(value).map_or(&[], Vec::as_slice)
    }

    /// The node of this kind that alone reads a value.
    pub(super) fn reader(&self, value: &str, kind: &str) -> Option<&'a pb::NodeProto> {
        match self.readers(value) {
            [node] if node.op_type == kind => Some(node),
            _ => None,
        }
    }

    /// The node of this kind that makes a value.
    pub(super) fn maker(&self, value: &str, kind: &str) -> Option<&'a pb::NodeProto> {
        self.makers
            .get(value)
            .copied()
            .filter(|node| node.op_type == kind)
    }

    /// The nodes that `output` is made of from `inputs` and constants, by the first of their outputs.
    pub(super) fn between(&self, inputs: &[&str], output: &'a str) -> Vec<&'a str> {
        let (mut found, mut next) = (Vec::new(), vec![output]);
        while let Some(value) = next.pop() {
            let maker = self.makers.get(value).filter(|_| !inputs.contains(&value));
            let Some((node, first)) = maker.and_then(|n| Some((n, n.output.first()?.as_str())))
            else {
                continue;
            };
            if !found.contains(&first) {
                found.push(first);
                next.extend(node.input.iter().map(String::as_str));
            }
        }
        found
    }

    /// The dimensions and values of a constant of `f32`, or of one that a node turns into `f32`.
    pub(super) fn constant(&self, name: &str) -> Option<(Vec<usize>, Cow<'a, [f32]>)> {
        let Some(tensor) = self.constants.get(name) else {
            return self.unpacked(name);
        };
        let (dims, values) = (dims(tensor)?, f32s(tensor)?);
        (Some(values.len()) == volume(&dims)).then_some((dims, values))
    }

    /// A constant that is stored in `f16`, or in `int8` with a scale for each place along an axis.
    fn unpacked(&self, name: &str) -> Option<(Vec<usize>, Cow<'a, [f32]>)> {
        let stored = |node: &'a pb::NodeProto| self.constants.get(node.input.first()?.as_str());
        if let Some(cast) = self.maker(name, "Cast") {
            let tensor = stored(cast)?;
            let whole = int(cast, "to") == Some(DataType::Float as i64)
                && tensor.data_type == DataType::Float16 as i32;
            let (halves, rest) = tensor.raw_data.as_chunks::<2>();
            let values = halves.iter().map(|v| f16::from_le_bytes(*v).to_f32());
            let dims = dims(tensor)?;
            let fits = whole && rest.is_empty() && Some(halves.len()) == volume(&dims);
            return fits.then(|| (dims, values.collect()));
        }
        let node = self.maker(name, "DequantizeLinear")?;
        let tensor = stored(node)?;
        let dims = dims(tensor)?;
        let (_, scales) = self.constant(node.input.get(1)?)?;
        // The zero point, if there is one, must be zero: ours are.
        let zero = node
            .input
            .get(2)
            .map(|name| self.constants.get(name.as_str()));
        let centred = match zero {
            None => true,
            Some(zero) => zero.is_some_and(|z| z.raw_data.iter().all(|&v| v == 0)),
        };
        let axis = usize::try_from(int(node, "axis").unwrap_or(1)).ok()?;
        let inner = volume(dims.get(axis + 1..)?)?.max(1);
        let fits = centred
            && tensor.data_type == DataType::Int8 as i32
            && scales.len() == dims[axis]
            && !scales.is_empty()
            && Some(tensor.raw_data.len()) == volume(&dims);
        let value = |(i, &v): (usize, &u8)| f32::from(v as i8) * scales[i / inner % scales.len()];
        fits.then(|| {
            (
                dims,
                tensor.raw_data.iter().enumerate().map(value).collect(),
            )
        })
    }

    /// The value of a constant that has one.
    pub(super) fn scalar(&self, name: &str) -> Option<f32> {
        match &*self.constant(name)?.1 {
            [value] => Some(*value),
            _ => None,
        }
    }
}

/// The other operand of a node of two.
pub(super) fn other<'a>(node: &'a pb::NodeProto, one: &str) -> Option<&'a str> {
    match node.input.as_slice() {
        [a, b] if a == one && b != one => Some(b),
        [a, b] if b == one && a != one => Some(a),
        _ => None,
    }
}

/// The output of a node of one.
pub(super) fn output(node: &pb::NodeProto) -> Option<&str> {
    match node.output.as_slice() {
        [output] => Some(output),
        _ => None,
    }
}

/// An integer attribute.
pub(super) fn int(node: &pb::NodeProto, name: &str) -> Option<i64> {
    attribute(node, name).map(|a| a.i)
}

/// A real attribute.
pub(super) fn float(node: &pb::NodeProto, name: &str) -> Option<f32> {
    attribute(node, name).map(|a| a.f)
}

/// An attribute of several integers, or `default` where it is absent.
pub(super) fn ints<'a>(node: &'a pb::NodeProto, name: &str, default: &'a [i64]) -> &'a [i64] {
    attribute(node, name).map_or(default, |a| &a.ints)
}

fn attribute<'a>(node: &'a pb::NodeProto, name: &str) -> Option<&'a pb::AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

fn dims(tensor: &pb::TensorProto) -> Option<Vec<usize>> {
    tensor.dims.iter().map(|&d| d.try_into().ok()).collect()
}

fn volume(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

fn f32s(tensor: &pb::TensorProto) -> Option<Cow<'_, [f32]>> {
    if tensor.data_type != DataType::Float as i32 {
        return None;
    }
    match tensor.raw_data.as_chunks::<4>() {
        ([], []) => Some(Cow::Borrowed(&tensor.float_data)),
        (raw, []) => Some(raw.iter().map(|v| f32::from_le_bytes(*v)).collect()),
        _ => None,
    }
}
