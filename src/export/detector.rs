//! The detector: pyramid, head and prototypes on the transformer's tokens, boxes decoded.
//!
//! Maps are [1, side, side, channels] throughout, so that layer norm and 1 x 1 convolutions work on
//! the last dimension. ONNX wants channels first around a convolution; the transposes that say so
//! disappear when tract plans the model, which then convolves with channels last.
use intertwine_detect::card::{ModelCard, METADATA_KEY};

use super::network::Network;
use super::onnx::{Graph, Value};
use super::spec::{DetectorSpec, MAX_LOG_DISTANCE};
use super::weights::Weights;
use super::ExportError;

type Result<T> = std::result::Result<T, ExportError>;

/// The file of a detector: input `image` [1, 3, S, S], normalised RGB; outputs `boxes` [1, A, 4]
/// (x0, y0, x1, y1 in pixels of the input), `scores` [1, A, C], and with masks `coefficients`
/// [1, A, P] and `prototypes` [1, P, Hm, Hm]; the card in its metadata.
///
/// # Errors
/// When the spec describes no network, the weights are not its own (see [`Weights::check`]), or the
/// card holds an impossible value.
pub fn encode(spec: &DetectorSpec, weights: &Weights, card: &ModelCard) -> Result<Vec<u8>> {
    spec.validate()?;
    weights.check(spec)?;
    let mut network = Network {
        graph: Graph::new("detector"),
        spec,
        weights,
    };
    let shape = [1, 3, spec.image_size, spec.image_size];
    let image = network.graph.input("image", &shape);
    let tokens = network.tokens(&image)?;
    let pyramid = network.pyramid(&tokens)?;
    network.head(&pyramid)?;
    if spec.prototypes > 0 {
        network.prototypes(&pyramid[0])?;
    }
    network.graph.metadata(METADATA_KEY, card.to_json()?);
    Ok(network.graph.encode())
}

impl Network<'_> {
    /// A map of `channels` for each level from the tokens [g * g, D], finest first.
    fn pyramid(&mut self, tokens: &Value) -> Result<Vec<Value>> {
        let (g, d) = (self.spec.grid(), self.spec.width);
        let graph = &mut self.graph;
        let same = graph.reshape("fpn.same", tokens, &[1, g, g, d])?;
        let first = graph.transpose("fpn.down.first", &same, &[0, 3, 1, 2])?;
        let pooled = graph.max_pool("fpn.down.pooled", &first, 2)?;
        let down = graph.transpose("fpn.down", &pooled, &[0, 2, 3, 1])?;

        let mut maps = Vec::new();
        if self.spec.fine {
            // Norm, GELU and the lateral look at one location, so they go before the locations are put
            // in order: four rows for each token, and one rearrangement.
            let up = self.deconv("fpn.up.deconv", tokens, d / 2)?;
            let up = self.norm("fpn.up.deconv_norm", &up)?;
            let up = self.graph.gelu("fpn.up.act", &up)?;
            let up = self.lateral("up", &up)?;
            maps.push(self.interleave("fpn.up", &up, g)?);
        }
        maps.push(self.lateral("same", &same)?);
        maps.push(self.lateral("down", &down)?);
        Ok(maps)
    }

    /// The level's channels, normalised and activated.
    fn lateral(&mut self, level: &str, x: &Value) -> Result<Value> {
        let x = self.conv1(&format!("fpn.{level}.lateral"), x, self.spec.channels)?;
        let x = self.norm(&format!("fpn.{level}.lateral_norm"), &x)?;
        self.graph.silu(&format!("fpn.{level}.act"), &x)
    }

    /// Boxes, scores and mask coefficients of all levels.
    fn head(&mut self, pyramid: &[Value]) -> Result<()> {
        let spec = self.spec;
        let reg = self.tower("reg", pyramid)?;
        let distances = self.predict("head.reg", &reg, 4)?;
        let boxes = self.decode(&distances)?;
        self.output("boxes", &boxes)?;

        let cls = self.tower("cls", pyramid)?;
        let logits = self.predict("head.cls", &cls, spec.classes)?;
        let scores = self.graph.sigmoid("head.scores", &logits);
        self.output("scores", &scores)?;

        if spec.prototypes > 0 {
            let coefficients = self.predict("head.coef", &reg, spec.prototypes)?;
            let coefficients = self.graph.tanh("head.coefficients", &coefficients);
            self.output("coefficients", &coefficients)?;
        }
        Ok(())
    }

    /// A tower's features of every level.
    fn tower(&mut self, tower: &str, pyramid: &[Value]) -> Result<Vec<Value>> {
        let name = format!("head.{tower}");
        let mut maps = pyramid.to_vec();
        for (level, x) in maps.iter_mut().enumerate() {
            for i in 0..self.spec.tower_convs {
                let suffix = format!(".level{level}");
                *x = self.conv3(&format!("{name}_tower.{i}"), &suffix, x, self.spec.channels)?;
                *x = self.norm(&format!("{name}_norm.{level}.{i}"), x)?;
                *x = self.graph.silu(&format!("{name}_act.{level}.{i}"), x)?;
            }
        }
        Ok(maps)
    }

    /// The last convolution of a tower, at every location of every level: [A, outputs].
    fn predict(&mut self, name: &str, maps: &[Value], outputs: usize) -> Result<Value> {
        let mut rows = Vec::with_capacity(maps.len());
        for (level, map) in maps.iter().enumerate() {
            let x = self.conv3(name, &format!(".level{level}"), map, outputs)?;
            let shape = [self.spec.sides()[level].pow(2), outputs];
            let rows_name = format!("{name}_rows.{level}");
            rows.push(self.graph.reshape(&rows_name, &x, &shape)?);
        }
        let rows: Vec<&Value> = rows.iter().collect();
        self.graph.concat(&format!("{name}_rows"), &rows, 0)
    }

    /// Distances to the four sides [A, 4], in logarithms of strides, to boxes: a distance d moves its
    /// side by exp(min(scale d, 4)) strides away from the anchor point.
    fn decode(&mut self, distances: &Value) -> Result<Value> {
        let scales = self.weight("head.scales", &[self.spec.levels().len()])?;
        let anchors = self.spec.anchors();
        let mut points = Vec::with_capacity(anchors * 4);
        let mut steps = Vec::with_capacity(anchors * 4);
        for ([x, y], stride) in self.spec.anchor_points() {
            points.extend([x, y, x, y]);
            steps.extend([-stride, -stride, stride, stride]);
        }
        let sides = self.spec.sides();
        let scales: Vec<f32> = sides
            .iter()
            .zip(scales)
            .flat_map(|(&side, &s)| vec![s; side * side])
            .collect();

        let g = &mut self.graph;
        let scales = g.initializer("head.scales", &[anchors, 1], &scales)?;
        let points = g.initializer("head.points", &[anchors, 4], &points)?;
        let steps = g.initializer("head.steps", &[anchors, 4], &steps)?;
        let limit = g.scalar(MAX_LOG_DISTANCE);
        let scaled = g.mul("head.reg.scaled", distances, &scales)?;
        let limited = g.min("head.reg.limited", &scaled, &limit)?;
        let strides = g.exp("head.reg.strides", &limited);
        let moved = g.mul("head.reg.moved", &strides, &steps)?;
        g.add("head.boxes", &points, &moved)
    }

    /// Mask prototypes from the finest map, [1, P, Hm, Hm].
    fn prototypes(&mut self, finest: &Value) -> Result<()> {
        let (spec, side) = (self.spec, self.spec.sides()[0]);
        let mut x = finest.clone();
        for i in 0..2 {
            x = self.conv3(&format!("proto.conv.{i}"), "", &x, self.spec.channels)?;
            x = self.norm(&format!("proto.norm.{i}"), &x)?;
            x = self.graph.silu(&format!("proto.act.{i}"), &x)?;
        }
        let map = if spec.prototypes_upsampled() {
            let shape = [side * side, spec.channels];
            let rows = self.graph.reshape("proto.rows", &x, &shape)?;
            let x = self.deconv("proto.deconv", &rows, spec.channels)?;
            let x = self.graph.silu("proto.deconv.act", &x)?;
            let x = self.conv1("proto.out", &x, spec.prototypes)?;
            self.interleave("proto.map", &x, side)?
        } else {
            self.conv1("proto.out", &x, spec.prototypes)?
        };
        let planes = self.graph.transpose("proto.planes", &map, &[0, 3, 1, 2])?;
        self.graph.output("prototypes", &planes);
        Ok(())
    }

    /// Rows [A, n] as an output [1, A, n].
    fn output(&mut self, name: &str, rows: &Value) -> Result<()> {
        let shape = [&[1], rows.shape()].concat();
        let value = self.graph.reshape(&format!("{name}.batch"), rows, &shape)?;
        self.graph.output(name, &value);
        Ok(())
    }
}
