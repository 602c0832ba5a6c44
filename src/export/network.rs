//! The layers of the network: weights by name, put into the graph.
use super::onnx::{Graph, Value};
use super::spec::{DetectorSpec, NORM_EPSILON};
use super::weights::Weights;
use super::ExportError;

type Result<T> = std::result::Result<T, ExportError>;

/// A network being written. Its parts are in [`vit`](super::vit) and [`detector`](super::detector).
pub(super) struct Network<'a> {
    pub graph: Graph,
    pub spec: &'a DetectorSpec,
    pub weights: &'a Weights<'a>,
}

impl<'a> Network<'a> {
    /// The data of a weight.
    pub fn weight(&self, name: &str, shape: &[usize]) -> Result<&'a [f32]> {
        self.weights.get(name, shape)
    }

    /// A weight as it is, as a constant. One that several nodes use is in the file once.
    pub fn parameter(&mut self, name: &str, shape: &[usize]) -> Result<Value> {
        let data = self.weight(name, shape)?;
        self.graph.shared(name, shape, data)
    }

    /// The linear map `name` of the last dimension.
    pub fn linear(&mut self, name: &str, x: &Value, outputs: usize) -> Result<Value> {
        let kernel = self.weight(&format!("{name}.weight"), &[outputs, channels(x)])?;
        let bias = self.weight(&format!("{name}.bias"), &[outputs])?;
        self.linear_with(name, x, kernel, bias)
    }

    /// x W^T + b of the last dimension, with `kernel` [outputs, inputs] as PyTorch has it.
    pub fn linear_with(
        &mut self,
        name: &str,
        x: &Value,
        kernel: &[f32],
        bias: &[f32],
    ) -> Result<Value> {
        let (inputs, outputs) = (channels(x), bias.len());
        let kernel: Vec<f32> = (0..kernel.len())
            .map(|i| kernel[i % outputs * inputs + i / outputs])
            .collect();
        let g = &mut self.graph;
        let kernel = g.initializer(&format!("{name}.weight"), &[inputs, outputs], &kernel)?;
        let bias = g.initializer(&format!("{name}.bias"), &[outputs], bias)?;
        g.linear(name, x, &kernel, &bias)
    }

    /// The layer norm `name` over the last dimension.
    pub fn norm(&mut self, name: &str, x: &Value) -> Result<Value> {
        let gain = self.parameter(&format!("{name}.weight"), &[channels(x)])?;
        let bias = self.parameter(&format!("{name}.bias"), &[channels(x)])?;
        self.graph.layer_norm(name, x, &gain, &bias, NORM_EPSILON)
    }

    /// The 1 x 1 convolution `name`: a linear map of the last dimension.
    pub fn conv1(&mut self, name: &str, x: &Value, outputs: usize) -> Result<Value> {
        let kernel = self.weight(&format!("{name}.weight"), &[outputs, channels(x), 1, 1])?;
        let bias = self.weight(&format!("{name}.bias"), &[outputs])?;
        self.linear_with(name, x, kernel, bias)
    }

    /// A 3 x 3 convolution with zeros around the map, under the weights' name and `suffix`, which
    /// tells those apart that share weights.
    pub fn conv3(
        &mut self,
        weights: &str,
        suffix: &str,
        x: &Value,
        outputs: usize,
    ) -> Result<Value> {
        let inputs = channels(x);
        let weight = self.parameter(&format!("{weights}.weight"), &[outputs, inputs, 3, 3])?;
        let bias = self.parameter(&format!("{weights}.bias"), &[outputs])?;
        let (g, name) = (&mut self.graph, format!("{weights}{suffix}"));
        let first = g.transpose(&format!("{name}.first"), x, &[0, 3, 1, 2])?;
        let planes = g.conv(&name, &first, &weight, &bias, 1, 1)?;
        g.transpose(&format!("{name}.last"), &planes, &[0, 2, 3, 1])
    }

    /// A transposed 2 x 2 convolution with stride 2 of the rows [N, C], to [4 N, F]: the four
    /// locations that a row becomes, row by row, follow one another.
    pub fn deconv(&mut self, name: &str, rows: &Value, outputs: usize) -> Result<Value> {
        let (n, inputs) = (rows.shape()[0], channels(rows));
        let kernel = self.weight(&format!("{name}.weight"), &[inputs, outputs, 2, 2])?;
        let bias = self.weight(&format!("{name}.bias"), &[outputs])?;
        // [C, F, corner] to [C, corner, F].
        let kernel: Vec<f32> = (0..kernel.len())
            .map(|i| {
                let (input, corner, output) = (i / (4 * outputs), i / outputs % 4, i % outputs);
                kernel[(input * outputs + output) * 4 + corner]
            })
            .collect();
        let g = &mut self.graph;
        let kernel = g.initializer(&format!("{name}.weight"), &[inputs, 4 * outputs], &kernel)?;
        let bias = g.initializer(&format!("{name}.bias"), &[4 * outputs], &bias.repeat(4))?;
        let corners = g.linear(name, rows, &kernel, &bias)?;
        g.reshape(&format!("{name}.rows"), &corners, &[4 * n, outputs])
    }

    /// The rows of [`deconv`](Self::deconv) on a map of this side, as a map of twice the side.
    pub fn interleave(&mut self, name: &str, rows: &Value, side: usize) -> Result<Value> {
        let (g, c) = (&mut self.graph, channels(rows));
        // Each location has its two upper corners, then its two lower ones; a map has the upper
        // corners of a whole row of locations first.
        let corners = g.reshape(&format!("{name}.corners"), rows, &[side, side, 2, 2 * c])?;
        let ordered = g.transpose(&format!("{name}.ordered"), &corners, &[0, 2, 1, 3])?;
        let shape = [1, 2 * side, 2 * side, c];
        g.reshape(&format!("{name}.map"), &ordered, &shape)
    }
}

/// The last dimension.
pub(super) fn channels(x: &Value) -> usize {
    x.shape().last().copied().unwrap_or(0)
}
