//! An ONNX graph to look things up in: what makes a value, who reads it, which shape it has, what is constant.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::*;

use super::constants::Constants;

/// A graph and the shapes of its values.
pub(super) struct Graph<'a> {
    makers: HashMap<&'a str, &'a pb::NodeProto>,
    readers: HashMap<&'a str, Vec<&'a pb::NodeProto>>,
    constants: &'a Constants,
    outputs: HashSet<&'a str>,
    shapes: HashMap<String, Vec<usize>>,
}

impl<'a> Graph<'a> {
    /// `shapes` are those of the values that are known to be `f32`.
    pub(super) fn new(
        proto: &'a pb::GraphProto,
        constants: &'a Constants,
        shapes: HashMap<String, Vec<usize>>,
    ) -> Self {
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
            constants,
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
    pub(super) fn constant(&self, name: &str) -> Option<(&'a [usize], Cow<'a, [f32]>)> {
        if let Some(tensor) = self.constants.get(name) {
            return Some((tensor.shape(), Cow::Borrowed(values(tensor)?)));
        }
        if let Some(cast) = self.maker(name, "Cast") {
            let tensor = self.constants.get(cast.input.first()?)?;
            let halves: &[f16] = values(tensor)?;
            let to_f32 = int(cast, "to") == Some(DataType::Float as i64);
            return to_f32.then(|| (tensor.shape(), halves.iter().map(|v| v.to_f32()).collect()));
        }
        self.dequantized(self.maker(name, "DequantizeLinear")?)
    }

    /// A constant that is stored in `int8` with a scale for each place along an axis.
    fn dequantized(&self, node: &'a pb::NodeProto) -> Option<(&'a [usize], Cow<'a, [f32]>)> {
        let constant = |input: &String| self.constants.get(input);
        let tensor = constant(node.input.first()?)?;
        let (dims, stored) = (tensor.shape(), values::<i8>(tensor)?);
        let scales: &[f32] = values(constant(node.input.get(1)?)?)?;
        // The zero point, if there is one, must be zero: ours are.
        let centred = match node.input.get(2) {
            None => true,
            Some(zero) => values::<i8>(constant(zero)?)?.iter().all(|&v| v == 0),
        };
        let axis = usize::try_from(int(node, "axis").unwrap_or(1)).ok()?;
        let inner = dims.get(axis + 1..)?.iter().product::<usize>().max(1);
        let fits = centred && scales.len() == dims[axis] && !scales.is_empty();
        let value = |(i, &v): (usize, &i8)| f32::from(v) * scales[i / inner % scales.len()];
        fits.then(|| (dims, stored.iter().enumerate().map(value).collect()))
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

/// All values of a tensor, if they are of this type.
fn values<T: Datum>(tensor: &Tensor) -> Option<&[T]> {
    tensor.try_as_plain_ram().ok()?.as_slice().ok()
}
