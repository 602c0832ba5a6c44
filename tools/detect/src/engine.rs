//! The one place that knows `tract`: from ONNX bytes to a plan, from an input tensor to raw outputs.

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

use tract_onnx::pb;
use tract_onnx::prelude::multithread::{multithread_tract_scope, Executor};
use tract_onnx::prelude::*;

use crate::card::{ModelCard, METADATA_KEY};
use crate::error::{DetectError, ModelError};
use crate::postprocess::RawOutputs;

/// The most bytes one tensor of the model may take. A real detector stays far below; a damaged or hostile
/// file that promises more is refused before anything of that size is allocated.
const MAX_TENSOR_BYTES: u128 = 2 << 30;

/// A model ready to run, with its input and output tensors.
pub(crate) struct Engine {
    plan: Arc<TypedRunnableModel>,
    state: TypedSimpleState,
    /// `[1, 3, S, S]`. Shared with tract only while it runs, so it is written in place.
    input: Arc<Tensor>,
    /// Outputs of the last run, in the model's order.
    outputs: TVec<TValue>,
    layout: Layout,
    executor: Executor,
}

/// Which output of the model is what.
#[derive(Clone, Copy)]
struct Layout {
    boxes: usize,
    scores: usize,
    /// Coefficients and prototypes.
    masks: Option<(usize, usize)>,
}

impl Engine {
    /// Plans a model and checks it against the card in its metadata.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<(Self, ModelCard), ModelError> {
        // tract indexes and unwraps in a few places on what a file says; a damaged model must stay an error.
        catch_unwind(AssertUnwindSafe(|| Self::plan(bytes))).unwrap_or_else(|panic| {
            Err(ModelError::Onnx(format!(
                "the planner gave up: {}",
                message(&*panic)
            )))
        })
    }

    fn plan(mut bytes: &[u8]) -> Result<(Self, ModelCard), ModelError> {
        let proto = onnx()
            .proto_model_for_read(&mut bytes)
            .map_err(onnx_error)?;
        // Before planning: the advice to export with our program helps more than a missing operator.
        let card = read_card(&proto)?;
        let graph = proto
            .graph
            .as_ref()
            .ok_or_else(|| ModelError::Onnx("it holds no graph".into()))?;
        check_graph(graph, card.input_size)?;
        let layout = find_outputs(graph, &card)?;

        let typed = onnx()
            .model_for_proto_model(&proto)
            .and_then(|model| model.into_typed())
            .map_err(onnx_error)?;
        // Weights now live in the plan; the file's copy is not kept through the optimisation.
        drop(proto);
        check_tensor_sizes(&typed)?;
        check_shapes(&typed, &card, layout)?;
        let plan = typed
            .into_optimized()
            .and_then(|model| model.into_runnable())
            .map_err(onnx_error)?;
        let size = card.input_size as usize;
        let engine = Self::with_plan(plan, size, layout).map_err(onnx_error)?;
        Ok((engine, card))
    }

    fn with_plan(plan: Arc<TypedRunnableModel>, size: usize, layout: Layout) -> TractResult<Self> {
        let input = Arc::new(Tensor::zero::<f32>(&[1, 3, size, size])?);
        Ok(Self {
            state: plan.spawn()?,
            plan,
            input,
            outputs: tvec!(),
            layout,
            executor: Executor::SingleThread,
        })
    }

    /// A second engine on the same plan and weights, with tensors of its own.
    pub(crate) fn try_clone(&self) -> Result<Self, DetectError> {
        let size = self.input.shape()[3];
        let clone = Self::with_plan(self.plan.clone(), size, self.layout).map_err(run_error)?;
        Ok(Self {
            executor: self.executor.clone(),
            ..clone
        })
    }

    /// Gives the network so many threads.
    pub(crate) fn set_threads(&mut self, threads: NonZeroUsize) -> Result<(), DetectError> {
        self.executor = match threads.get() {
            1 => Executor::SingleThread,
            count => {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(count)
                    .thread_name(|index| format!("detect-{index}"))
                    .build()
                    .map_err(|error| {
                        DetectError::Run(format!("cannot start {count} threads: {error}"))
                    })?;
                Executor::MultiThread(Arc::new(pool))
            }
        };
        Ok(())
    }

    /// The input tensor, to be filled before [`run`](Self::run).
    pub(crate) fn input_mut(&mut self) -> Result<&mut [f32], DetectError> {
        // An output may *be* the input tensor in a degenerate model, so the last outputs go first. Should
        // tract still hold the tensor (after a failed run), `make_mut` copies it.
        self.outputs.clear();
        let values = Arc::make_mut(&mut self.input)
            .to_plain_array_view_mut::<f32>()
            .map_err(run_error)?;
        values
            .into_slice()
            .ok_or_else(|| DetectError::Run("the input tensor is not contiguous".into()))
    }

    /// Runs the network on the input tensor.
    pub(crate) fn run(&mut self) -> Result<RawOutputs<'_>, DetectError> {
        let input = tvec!(TValue::from_const(self.input.clone()));
        let Self {
            state, executor, ..
        } = self;
        let run = || multithread_tract_scope(executor.clone(), || state.run(input));
        let outcome = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|panic| Err(TractError::msg(message(&*panic).to_string())));
        match outcome {
            Ok(outputs) => self.outputs = outputs,
            Err(error) => {
                // What the failed run left behind must not reach the next one.
                self.state = self.plan.spawn().map_err(run_error)?;
                return Err(run_error(error));
            }
        }
        let output = |index: usize| -> Result<&[f32], DetectError> {
            self.outputs[index]
                .try_as_plain_ram()
                .and_then(|view| view.as_slice::<f32>())
                .map_err(run_error)
        };
        let (coefficients, prototypes) = match self.layout.masks {
            Some((coefficients, prototypes)) => {
                (Some(output(coefficients)?), Some(output(prototypes)?))
            }
            None => (None, None),
        };
        Ok(RawOutputs {
            boxes: output(self.layout.boxes)?,
            scores: output(self.layout.scores)?,
            coefficients,
            prototypes,
        })
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "it panicked",
    }
}

/// An error of tract with its causes on one line.
fn onnx_error(error: TractError) -> ModelError {
    ModelError::Onnx(format!("{error:#}"))
}

fn run_error(error: TractError) -> DetectError {
    DetectError::Run(format!("{error:#}"))
}

fn read_card(proto: &pb::ModelProto) -> Result<ModelCard, ModelError> {
    let entry = proto
        .metadata_props
        .iter()
        .find(|entry| entry.key == METADATA_KEY)
        .ok_or(ModelError::NotIntertwine { key: METADATA_KEY })?;
    Ok(ModelCard::from_json(&entry.value)?)
}

/// What tract takes for granted about a graph and would panic on, or go looking for on the disk.
fn check_graph(graph: &pb::GraphProto, size: u32) -> Result<(), ModelError> {
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

fn find_outputs(graph: &pb::GraphProto, card: &ModelCard) -> Result<Layout, ModelError> {
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
fn check_shapes(model: &TypedModel, card: &ModelCard, layout: Layout) -> Result<(), ModelError> {
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
fn check_tensor_sizes(model: &TypedModel) -> Result<(), ModelError> {
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
