//! The vision transformer (Dosovitskiy et al. 2021): pre-norm blocks under timm's weight names.
//!
//! What is constant is folded into the weights: LayerScale into the projection before it, and
//! 1 / sqrt(head width) into the queries.
use super::onnx::{Graph, Value};
use super::spec::{DetectorSpec, MLP_RATIO, NORM_EPSILON};
use super::weights::Weights;
use super::ExportError;

/// Adds the transformer: `image` [1, 3, S, S] to the normalised patch tokens [g * g, D], row by row,
/// without CLS.
///
/// # Errors
/// [`ExportError`] about the weight or the shape that does not fit.
pub fn vision_transformer(
    graph: &mut Graph,
    image: &Value,
    spec: &DetectorSpec,
    weights: &Weights,
) -> Result<Value, ExportError> {
    let tokens = embed(graph, image, spec, weights)?;
    let tokens = (0..spec.depth).try_fold(tokens, |x, i| block(graph, &x, i, spec, weights))?;
    let patches = graph.slice("patches", &tokens, 0, 1, 1 + spec.grid() * spec.grid())?;
    layer_norm(graph, "norm", &patches, weights)
}

/// Cuts the picture into patches, maps each to a token, adds its position, and puts CLS before them.
fn embed(
    graph: &mut Graph,
    image: &Value,
    spec: &DetectorSpec,
    weights: &Weights,
) -> Result<Value, ExportError> {
    let (g, p, d) = (spec.grid(), spec.patch, spec.width);
    let kernel = weights.get("patch_embed.proj.weight", &[d, 3, p, p])?;
    let bias = weights.get("patch_embed.proj.bias", &[d])?;
    let position = weights.get("pos_embed", &[g * g, d])?;

    let kernel = graph.initializer("patch_embed.proj.weight", &[d, 3, p, p], kernel)?;
    let bias = graph.initializer("patch_embed.proj.bias", &[d], bias)?;
    let planes = graph.conv("patch_embed.proj", image, &kernel, &bias, p, 0)?;
    let flat = graph.reshape("patch_embed.flat", &planes, &[d, g * g])?;
    let content = graph.transpose("patch_embed.rows", &flat, &[1, 0])?;
    let position = graph.initializer("pos_embed", &[g * g, d], position)?;
    let tokens = graph.add("pos_embed.add", &content, &position)?;
    let cls = graph.initializer("cls_token", &[1, d], weights.get("cls_token", &[1, 1, d])?)?;
    graph.concat("tokens", &[&cls, &tokens], 0)
}

fn block(
    graph: &mut Graph,
    x: &Value,
    index: usize,
    spec: &DetectorSpec,
    weights: &Weights,
) -> Result<Value, ExportError> {
    let name = |part: &str| format!("blocks.{index}.{part}");
    let d = spec.width;

    let normed = layer_norm(graph, &name("norm1"), x, weights)?;
    let mixed = attention(graph, &name("attn"), &normed, spec, weights)?;
    let mixed = scaled_linear(
        graph,
        &name("attn.proj"),
        &mixed,
        d,
        &name("ls1.gamma"),
        spec,
        weights,
    )?;
    let x = graph.add(&name("attn.residual"), x, &mixed)?;

    let normed = layer_norm(graph, &name("norm2"), &x, weights)?;
    let hidden = linear(graph, &name("mlp.fc1"), &normed, MLP_RATIO * d, weights)?;
    let hidden = graph.gelu(&name("mlp.act"), &hidden)?;
    let output = scaled_linear(
        graph,
        &name("mlp.fc2"),
        &hidden,
        d,
        &name("ls2.gamma"),
        spec,
        weights,
    )?;
    graph.add(&name("mlp.residual"), &x, &output)
}

/// softmax(q k^T) v for each head, before the projection; 1 / sqrt(head width) is in q.
fn attention(
    graph: &mut Graph,
    name: &str,
    x: &Value,
    spec: &DetectorSpec,
    weights: &Weights,
) -> Result<Value, ExportError> {
    let (n, d, heads, width) = (x.shape()[0], spec.width, spec.heads, spec.head_width());
    let mut kernel = weights
        .get(&format!("{name}.qkv.weight"), &[3 * d, d])?
        .to_vec();
    let mut bias = weights.get(&format!("{name}.qkv.bias"), &[3 * d])?.to_vec();
    let scale = (width as f32).sqrt().recip();
    kernel[..d * d]
        .iter_mut()
        .chain(&mut bias[..d])
        .for_each(|v| *v *= scale);

    let qkv = add_linear(graph, &format!("{name}.qkv"), x, &kernel, &bias)?;
    let [q, k, v] = graph.split::<3>(&format!("{name}.split"), &qkv, 1)?;
    let mut by_head = |part: &str, x: &Value, order: [usize; 3]| {
        let apart = graph.reshape(&format!("{name}.{part}.heads"), x, &[n, heads, width])?;
        graph.transpose(&format!("{name}.{part}"), &apart, &order)
    };
    let q = by_head("q", &q, [1, 0, 2])?;
    let k = by_head("k", &k, [1, 2, 0])?;
    let v = by_head("v", &v, [1, 0, 2])?;

    let logits = graph.matmul(&format!("{name}.logits"), &q, &k)?;
    let probabilities = graph.softmax(&format!("{name}.probabilities"), &logits, 2)?;
    let mixed = graph.matmul(&format!("{name}.mixed"), &probabilities, &v)?;
    let together = graph.transpose(&format!("{name}.together"), &mixed, &[1, 0, 2])?;
    graph.reshape(&format!("{name}.rows"), &together, &[n, d])
}

/// A linear map with the LayerScale behind it, if the network has one, folded in.
fn scaled_linear(
    graph: &mut Graph,
    name: &str,
    x: &Value,
    outputs: usize,
    gamma: &str,
    spec: &DetectorSpec,
    weights: &Weights,
) -> Result<Value, ExportError> {
    if !spec.layer_scale {
        return linear(graph, name, x, outputs, weights);
    }
    let inputs = channels(x);
    let mut kernel = weights
        .get(&format!("{name}.weight"), &[outputs, inputs])?
        .to_vec();
    let mut bias = weights.get(&format!("{name}.bias"), &[outputs])?.to_vec();
    let gamma = weights.get(gamma, &[outputs])?;
    for ((row, b), g) in kernel.chunks_exact_mut(inputs).zip(&mut bias).zip(gamma) {
        row.iter_mut().for_each(|w| *w *= g);
        *b *= g;
    }
    add_linear(graph, name, x, &kernel, &bias)
}

fn linear(
    graph: &mut Graph,
    name: &str,
    x: &Value,
    outputs: usize,
    weights: &Weights,
) -> Result<Value, ExportError> {
    let kernel = weights.get(&format!("{name}.weight"), &[outputs, channels(x)])?;
    let bias = weights.get(&format!("{name}.bias"), &[outputs])?;
    add_linear(graph, name, x, kernel, bias)
}

/// x W^T + b, with `kernel` [outputs, inputs] as PyTorch has it.
pub(super) fn add_linear(
    graph: &mut Graph,
    name: &str,
    x: &Value,
    kernel: &[f32],
    bias: &[f32],
) -> Result<Value, ExportError> {
    let inputs = channels(x);
    let kernel = graph.initializer(
        &format!("{name}.weight"),
        &[inputs, bias.len()],
        &transposed(kernel, inputs),
    )?;
    let bias = graph.initializer(&format!("{name}.bias"), &[bias.len()], bias)?;
    graph.linear(name, x, &kernel, &bias)
}

/// Layer norm over the channels of `x` [.., C].
pub(super) fn layer_norm(
    graph: &mut Graph,
    name: &str,
    x: &Value,
    weights: &Weights,
) -> Result<Value, ExportError> {
    let channels = [channels(x)];
    let (gain, bias) = (format!("{name}.weight"), format!("{name}.bias"));
    let gain = graph.initializer(&gain, &channels, weights.get(&gain, &channels)?)?;
    let bias = graph.initializer(&bias, &channels, weights.get(&bias, &channels)?)?;
    graph.layer_norm(name, x, &gain, &bias, NORM_EPSILON)
}

/// The transpose of a row-major matrix.
pub(super) fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let rows = matrix.len() / columns;
    (0..matrix.len())
        .map(|i| matrix[(i % rows) * columns + i / rows])
        .collect()
}

/// The last dimension.
pub(super) fn channels(x: &Value) -> usize {
    x.shape().last().copied().unwrap_or(0)
}
