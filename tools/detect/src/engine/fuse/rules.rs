//! What is recognised in a graph: each rule starts at a node and says which of our layers computes what its
//! neighbourhood does, or nothing.
//!
//! Every value in between must have no other reader, or the layer would take it away from one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use intertwine_kernels::activation::Activation;
use intertwine_kernels::conv::Weights;
use intertwine_kernels::fused::{Conv, Linear, Mlp, Norm, Patches};
use intertwine_kernels::gemm::{Layout, Precision};
use tract_onnx::pb::NodeProto;

use super::graph::{float, int, ints, other, output, Graph};
use super::op::Layer;

/// A layer and the values of the graph between which it stands.
pub(super) struct Found<'a> {
    pub inputs: Vec<&'a str>,
    pub output: &'a str,
    pub layer: Layer,
}

struct FoundLinear<'a> {
    x: &'a str,
    residual: Option<&'a str>,
    output: &'a str,
    linear: Linear,
}

/// The rules and what they share.
pub(super) struct Rules<'g, 'a> {
    pub graph: &'g Graph<'a>,
    pub precision: Precision,
    /// By name: a detector's head has one set of weights for all levels.
    pub weights: RefCell<HashMap<&'a str, Arc<Weights>>>,
}

impl<'a> Rules<'_, 'a> {
    /// What starts at a node.
    pub(super) fn apply(&self, node: &'a NodeProto) -> Option<Found<'a>> {
        match node.op_type.as_str() {
            "MatMul" => self.linear_or_mlp(node),
            "LayerNormalization" => self.norm(node),
            "Conv" => self.conv(node).or_else(|| self.patches(node)),
            "Softmax" => self.attention(node),
            _ => None,
        }
    }

    /// A linear layer; one with an activation together with the linear layer that alone reads it, if there is one.
    fn linear_or_mlp(&self, node: &'a NodeProto) -> Option<Found<'a>> {
        let first = self.linear(node)?;
        let second = if first.linear.has_activation() && first.residual.is_none() {
            let next = self.graph.reader(first.output, "MatMul");
            next.and_then(|next| self.linear(next))
                .filter(|second| second.x == first.output)
        } else {
            None
        };
        let (residual, output, layer) = match second {
            Some(second) => {
                let mlp = Mlp::new(first.linear, second.linear);
                (second.residual, second.output, Layer::Mlp(mlp))
            }
            None => (first.residual, first.output, Layer::Linear(first.linear)),
        };
        Some(Found {
            inputs: [first.x].into_iter().chain(residual).collect(),
            output,
            layer,
        })
    }

    /// `x W`, and if they follow `+ b`, an activation, `+ residual`.
    fn linear(&self, node: &'a NodeProto) -> Option<FoundLinear<'a>> {
        let [x, weight] = node.input.as_slice() else {
            return None;
        };
        let (dims, weight) = self.graph.constant(weight)?;
        let &[inp, out] = dims else {
            return None;
        };
        if inp == 0 || out == 0 || self.graph.shape(x)?.last() != Some(&inp) {
            return None;
        }
        let mut end = output(node)?;
        let mut bias = vec![0.0; out];
        if let Some((next, values)) = self.vector_added(end, out) {
            (end, bias) = (next, values);
        }
        let activation = self.activation(end);
        if let Some((_, next)) = activation {
            end = next;
        }
        let residual = self.residual(end);
        if let Some((_, next)) = residual {
            end = next;
        }
        let activation = activation.map(|(kind, _)| kind);
        Some(FoundLinear {
            x,
            residual: residual.map(|(value, _)| value),
            output: end,
            linear: Linear::new(&weight, Layout::N, &bias, activation, self.precision),
        })
    }

    /// A constant vector added to the last dimension of a value.
    fn vector_added(&self, value: &str, width: usize) -> Option<(&'a str, Vec<f32>)> {
        let add = self.graph.reader(value, "Add")?;
        let (dims, values) = self.graph.constant(other(add, value)?)?;
        (dims == [width]).then(|| Some((output(add)?, values.into_owned())))?
    }

    /// A value of the same shape added to one.
    fn residual(&self, value: &str) -> Option<(&'a str, &'a str)> {
        let add = self.graph.reader(value, "Add")?;
        let residual = other(add, value)?;
        let shape = self.graph.shape(value)?;
        let fits = self.graph.shape(residual)? == shape;
        (fits && self.graph.constant(residual).is_none()).then(|| Some((residual, output(add)?)))?
    }

    /// An activation of a value, and its result.
    fn activation(&self, value: &str) -> Option<(Activation, &'a str)> {
        let silu = || Some((Activation::Silu, self.silu(value)?));
        let gelu = || Some((Activation::Gelu, self.gelu(value)?));
        silu().or_else(gelu)
    }

    /// `x sigmoid(x)`.
    fn silu(&self, x: &str) -> Option<&'a str> {
        let [first, second] = *self.graph.readers(x) else {
            return None;
        };
        let (gate, product) = match first.op_type == "Sigmoid" {
            true => (first, second),
            false => (second, first),
        };
        let gate = (gate.op_type == "Sigmoid").then(|| output(gate))??;
        let product = (product.op_type == "Mul").then_some(product)?;
        self.graph.reader(gate, "Mul")?;
        (other(product, x)? == gate).then(|| output(product))?
    }

    /// `x (erf(x / sqrt 2) + 1) / 2`, the halving last.
    fn gelu(&self, x: &str) -> Option<&'a str> {
        let [first, second] = *self.graph.readers(x) else {
            return None;
        };
        let scalar_of = |node: &'a NodeProto, value: &str| self.graph.scalar(other(node, value)?);
        let is_scaling = |node: &'a NodeProto| {
            let scale = scalar_of(node, x);
            node.op_type == "Mul"
                && scale.is_some_and(|s| (s - std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-6)
        };
        let (scaled, product) = match is_scaling(first) {
            true => (first, second),
            false if is_scaling(second) => (second, first),
            false => return None,
        };
        let erf = self.graph.reader(output(scaled)?, "Erf")?;
        let gate = self.graph.reader(output(erf)?, "Add")?;
        (scalar_of(gate, output(erf)?)? == 1.0).then_some(())?;
        let gate = output(gate)?;
        self.graph.reader(gate, "Mul")?;
        (product.op_type == "Mul" && other(product, x)? == gate).then_some(())?;
        let product = output(product)?;
        let half = self.graph.reader(product, "Mul")?;
        (scalar_of(half, product)? == 0.5).then(|| output(half))?
    }

    /// A norm over the last dimension and an activation, if one follows.
    fn norm(&self, node: &'a NodeProto) -> Option<Found<'a>> {
        let (norm, output) = self.norm_of(node)?;
        Some(Found {
            inputs: vec![node.input.first()?],
            output,
            layer: Layer::Norm(norm),
        })
    }

    fn norm_of(&self, node: &'a NodeProto) -> Option<(Norm, &'a str)> {
        let [x, gain, bias] = node.input.as_slice() else {
            return None;
        };
        let shape = self.graph.shape(x)?;
        let axis = int(node, "axis").unwrap_or(-1);
        (axis == -1 || axis == shape.len() as i64 - 1).then_some(())?;
        let (gain, bias) = (self.graph.constant(gain)?.1, self.graph.constant(bias)?.1);
        let width = *shape.last()?;
        (width > 0 && gain.len() == width && bias.len() == width).then_some(())?;
        let epsilon = float(node, "epsilon").unwrap_or(1e-5);
        let mut end = output(node)?;
        let activation = self.activation(end).map(|(kind, next)| {
            end = next;
            kind
        });
        Some((Norm::new(&gain, &bias, epsilon, activation), end))
    }

    /// A 3 x 3 convolution with padding 1 of a map whose channels are last before and after, with the norm that follows.
    fn conv(&self, node: &'a NodeProto) -> Option<Found<'a>> {
        let [planes, weight, bias] = node.input.as_slice() else {
            return None;
        };
        is_convolution(node, 3, 1, 1).then_some(())?;
        let first = self.graph.maker(planes, "Transpose")?;
        (ints(first, "perm", &[]) == [0, 3, 1, 2]).then_some(())?;
        let x = first.input.first()?;
        let last = self.graph.reader(output(node)?, "Transpose")?;
        (ints(last, "perm", &[]) == [0, 2, 3, 1]).then_some(())?;
        let mut end = output(last)?;

        let &[1, height, width, inp] = self.graph.shape(x)? else {
            return None;
        };
        let &[1, _, _, out] = self.graph.shape(end)? else {
            return None;
        };
        let (bias, weights) = (
            self.graph.constant(bias)?.1,
            self.weights(weight, inp, out)?,
        );
        (bias.len() == out).then_some(())?;
        let norm = self
            .graph
            .reader(end, "LayerNormalization")
            .filter(|norm| norm.input.first().is_some_and(|x| x == end))
            .and_then(|norm| self.norm_of(norm));
        let norm = norm.map(|(norm, next)| {
            end = next;
            norm
        });
        Some(Found {
            inputs: vec![x],
            output: end,
            layer: Layer::Conv {
                conv: Conv::new(weights, &bias, norm),
                height,
                width,
            },
        })
    }

    /// A convolution whose stride is its size, its result as rows, and the positions added to these.
    fn patches(&self, node: &'a NodeProto) -> Option<Found<'a>> {
        let [image, weight, bias] = node.input.as_slice() else {
            return None;
        };
        let (dims, weight) = self.graph.constant(weight)?;
        let &[out, channels, patch, p2] = dims else {
            return None;
        };
        let side = patch as i64;
        (patch == p2 && patch > 0 && is_convolution(node, side, side, 0)).then_some(())?;
        let &[1, c, height, width] = self.graph.shape(image)? else {
            return None;
        };
        let flat = self.graph.reader(output(node)?, "Reshape")?;
        let rows = self.graph.reader(output(flat)?, "Transpose")?;
        (ints(rows, "perm", &[]) == [1, 0]).then_some(())?;
        let rows = output(rows)?;
        let count = (height / patch) * (width / patch);
        let add = self.graph.reader(rows, "Add")?;
        let (dims, positions) = self.graph.constant(other(add, rows)?)?;
        let bias = self.graph.constant(bias)?.1;
        let fits = c == channels
            && channels > 0
            && out > 0
            && bias.len() == out
            && self.graph.shape(rows)? == [count, out]
            && dims == [count, out];
        fits.then_some(())?;
        let linear = Linear::new(&weight, Layout::T, &bias, None, self.precision);
        Some(Found {
            inputs: vec![image],
            output: output(add)?,
            layer: Layer::Patches {
                patches: Patches::new(linear, patch, &positions),
                height,
                width,
            },
        })
    }

    /// Packed weights of a convolution, from [out, inp, 3, 3] to rows of (ky, kx, inp).
    fn weights(&self, name: &'a str, inp: usize, out: usize) -> Option<Arc<Weights>> {
        if let Some(known) = self.weights.borrow().get(name) {
            return Some(known.clone());
        }
        let (dims, values) = self.graph.constant(name)?;
        (inp > 0 && out > 0 && dims == [out, inp, 3, 3]).then_some(())?;
        let rows: Vec<f32> = (0..values.len())
            .map(|i| {
                let (row, tap, channel) = (i / (9 * inp), i / inp % 9, i % inp);
                values[(row * inp + channel) * 9 + tap]
            })
            .collect();
        let packed = Arc::new(Weights::new(&rows, inp, out, self.precision));
        self.weights.borrow_mut().insert(name, packed.clone());
        Some(packed)
    }

    /// Self-attention of one sequence, from queries, keys and values in one matrix [n, 3 d] to [n, d], the scale being in
    /// the queries.
    fn attention(&self, softmax: &'a NodeProto) -> Option<Found<'a>> {
        let graph = self.graph;
        let logits = softmax.input.first()?;
        let &[heads, n, n2] = graph.shape(logits)? else {
            return None;
        };
        let axis = int(softmax, "axis").unwrap_or(-1);
        (n == n2 && (axis == 2 || axis == -1)).then_some(())?;
        graph.reader(logits, "Softmax")?;
        let [q, k] = graph.maker(logits, "MatMul")?.input.as_slice() else {
            return None;
        };
        let probabilities = output(softmax)?;
        let mixed = graph.reader(probabilities, "MatMul")?;
        let [left, v] = mixed.input.as_slice() else {
            return None;
        };
        (left == probabilities).then_some(())?;
        let together = graph.reader(output(mixed)?, "Transpose")?;
        (ints(together, "perm", &[]) == [1, 0, 2]).then_some(())?;
        let rows = graph.reader(output(together)?, "Reshape")?;

        // Each part is [n, d] of the split, cut into heads, the heads first.
        let part = |value: &'a str, order: [i64; 3]| -> Option<&'a str> {
            let turned = graph.maker(value, "Transpose")?;
            graph.reader(value, "MatMul")?;
            (ints(turned, "perm", &[]) == order).then_some(())?;
            let apart = graph.maker(turned.input.first()?, "Reshape")?;
            graph.reader(output(apart)?, "Transpose")?;
            let &[rows, h, _] = graph.shape(output(apart)?)? else {
                return None;
            };
            let whole = apart.input.first()?;
            graph.reader(whole, "Reshape")?;
            ((rows, h) == (n, heads)).then_some(whole.as_str())
        };
        let parts = [
            part(q, [1, 0, 2])?,
            part(k, [1, 2, 0])?,
            part(v, [1, 0, 2])?,
        ];
        let split = graph.maker(parts[0], "Split")?;
        let in_order = split.output.iter().map(String::as_str).eq(parts);
        let qkv = split.input.first()?;
        let &[n3, d3] = graph.shape(qkv)? else {
            return None;
        };
        let &[_, d] = graph.shape(parts[0])? else {
            return None;
        };
        let axis = int(split, "axis").unwrap_or(0);
        let fits = in_order
            && axis == 1
            && (n3, d3) == (n, 3 * d)
            && parts.iter().all(|p| graph.shape(p) == Some(&[n, d]))
            && graph.shape(output(rows)?)? == [n, d];
        (fits && heads > 0 && d > 0 && d.is_multiple_of(heads)).then_some(())?;
        Some(Found {
            inputs: vec![qkv],
            output: output(rows)?,
            layer: Layer::Attention {
                heads,
                width: d,
                precision: self.precision,
            },
        })
    }
}

/// Whether a Conv has a square kernel of this side, this stride and padding, and nothing out of the ordinary.
fn is_convolution(node: &NodeProto, side: i64, stride: i64, padding: i64) -> bool {
    ints(node, "kernel_shape", &[side; 2]) == [side; 2]
        && ints(node, "strides", &[1; 2]) == [stride; 2]
        && ints(node, "pads", &[0; 4]) == [padding; 4]
        && ints(node, "dilations", &[1; 2]) == [1; 2]
        && int(node, "group").unwrap_or(1) == 1
}
