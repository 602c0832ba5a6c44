//! Our layers as an operation of tract's.

use std::sync::{Arc, Mutex, PoisonError};

use intertwine_kernels::attention;
use intertwine_kernels::fused::{Conv, Linear, Mlp, Norm, Patches};
use intertwine_kernels::gemm::Precision;
use tract_onnx::prelude::tract_itertools::Itertools;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// What a layer computes, from rows to rows.
#[derive(Debug)]
pub(super) enum Layer {
    /// With a second input, that is added.
    Linear(Linear),
    /// Likewise.
    Mlp(Mlp),
    Norm(Norm),
    Conv {
        conv: Conv,
        height: usize,
        width: usize,
    },
    Patches {
        patches: Patches,
        height: usize,
        width: usize,
    },
    Attention {
        heads: usize,
        width: usize,
        precision: Precision,
    },
}

/// Tensors that nobody reads any more, to be written again: the allocator would give back their pages after every
/// picture, and clear them for the next.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<Tensor>>);

/// Most tensors that are kept: more than are alive at once in any network of ours.
const MOST_SPARE: usize = 32;

impl Spare {
    /// A tensor of this shape, of any values.
    fn take(&self, shape: &[usize]) -> TractResult<Tensor> {
        let len: usize = shape.iter().product();
        let found = {
            let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let at = spare.iter().rposition(|tensor| tensor.len() == len);
            at.map(|at| spare.swap_remove(at))
        };
        match found {
            Some(mut tensor) => {
                tensor.set_shape(shape)?;
                Ok(tensor)
            }
            None => Tensor::zero::<f32>(shape),
        }
    }

    /// Keeps a value's tensor, if this was its last reader.
    fn give(&self, value: TValue) {
        if value.is_exclusive() && value.datum_type() == f32::datum_type() {
            let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if spare.len() < MOST_SPARE {
                spare.push(value.into_tensor());
            }
        }
    }
}

/// A layer in a plan.
#[derive(Clone, Debug)]
pub(super) struct Fused {
    pub layer: Arc<Layer>,
    /// Shared by all layers of a plan.
    pub spare: Arc<Spare>,
    /// Of the output.
    pub shape: Arc<[usize]>,
}

// Two layers with equal weights are still two, and tract merges what it finds equal.
impl PartialEq for Fused {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.layer, &other.layer)
    }
}
impl Eq for Fused {}

impl Op for Fused {
    fn name(&self) -> StaticName {
        match &*self.layer {
            Layer::Linear(_) => "Linear",
            Layer::Mlp(_) => "Mlp",
            Layer::Norm(_) => "Norm",
            Layer::Conv { .. } => "Conv3x3",
            Layer::Patches { .. } => "Patches",
            Layer::Attention { .. } => "Attention",
        }
        .into()
    }

    op_as_typed_op!();
}

impl EvalOp for Fused {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut output = self.spare.take(&self.shape)?;
        self.run(
            &inputs,
            output.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?,
        )?;
        inputs.into_iter().for_each(|input| self.spare.give(input));
        Ok(tvec!(output.into_tvalue()))
    }
}

impl Fused {
    fn run(&self, inputs: &[TValue], y: &mut [f32]) -> TractResult<()> {
        let x = slice(&inputs[0])?;
        match &*self.layer {
            Layer::Linear(linear) => {
                let residual = inputs.get(1).map(slice).transpose()?;
                linear.forward(x, residual, y);
            }
            Layer::Mlp(mlp) => {
                let residual = inputs.get(1).map(slice).transpose()?;
                mlp.forward(x, residual, y);
            }
            Layer::Norm(norm) => norm.forward(x, y),
            Layer::Conv {
                conv,
                height,
                width,
            } => conv.forward(x, *height, *width, y),
            Layer::Patches {
                patches,
                height,
                width,
            } => patches.forward(x, *height, *width, y),
            Layer::Attention {
                heads,
                width,
                precision,
            } => attention::forward_one(x, *heads, *width, 1.0, y, *precision),
        }
        Ok(())
    }
}

fn slice(value: &TValue) -> TractResult<&[f32]> {
    value.try_as_plain_ram()?.as_slice::<f32>()
}

impl TypedOp for Fused {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(
            inputs
                .iter()
                .all(|fact| fact.datum_type == f32::datum_type()),
            "the inputs are {}, expected f32",
            inputs
                .iter()
                .map(|fact| format!("{:?}", fact.datum_type))
                .join(", ")
        );
        Ok(tvec!(f32::fact(&*self.shape)))
    }

    as_op!();
}
