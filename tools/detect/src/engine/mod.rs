//! The one place that knows `tract`: from ONNX bytes to a plan, from an input tensor to raw outputs.

mod check;
mod fuse;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use tract_onnx::pb;
use tract_onnx::prelude::*;

use intertwine_kernels::gemm::Precision;

use crate::card::{ModelCard, METADATA_KEY};
use crate::error::{DetectError, ModelError};
use crate::panics::silently;
use crate::postprocess::RawOutputs;
use check::{check_graph, check_shapes, check_tensor_sizes, find_outputs};

/// What computes the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// Our own layers for what they know, `tract` for the rest.
    #[default]
    Fused,
    /// `tract` alone: slower, and what the other is held against.
    Tract,
}

/// How a model is made ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What computes the network.
    pub engine: EngineKind,
    /// How the inputs of products are rounded. [`Precision::Bf16`] is twice as fast on a CPU that has it, and costs
    /// some precision; only [`EngineKind::Fused`] knows it.
    pub precision: Precision,
}

/// A model ready to run, with its input and output tensors.
pub(crate) struct Engine {
    plan: Arc<TypedRunnableModel>,
    state: TypedSimpleState,
    /// `[1, 3, S, S]`. Shared with tract only while it runs, so it is written in place.
    input: Arc<Tensor>,
    /// Outputs of the last run, in the model's order.
    outputs: TVec<TValue>,
    layout: Layout,
    threads: Threads,
}

/// A model file's content.
pub(crate) struct Model(pb::ModelProto);

impl Model {
    /// Takes a file apart. It copies what it needs: `bytes` may go before a plan is made, which saves the memory of all
    /// weights.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ModelError> {
        let decoded = pb::ModelProto::decode(bytes);
        decoded
            .map(Self)
            .map_err(|error| ModelError::Onnx(error.to_string()))
    }
}

/// Who may work on one picture.
#[derive(Clone)]
enum Threads {
    /// The thread that asks.
    Caller,
    /// Threads of our own.
    Pool(Arc<rayon::ThreadPool>),
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
    pub(crate) fn new(model: Model, options: Options) -> Result<(Self, ModelCard), ModelError> {
        if options
            == (Options {
                engine: EngineKind::Tract,
                precision: Precision::Bf16,
            })
        {
            return Err(ModelError::Bf16InTract);
        }
        intertwine_kernels::cpu::checked_path()?;
        // tract indexes and unwraps in a few places on what a file says; a damaged model must stay an error.
        let planned = silently(|| Self::plan(model.0, options));
        intertwine_kernels::buffers::give_back_freed_memory();
        planned
            .unwrap_or_else(|panic| Err(ModelError::Onnx(format!("the planner gave up: {panic}"))))
    }

    fn plan(mut proto: pb::ModelProto, options: Options) -> Result<(Self, ModelCard), ModelError> {
        // Before planning: the advice to export with our program helps more than a missing operator.
        let card = read_card(&proto)?;
        let graph = proto
            .graph
            .as_ref()
            .ok_or_else(|| ModelError::Onnx("it holds no graph".into()))?;
        check_graph(graph, card.input_size)?;
        let layout = find_outputs(graph, &card)?;

        let mut typed = onnx()
            .model_for_proto_model(&proto)
            .and_then(|model| model.into_typed())
            .map_err(onnx_error)?;
        check_tensor_sizes(&typed)?;
        check_shapes(&typed, &card, layout)?;
        if let (EngineKind::Fused, Some(graph)) = (options.engine, &mut proto.graph) {
            fuse::fuse(graph, &mut typed, options.precision).map_err(onnx_error)?;
        }
        // Weights now live in the plan; the file's copy is not kept through the optimisation.
        drop(proto);
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
            threads: Threads::Caller,
        })
    }

    /// A second engine on the same plan and weights, with tensors of its own.
    pub(crate) fn try_clone(&self) -> Result<Self, DetectError> {
        let size = self.input.shape()[3];
        let clone = Self::with_plan(self.plan.clone(), size, self.layout).map_err(run_error)?;
        Ok(Self {
            threads: self.threads.clone(),
            ..clone
        })
    }

    /// Gives our layers so many threads; what is left to tract runs on one.
    pub(crate) fn set_threads(&mut self, threads: NonZeroUsize) -> Result<(), DetectError> {
        self.threads = match threads.get() {
            1 => Threads::Caller,
            count => {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(count)
                    .thread_name(|index| format!("detect-{index}"))
                    .build()
                    .map_err(|error| {
                        DetectError::Run(format!("cannot start {count} threads: {error}"))
                    })?;
                Threads::Pool(Arc::new(pool))
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
        self.run_by(|state, input| state.run(input))?;
        self.raw_outputs()
    }

    /// As [`run`](Self::run), adding the time that each node takes to `times`, which are those of [`nodes`](Self::nodes).
    pub(crate) fn run_timed(&mut self, times: &mut [Duration]) -> Result<(), DetectError> {
        self.run_by(|state, input| {
            state.run_plan_with_eval(input, |context, op_state, node, inputs| {
                let start = Instant::now();
                let outputs = tract_onnx::tract_core::plan::eval(context, op_state, node, inputs);
                times[node.id] += start.elapsed();
                outputs
            })
        })
    }

    /// The name of each node of the plan, and of what it does.
    pub(crate) fn nodes(&self) -> Vec<(String, String)> {
        let nodes = self.plan.model().nodes().iter();
        nodes
            .map(|node| (node.name.clone(), node.op().name().into_owned()))
            .collect()
    }

    fn run_by<F>(&mut self, run: F) -> Result<(), DetectError>
    where
        F: FnOnce(&mut TypedSimpleState, TVec<TValue>) -> TractResult<TVec<TValue>> + Send,
    {
        let input = tvec!(TValue::from_const(self.input.clone()));
        let Self { state, threads, .. } = self;
        let run = || silently(|| run(state, input));
        let outcome = match threads {
            Threads::Caller => intertwine_kernels::alone(run),
            Threads::Pool(pool) => pool.install(run),
        };
        match outcome.unwrap_or_else(|panic| Err(TractError::msg(panic))) {
            Ok(outputs) => self.outputs = outputs,
            Err(error) => {
                // What the failed run left behind must not reach the next one.
                self.state = self.plan.spawn().map_err(run_error)?;
                return Err(run_error(error));
            }
        }
        Ok(())
    }

    fn raw_outputs(&self) -> Result<RawOutputs<'_>, DetectError> {
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
