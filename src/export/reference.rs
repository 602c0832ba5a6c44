//! The detector in plain loops, channels last: what the exported file must compute.
//!
//! Written from the network's definition and not from the exporter: convolutions are convolutions
//! here, nothing is folded, reordered or shared. It is for checking, and for the outputs that an
//! untrained model is compared with; it is not fast.
use intertwine_detect::RawOutputs;

use super::spec::{DetectorSpec, MAX_LOG_DISTANCE, MLP_RATIO, NORM_EPSILON};
use super::weights::Weights;
use super::ExportError;

type Result<T> = std::result::Result<T, ExportError>;

/// What a detector gives for one picture, each row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    /// [A, 4], pixels of the input.
    pub boxes: Vec<f32>,
    /// [A, C], probabilities.
    pub scores: Vec<f32>,
    /// [A, P] in -1..1, with masks.
    pub coefficients: Option<Vec<f32>>,
    /// [P, Hm, Hm], with masks.
    pub prototypes: Option<Vec<f32>>,
}

impl Outputs {
    /// The same, borrowed.
    pub fn raw(&self) -> RawOutputs<'_> {
        RawOutputs {
            boxes: &self.boxes,
            scores: &self.scores,
            coefficients: self.coefficients.as_deref(),
            prototypes: self.prototypes.as_deref(),
        }
    }
}

/// Runs the detector on one normalised picture, planes [3, S, S].
///
/// # Errors
/// [`ExportError`] about a spec or weights that are not a network's, or an input that is not S x S.
pub fn forward(spec: &DetectorSpec, weights: &Weights, image: &[f32]) -> Result<Outputs> {
    spec.validate()?;
    weights.check(spec)?;
    let expected = 3 * spec.image_size * spec.image_size;
    if image.len() != expected {
        return Err(ExportError::ReferenceLength {
            output: "image",
            found: image.len(),
            expected,
        });
    }
    let network = Network { spec, weights };
    let pyramid = network.pyramid(&network.tokens(image)?)?;
    let mut outputs = network.head(&pyramid)?;
    if spec.prototypes > 0 {
        outputs.prototypes = Some(network.prototypes(&pyramid[0])?);
    }
    Ok(outputs)
}

/// A square map, [side, side, channels]; a row of tokens is a map too.
#[derive(Clone)]
struct Map {
    side: usize,
    channels: usize,
    data: Vec<f32>,
}

impl Map {
    fn zeros(side: usize, channels: usize) -> Self {
        Self {
            side,
            channels,
            data: vec![0.0; side * side * channels],
        }
    }

    fn at(&self, row: usize, column: usize) -> &[f32] {
        let start = (row * self.side + column) * self.channels;
        &self.data[start..start + self.channels]
    }

    fn at_mut(&mut self, row: usize, column: usize) -> &mut [f32] {
        let start = (row * self.side + column) * self.channels;
        &mut self.data[start..start + self.channels]
    }

    fn map(mut self, f: impl Fn(f32) -> f32) -> Self {
        self.data.iter_mut().for_each(|v| *v = f(*v));
        self
    }
}

struct Network<'a> {
    spec: &'a DetectorSpec,
    weights: &'a Weights<'a>,
}

impl Network<'_> {
    /// The normalised patch tokens.
    fn tokens(&self, image: &[f32]) -> Result<Map> {
        let (s, g, p, d) = (
            self.spec.image_size,
            self.spec.grid(),
            self.spec.patch,
            self.spec.width,
        );
        let kernel = self.weights.get("patch_embed.proj.weight", &[d, 3, p, p])?;
        let bias = self.weights.get("patch_embed.proj.bias", &[d])?;
        let position = self.weights.get("pos_embed", &[g * g, d])?;
        let mut x = self.weights.get("cls_token", &[1, 1, d])?.to_vec();
        let mut patch = vec![0.0; 3 * p * p];
        for i in 0..g * g {
            for (j, v) in patch.iter_mut().enumerate() {
                let (plane, dy, dx) = (j / (p * p), j / p % p, j % p);
                *v = image[plane * s * s + (i / g * p + dy) * s + i % g * p + dx];
            }
            for c in 0..d {
                x.push(bias[c] + dot(&kernel[c * patch.len()..], &patch) + position[i * d + c]);
            }
        }
        if self.spec.registers > 0 {
            x.extend(
                self.weights
                    .get("reg_token", &[1, self.spec.registers, d])?,
            );
        }
        for i in 0..self.spec.depth {
            self.block(&mut x, &format!("blocks.{i}"))?;
        }
        let x = self.norm("norm", &x, d)?;
        Ok(Map {
            side: g,
            channels: d,
            data: x[d..][..g * g * d].to_vec(),
        })
    }

    fn block(&self, x: &mut [f32], name: &str) -> Result<()> {
        let d = self.spec.width;
        let normed = self.norm(&format!("{name}.norm1"), x, d)?;
        let qkv = self.linear(&format!("{name}.attn.qkv"), &normed, d, 3 * d)?;
        let mixed = self.attention(&qkv);
        let mixed = self.linear(&format!("{name}.attn.proj"), &mixed, d, d)?;
        self.add(x, &mixed, &format!("{name}.ls1.gamma"))?;

        let normed = self.norm(&format!("{name}.norm2"), x, d)?;
        let mut hidden = self.linear(&format!("{name}.mlp.fc1"), &normed, d, MLP_RATIO * d)?;
        hidden.iter_mut().for_each(|v| *v = gelu(*v));
        let output = self.linear(&format!("{name}.mlp.fc2"), &hidden, MLP_RATIO * d, d)?;
        self.add(x, &output, &format!("{name}.ls2.gamma"))
    }

    /// x += gamma y, or x += y without LayerScale.
    fn add(&self, x: &mut [f32], y: &[f32], gamma: &str) -> Result<()> {
        let d = self.spec.width;
        let ones = vec![1.0; d];
        let gamma = if self.spec.layer_scale {
            self.weights.get(gamma, &[d])?
        } else {
            &ones
        };
        x.iter_mut()
            .zip(y)
            .enumerate()
            .for_each(|(i, (x, y))| *x += gamma[i % d] * y);
        Ok(())
    }

    fn attention(&self, qkv: &[f32]) -> Vec<f32> {
        let (d, width) = (self.spec.width, self.spec.head_width());
        let tokens = qkv.len() / (3 * d);
        let scale = 1.0 / (width as f32).sqrt();
        let part = |token: usize, which: usize, head: usize| {
            let start = token * 3 * d + which * d + head * width;
            &qkv[start..start + width]
        };
        let mut out = vec![0.0; tokens * d];
        for head in 0..self.spec.heads {
            for i in 0..tokens {
                let logits: Vec<f32> = (0..tokens)
                    .map(|j| scale * dot(part(i, 0, head), part(j, 1, head)))
                    .collect();
                let largest = logits.iter().copied().fold(f32::MIN, f32::max);
                let weights: Vec<f32> = logits.iter().map(|l| (l - largest).exp()).collect();
                let sum: f32 = weights.iter().sum();
                let row = &mut out[i * d + head * width..][..width];
                for (j, w) in weights.iter().enumerate() {
                    row.iter_mut()
                        .zip(part(j, 2, head))
                        .for_each(|(o, v)| *o += w / sum * v);
                }
            }
        }
        out
    }

    fn pyramid(&self, tokens: &Map) -> Result<Vec<Map>> {
        let mut pooled = Map::zeros(tokens.side / 2, tokens.channels);
        for r in 0..pooled.side {
            for c in 0..pooled.side {
                for k in 0..tokens.channels {
                    let corner = |dy: usize, dx: usize| tokens.at(2 * r + dy, 2 * c + dx)[k];
                    pooled.at_mut(r, c)[k] = corner(0, 0)
                        .max(corner(0, 1))
                        .max(corner(1, 0))
                        .max(corner(1, 1));
                }
            }
        }
        let level = |name: &str, x: &Map| -> Result<Map> {
            let x = self.conv(&format!("fpn.{name}.lateral"), x, self.spec.channels, 1)?;
            let x = self.norm_map(&format!("fpn.{name}.lateral_norm"), x)?;
            Ok(x.map(silu))
        };
        let mut maps = Vec::new();
        if self.spec.fine {
            let up = self.deconv("fpn.up.deconv", tokens, self.spec.width / 2)?;
            let up = self.norm_map("fpn.up.deconv_norm", up)?.map(gelu);
            maps.push(level("up", &up)?);
        }
        maps.push(level("same", tokens)?);
        maps.push(level("down", &pooled)?);
        Ok(maps)
    }

    /// All outputs but the prototypes.
    fn head(&self, pyramid: &[Map]) -> Result<Outputs> {
        let scales = self
            .weights
            .get("head.scales", &[self.spec.levels().len()])?;
        let (mut boxes, mut scores, mut coefficients) = (vec![], vec![], vec![]);
        for (level, map) in pyramid.iter().enumerate() {
            let stride = self.spec.strides()[level] as f32;
            let cls = self.tower("cls", level, map)?;
            scores.extend(
                self.conv("head.cls", &cls, self.spec.classes, 3)?
                    .map(sigmoid)
                    .data,
            );

            let reg = self.tower("reg", level, map)?;
            let distances = self.conv("head.reg", &reg, 4, 3)?;
            let distances =
                distances.map(|v| (v * scales[level]).min(MAX_LOG_DISTANCE).exp() * stride);
            for r in 0..map.side {
                for c in 0..map.side {
                    let (x, y) = ((c as f32 + 0.5) * stride, (r as f32 + 0.5) * stride);
                    let d = distances.at(r, c);
                    boxes.extend([x - d[0], y - d[1], x + d[2], y + d[3]]);
                }
            }
            if self.spec.prototypes > 0 {
                coefficients.extend(
                    self.conv("head.coef", &reg, self.spec.prototypes, 3)?
                        .map(f32::tanh)
                        .data,
                );
            }
        }
        let coefficients = (self.spec.prototypes > 0).then_some(coefficients);
        Ok(Outputs {
            boxes,
            scores,
            coefficients,
            prototypes: None,
        })
    }

    fn tower(&self, tower: &str, level: usize, map: &Map) -> Result<Map> {
        (0..self.spec.tower_convs).try_fold(map.clone(), |x, i| {
            let x = self.conv(
                &format!("head.{tower}_tower.{i}"),
                &x,
                self.spec.channels,
                3,
            )?;
            Ok(self
                .norm_map(&format!("head.{tower}_norm.{level}.{i}"), x)?
                .map(silu))
        })
    }

    fn prototypes(&self, finest: &Map) -> Result<Vec<f32>> {
        let mut x = finest.clone();
        for i in 0..2 {
            x = self.conv(&format!("proto.conv.{i}"), &x, self.spec.channels, 3)?;
            x = self.norm_map(&format!("proto.norm.{i}"), x)?.map(silu);
        }
        if self.spec.prototypes_upsampled() {
            x = self
                .deconv("proto.deconv", &x, self.spec.channels)?
                .map(silu);
        }
        let x = self.conv("proto.out", &x, self.spec.prototypes, 1)?;
        let locations = x.side * x.side;
        Ok((0..x.data.len())
            .map(|i| x.data[i % locations * x.channels + i / locations])
            .collect())
    }

    /// A convolution with an odd square kernel, stride 1, and zeros around the map.
    fn conv(&self, name: &str, x: &Map, outputs: usize, k: usize) -> Result<Map> {
        let weight = self
            .weights
            .get(&format!("{name}.weight"), &[outputs, x.channels, k, k])?;
        let bias = self.weights.get(&format!("{name}.bias"), &[outputs])?;
        // [tap, input, output], so that the innermost loop runs over neighbours.
        let (inputs, taps) = (x.channels, k * k);
        let kernel: Vec<f32> = (0..weight.len())
            .map(|i| {
                weight
                    [(i % outputs * inputs + i / outputs % inputs) * taps + i / (outputs * inputs)]
            })
            .collect();
        let mut y = Map::zeros(x.side, outputs);
        for r in 0..x.side {
            for c in 0..x.side {
                let sum = y.at_mut(r, c);
                sum.copy_from_slice(bias);
                for tap in 0..taps {
                    let (row, column) = (
                        (r + tap / k).wrapping_sub(k / 2),
                        (c + tap % k).wrapping_sub(k / 2),
                    );
                    if row >= x.side || column >= x.side {
                        continue;
                    }
                    let kernel = &kernel[tap * inputs * outputs..][..inputs * outputs];
                    accumulate(sum, x.at(row, column), kernel);
                }
            }
        }
        Ok(y)
    }

    /// A transposed 2 x 2 convolution with stride 2; its weight is [input, output, 2, 2].
    fn deconv(&self, name: &str, x: &Map, outputs: usize) -> Result<Map> {
        let weight = self
            .weights
            .get(&format!("{name}.weight"), &[x.channels, outputs, 2, 2])?;
        let bias = self.weights.get(&format!("{name}.bias"), &[outputs])?;
        let mut y = Map::zeros(2 * x.side, outputs);
        for corner in 0..4 {
            let kernel: Vec<f32> = weight.iter().skip(corner).step_by(4).copied().collect();
            for r in 0..x.side {
                for c in 0..x.side {
                    let sum = y.at_mut(2 * r + corner / 2, 2 * c + corner % 2);
                    sum.copy_from_slice(bias);
                    accumulate(sum, x.at(r, c), &kernel);
                }
            }
        }
        Ok(y)
    }

    fn linear(&self, name: &str, x: &[f32], inputs: usize, outputs: usize) -> Result<Vec<f32>> {
        let weight = self
            .weights
            .get(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = self.weights.get(&format!("{name}.bias"), &[outputs])?;
        let kernel: Vec<f32> = (0..weight.len())
            .map(|i| weight[i % outputs * inputs + i / outputs])
            .collect();
        let mut y = bias.repeat(x.len() / inputs);
        for (sum, row) in y.chunks_exact_mut(outputs).zip(x.chunks_exact(inputs)) {
            accumulate(sum, row, &kernel);
        }
        Ok(y)
    }

    fn norm(&self, name: &str, x: &[f32], channels: usize) -> Result<Vec<f32>> {
        let gain = self.weights.get(&format!("{name}.weight"), &[channels])?;
        let bias = self.weights.get(&format!("{name}.bias"), &[channels])?;
        let mut y = Vec::with_capacity(x.len());
        for row in x.chunks_exact(channels) {
            let mean = row.iter().sum::<f32>() / channels as f32;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / channels as f32;
            let scale = 1.0 / (variance + NORM_EPSILON).sqrt();
            y.extend((0..channels).map(|c| (row[c] - mean) * scale * gain[c] + bias[c]));
        }
        Ok(y)
    }

    fn norm_map(&self, name: &str, x: Map) -> Result<Map> {
        Ok(Map {
            data: self.norm(name, &x.data, x.channels)?,
            ..x
        })
    }
}

/// sum += x K, with K [inputs, outputs].
fn accumulate(sum: &mut [f32], x: &[f32], kernel: &[f32]) {
    for (x, row) in x.iter().zip(kernel.chunks_exact(sum.len())) {
        sum.iter_mut().zip(row).for_each(|(s, w)| *s += x * w);
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

fn gelu(x: f32) -> f32 {
    let x = f64::from(x);
    (x / 2.0 * (1.0 + erf(x / std::f64::consts::SQRT_2))) as f32
}

/// The error function by Abramowitz & Stegun 7.1.6, whose terms are all of one sign; beyond 6 it is
/// 1 to the last digit.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    sum * (-x * x).exp() * std::f64::consts::FRAC_2_SQRT_PI
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_follows_the_table() {
        // Abramowitz & Stegun, table 7.1.
        for (x, expected) in [
            (0.0, 0.0),
            (0.5, 0.5204998778),
            (1.0, 0.8427007929),
            (2.0, 0.9953222650),
            (3.0, 0.9999779095),
        ] {
            assert!((erf(x) - expected).abs() < 1e-10, "erf({x}) = {}", erf(x));
            assert!((erf(-x) + expected).abs() < 1e-10);
        }
    }
}
