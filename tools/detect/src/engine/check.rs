//! What a model must be before it is planned, and what its plan must be before it runs.

use tract_onnx::pb;
use tract_onnx::prelude::*;

use super::{onnx_error, Layout};
use crate::card::ModelCard;
use crate::error::ModelError;

/// The most bytes one tensor of the model may take. A real detector stays far below; a damaged or hostile
/// file that promises more is refused before anything of that size is allocated.
const MAX_TENSOR_BYTES: u128 = 2 << 30;

/// Largest number, either way, that an attribute of a node may be: an axis, an extent, a stride. tract counts up to some of
/// them.
const MAX_ATTRIBUTE: u64 = 1 << 16;

/// What tract takes for granted about a graph and would panic on, or go looking for on the disk.
pub(super) fn check_graph(graph: &pb::GraphProto, size: u32) -> Result<(), ModelError> {
    let external = Some(pb::tensor_proto::DataLocation::External as i32);
    for tensor in &graph.initializer {
        if tensor.data_location == external {
            return Err(ModelError::Onnx(format!(
                "the weight `{}` lies in another file; export the model as one file",
                tensor.name
            )));
        }
        let elements = tensor
            .dims
            .iter()
            .map(|&d| d.max(0) as u128)
            .fold(1u128, u128::saturating_mul);
        if elements > MAX_TENSOR_BYTES {
            return Err(ModelError::Onnx(format!(
                "the weight `{}` claims {:?} values",
                tensor.name, tensor.dims
            )));
        }
    }
    for node in &graph.node {
        check_attributes(node)?;
    }
    let constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    let inputs: Vec<_> = graph
        .input
        .iter()
        .filter(|input| !constant(&input.name))
        .collect();
    let Some(image) = inputs.iter().find(|input| input.name == "image") else {
        let found = inputs
            .iter()
            .map(|input| input.name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        return Err(ModelError::Missing {
            what: "input",
            name: "image",
            found,
        });
    };
    if let Some(other) = inputs.iter().find(|input| input.name != "image") {
        let other = &other.name;
        return Err(ModelError::Onnx(format!(
            "it has a second input `{other}`; only `image` is allowed"
        )));
    }
    check_input(image, size)?;
    for output in &graph.output {
        let made = graph
            .node
            .iter()
            .any(|node| node.output.contains(&output.name));
        if !made && output.name != "image" && !constant(&output.name) {
            return Err(ModelError::Onnx(format!(
                "no node makes its output `{}`",
                output.name
            )));
        }
    }
    Ok(())
}

/// Checks the numbers of a node, and that it has no graph within: a loop may never end. Of an order of axes that is none,
/// tract would make steps until memory ends.
fn check_attributes(node: &pb::NodeProto) -> Result<(), ModelError> {
    for attribute in &node.attribute {
        let numbers = std::iter::once(&attribute.i).chain(&attribute.ints);
        let far = numbers.copied().find(|n| n.unsigned_abs() > MAX_ATTRIBUTE);
        let wrong = if attribute.g.is_some() || !attribute.graphs.is_empty() {
            "is a graph, and conditions and loops are not run".into()
        } else if let Some(far) = far {
            format!("is {far}, expected -{MAX_ATTRIBUTE} to {MAX_ATTRIBUTE}")
        } else if attribute.name == "perm" && !is_permutation(&attribute.ints) {
            format!("is {:?}, which orders no axes", attribute.ints)
        } else {
            continue;
        };
        return Err(ModelError::Onnx(format!(
            "`{}` of the {} that makes `{}` {wrong}",
            attribute.name,
            node.op_type,
            node.output.join("`, `")
        )));
    }
    Ok(())
}

/// Whether each of 0, 1, .. is there once.
fn is_permutation(order: &[i64]) -> bool {
    (0..order.len() as i64).all(|axis| order.contains(&axis))
}

/// Checks the declared type of the input, on which all other shapes depend.
fn check_input(image: &pb::ValueInfoProto, size: u32) -> Result<(), ModelError> {
    use pb::tensor_proto::DataType;
    use pb::tensor_shape_proto::dimension::Value;
    let declared = image
        .r#type
        .as_ref()
        .and_then(|declared| declared.value.as_ref());
    let Some(pb::type_proto::Value::TensorType(tensor)) = declared else {
        return Err(ModelError::Onnx("its input `image` has no type".into()));
    };
    let dims: Vec<String> = tensor
        .shape
        .iter()
        .flat_map(|shape| &shape.dim)
        .map(|dim| match &dim.value {
            Some(Value::DimValue(extent)) => extent.to_string(),
            Some(Value::DimParam(symbol)) => symbol.clone(),
            None => "?".into(),
        })
        .collect();
    let element = DataType::try_from(tensor.elem_type);
    let found = format!(
        "{} [{}]",
        element.map_or("?", |kind| kind.as_str_name()),
        dims.join(", ")
    );
    let expected = format!("FLOAT [1, 3, {size}, {size}]");
    match found == expected {
        true => Ok(()),
        false => Err(ModelError::Shape {
            name: "image",
            found,
            expected,
        }),
    }
}

/// Which output of the graph is what.
pub(super) fn find_outputs(graph: &pb::GraphProto, card: &ModelCard) -> Result<Layout, ModelError> {
    let find = |name: &'static str| {
        graph
            .output
            .iter()
            .position(|output| output.name == name)
            .ok_or_else(|| ModelError::Missing {
                what: "output",
                name,
                found: graph
                    .output
                    .iter()
                    .map(|o| o.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    };
    let masks = match card.masks {
        Some(_) => Some((find("coefficients")?, find("prototypes")?)),
        None => None,
    };
    Ok(Layout {
        boxes: find("boxes")?,
        scores: find("scores")?,
        masks,
    })
}

/// Checks the outputs against the contract.
pub(super) fn check_shapes(
    model: &TypedModel,
    card: &ModelCard,
    layout: Layout,
) -> Result<(), ModelError> {
    let output = |index| model.output_fact(index).map_err(onnx_error);
    let anchors = expect(output(layout.boxes)?, "boxes", [Some(1), None, Some(4)])?[1];
    expect(
        output(layout.scores)?,
        "scores",
        [Some(1), Some(anchors), Some(card.classes.len())],
    )?;
    if let (Some((coefficients, prototypes)), Some(masks), Some(side)) =
        (layout.masks, card.masks, card.prototype_side())
    {
        let count = Some(masks.prototypes);
        expect(
            output(coefficients)?,
            "coefficients",
            [Some(1), Some(anchors), count],
        )?;
        expect(
            output(prototypes)?,
            "prototypes",
            [Some(1), count, Some(side), Some(side)],
        )?;
    }
    Ok(())
}

/// Checks that a tensor is f32 of a static shape, where `None` stands for any positive extent.
fn expect<const N: usize>(
    fact: &TypedFact,
    name: &'static str,
    expected: [Option<usize>; N],
) -> Result<[usize; N], ModelError> {
    let found = fact
        .shape
        .as_concrete()
        .and_then(|dims| <[usize; N]>::try_from(dims).ok());
    match found {
        Some(dims)
            if fact.datum_type == f32::datum_type()
                && dims
                    .iter()
                    .zip(expected)
                    .all(|(&d, e)| e.map_or(d > 0, |e| d == e)) =>
        {
            Ok(dims)
        }
        _ => {
            let extent = |e: Option<usize>| e.map_or("any".to_string(), |e| e.to_string());
            let dims: Vec<String> = fact.shape.iter().map(|d| d.to_string()).collect();
            Err(ModelError::Shape {
                name,
                found: format!("{:?} [{}]", fact.datum_type, dims.join(", ")),
                expected: format!("F32 [{}]", expected.map(extent).join(", ")),
            })
        }
    }
}

/// Refuses a model with a tensor that no real detector has, before the planner folds constants into it.
pub(super) fn check_tensor_sizes(model: &TypedModel) -> Result<(), ModelError> {
    for node in model.nodes() {
        for output in &node.outputs {
            let Some(dims) = output.fact.shape.as_concrete() else {
                continue;
            };
            let bytes = dims
                .iter()
                .fold(output.fact.datum_type.size_of() as u128, |n, &d| {
                    n.saturating_mul(d as u128)
                });
            if bytes > MAX_TENSOR_BYTES {
                return Err(ModelError::Onnx(format!(
                    "the tensor `{}` has shape {dims:?}",
                    node.name
                )));
            }
        }
    }
    Ok(())
}
