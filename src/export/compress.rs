//! Smaller files: the weights of an exported model as `f16`, or as `int8` with a scale for each output channel.
//!
//! Only what multiplies is rounded, the second inputs of MatMul and Conv: nearly all of the file. A Cast or
//! DequantizeLinear node turns each back to `f32`, so any runtime reads the file, computes in `f32`, and the rest of the
//! graph stays as it was.
use prost::Message;
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::f16;

use super::onnx::int;
use super::ExportError;

/// How a file holds its weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum WeightFormat {
    /// As they were trained.
    #[default]
    F32,
    /// Rounded to the nearest `f16`: half the size.
    F16,
    /// `round(w / s)` with `s` the largest magnitude of the output channel over 127: a quarter of the size.
    Int8,
}

impl WeightFormat {
    /// Its name on the command line and in the card.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }
}

/// Values below which a tensor is not worth a node.
const SMALL: usize = 256;

/// The model with its weights in another format.
///
/// # Errors
/// [`ExportError::NoModel`] when the bytes are no model, or one whose weights are not `f32`.
pub fn compress(model: &[u8], format: WeightFormat) -> Result<Vec<u8>, ExportError> {
    let mut model =
        pb::ModelProto::decode(model).map_err(|e| ExportError::NoModel(e.to_string()))?;
    if format == WeightFormat::F32 {
        return Ok(model.encode_to_vec());
    }
    let Some(graph) = &mut model.graph else {
        return Err(ExportError::NoModel("it holds no graph".into()));
    };
    let weights: Vec<(String, usize)> = graph
        .node
        .iter()
        .filter_map(|node| Some((node.input.get(1)?.clone(), channel_axis(&node.op_type)?)))
        .collect();
    let (mut initializers, mut nodes) = (Vec::new(), Vec::new());
    for tensor in std::mem::take(&mut graph.initializer) {
        let axis = weights.iter().find(|(name, _)| *name == tensor.name);
        let values = tensor.dims.iter().product::<i64>();
        match axis {
            Some((_, axis)) if values >= SMALL as i64 => {
                let (tensors, node) = match format {
                    WeightFormat::Int8 => int8(&tensor, *axis)?,
                    _ => half(&tensor)?,
                };
                initializers.extend(tensors);
                nodes.push(node);
            }
            _ => initializers.push(tensor),
        }
    }
    nodes.append(&mut graph.node);
    (graph.initializer, graph.node) = (initializers, nodes);
    Ok(model.encode_to_vec())
}

/// Which axis of a node's second input counts its output channels.
fn channel_axis(op: &str) -> Option<usize> {
    match op {
        "MatMul" => Some(1),
        "Conv" => Some(0),
        _ => None,
    }
}

fn values(tensor: &pb::TensorProto) -> Result<Vec<f32>, ExportError> {
    let wrong = |what: &str| {
        Err(ExportError::NoModel(format!(
            "the weight `{}` {what}",
            tensor.name
        )))
    };
    if tensor.data_type != DataType::Float as i32 {
        return wrong("is not f32; give the model as it was exported first");
    }
    let (raw, rest) = tensor.raw_data.as_chunks::<4>();
    let values: Vec<f32> = raw.iter().map(|v| f32::from_le_bytes(*v)).collect();
    if !rest.is_empty() || values.len() as i64 != tensor.dims.iter().product::<i64>() {
        return wrong("does not fill its shape");
    }
    Ok(values)
}

/// The tensor and the node that turns it back, under the tensor's old name.
type Compressed = (Vec<pb::TensorProto>, pb::NodeProto);

fn half(tensor: &pb::TensorProto) -> Result<Compressed, ExportError> {
    let bytes = values(tensor)?.into_iter();
    let bytes = bytes.flat_map(|v| f16::from_f32(v).to_le_bytes()).collect();
    let name = format!("{}.f16", tensor.name);
    let node = node("Cast", tensor, &[&name], int("to", DataType::Float as i64));
    let half = constant(&name, &tensor.dims, DataType::Float16, bytes);
    Ok((vec![half], node))
}

fn int8(tensor: &pb::TensorProto, axis: usize) -> Result<Compressed, ExportError> {
    let values = values(tensor)?;
    let channels = tensor.dims[axis] as usize;
    // Values between two of the same channel that are next along the axis.
    let inner = tensor.dims[axis + 1..].iter().product::<i64>() as usize;
    let channel = |i: usize| i / inner % channels;
    let mut scales = vec![0.0f32; channels];
    for (i, value) in values.iter().enumerate() {
        let scale = &mut scales[channel(i)];
        *scale = scale.max(value.abs() / 127.0);
    }
    // A channel of zeros keeps its zeros whatever its scale.
    scales
        .iter_mut()
        .filter(|s| **s == 0.0)
        .for_each(|s| *s = 1.0);
    let steps = values.iter().enumerate().map(|(i, value)| {
        let step = (value / scales[channel(i)]).round_ties_even();
        step.clamp(-127.0, 127.0) as i8 as u8
    });
    let [steps_name, scales_name, zeros_name] =
        ["int8", "scale", "zero"].map(|part| format!("{}.{part}", tensor.name));
    let scale_bytes = scales.iter().flat_map(|s| s.to_le_bytes()).collect();
    let vector = [channels as i64];
    let inputs = [&*steps_name, &*scales_name, &*zeros_name];
    let node = node(
        "DequantizeLinear",
        tensor,
        &inputs,
        int("axis", axis as i64),
    );
    let tensors = vec![
        constant(&steps_name, &tensor.dims, DataType::Int8, steps.collect()),
        constant(&scales_name, &vector, DataType::Float, scale_bytes),
        constant(&zeros_name, &vector, DataType::Int8, vec![0; channels]),
    ];
    Ok((tensors, node))
}

fn constant(name: &str, dims: &[i64], kind: DataType, raw_data: Vec<u8>) -> pb::TensorProto {
    pb::TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: kind as i32,
        raw_data,
        ..Default::default()
    }
}

fn node(
    op: &str,
    tensor: &pb::TensorProto,
    inputs: &[&str],
    attribute: pb::AttributeProto,
) -> pb::NodeProto {
    pb::NodeProto {
        name: format!("{}.unpacked", tensor.name),
        op_type: op.to_owned(),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![tensor.name.clone()],
        attribute: vec![attribute],
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dims: &[i64], values: &[f32]) -> pb::TensorProto {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        constant("w", dims, DataType::Float, bytes)
    }

    #[test]
    fn a_channel_is_divided_by_its_own_largest_magnitude() {
        // Two columns, the second of which is a hundred times smaller: [1 -0.02; -0.5 0.015].
        let w = tensor(&[2, 2], &[1.0, -0.02, -0.5, 0.015]);
        let (tensors, node) = int8(&w, 1).unwrap();
        // -0.5 * 127 = -63.5 is a tie, which goes to the even -64.
        assert_eq!(tensors[0].raw_data, [127, -127i8 as u8, -64i8 as u8, 95]);
        let scales: Vec<f32> = tensors[1]
            .raw_data
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        assert_eq!(scales, [1.0 / 127.0, 0.02 / 127.0]);
        assert_eq!(
            (node.output, node.attribute[0].i),
            (vec!["w".to_owned()], 1)
        );
        // By rows, as a convolution has them, with a row of zeros.
        let (tensors, _) = int8(&tensor(&[2, 2, 1], &[0.0, 0.0, 3.0, -1.5]), 0).unwrap();
        assert_eq!(tensors[0].raw_data, [0, 0, 127, -64i8 as u8]);
    }

    #[test]
    fn halves_are_the_nearest() {
        let (tensors, _) = half(&tensor(&[3], &[1.0, -2.5, 1.0 + 1.0 / 4096.0])).unwrap();
        // 0x3c00 is 1, 0xc100 is -2.5; the last lies nearer to 1 than to 1 + 2^-10.
        assert_eq!(tensors[0].raw_data, [0x00, 0x3c, 0x00, 0xc1, 0x00, 0x3c]);
    }

    #[test]
    fn what_is_no_model_is_an_error() {
        let error = compress(b"not a model", WeightFormat::Int8).unwrap_err();
        assert!(matches!(error, ExportError::NoModel(_)), "{error}");
        let mut short = tensor(&[2, 200], &[0.0; 400]);
        short.raw_data.truncate(8);
        assert!(half(&short).unwrap_err().to_string().contains("`w`"));
    }
}
