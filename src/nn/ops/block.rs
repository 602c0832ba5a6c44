//! A pre-norm transformer block as one operation: one entry on the tape instead of nine, whose intermediate values
//! live in recycled buffers.

use super::{put_grad, slice, take_grad};
use crate::export::spec::NORM_EPSILON;
use crate::nn::arch::Arch;
use crate::nn::backend::Activation;
use crate::nn::vit::Block;
use crate::nn::{autocast, Backend, Groups, Rows};
use dfdx::prelude::*;
use intertwine_kernels::block::{self as kernel, some_rows};
use intertwine_kernels::gather;
use intertwine_kernels::optim::axpy;

/// The scale of each row in either branch, where samples skip it.
pub type RowScales = [Option<Vec<f32>>; 2];

/// In the operations of its parts.
pub fn composed<A: Arch, D: Backend, T: Tape<f32, D>>(
    x: Rows<A::Width, D, T>,
    block: &Block<A, D>,
    groups: &Groups,
    row_scales: &RowScales,
) -> Rows<A::Width, D, T> {
    let (stream, tape) = x.split_tape();
    let y = attend(stream.clone().put_tape(tape), block, groups);
    finish(stream, y, block, row_scales)
}

/// As [`composed`], but only some rows of the result: all rows are attended to, these alone go through the rest.
pub fn rows_composed<A: Arch, D: Backend, T: Tape<f32, D>>(
    x: Rows<A::Width, D, T>,
    block: &Block<A, D>,
    groups: &Groups,
    row_scales: &RowScales,
    rows: &[u32],
) -> Rows<A::Width, D, T> {
    let (stream, tape) = x.split_tape();
    let y = attend(stream.clone().put_tape(tape), block, groups);
    let (y, tape) = D::gather_rows(y, rows).split_tape();
    let (stream, tape) = D::gather_rows(stream.put_tape(tape), rows).split_tape();
    let of_rows = |scales: &Vec<f32>| rows.iter().map(|r| scales[*r as usize]).collect();
    let row_scales = [0, 1].map(|branch: usize| row_scales[branch].as_ref().map(of_rows));
    finish(stream, y.put_tape(tape), block, &row_scales)
}

/// What the tokens attend to, before its projection.
fn attend<A: Arch, D: Backend, T: Tape<f32, D>>(
    x: Rows<A::Width, D, T>,
    block: &Block<A, D>,
    groups: &Groups,
) -> Rows<A::Width, D, T> {
    let qkv = block.attn.qkv.forward(block.norm1.forward(x));
    D::attention(qkv, groups, A::HEADS, A::Width::default())
}

/// The rest of a block, each row by itself.
fn finish<A: Arch, D: Backend, T: Tape<f32, D>>(
    stream: Rows<A::Width, D>,
    attended: Rows<A::Width, D, T>,
    block: &Block<A, D>,
    row_scales: &RowScales,
) -> Rows<A::Width, D, T> {
    let y = block.attn.proj.forward(attended);
    let gain = block.ls1.as_ref().map(|l| &l.gamma);
    let x = D::residual(stream, y, gain, row_scales[0].as_deref());

    let (stream, tape) = x.split_tape();
    let normed = block.norm2.forward(stream.clone().put_tape(tape));
    let y = D::activation(block.mlp.fc1.forward(normed), Activation::Gelu);
    let y = block.mlp.fc2.forward(y);
    let gain = block.ls2.as_ref().map(|l| &l.gamma);
    D::residual(stream, y, gain, row_scales[1].as_deref())
}

/// On the CPU kernels; with `recompute`, the backward pass computes again what it needs of the forward pass.
pub fn fused<A: Arch, T: Tape<f32, Cpu>>(
    x: Rows<A::Width, Cpu, T>,
    block: &Block<A, Cpu>,
    groups: &Groups,
    row_scales: RowScales,
    recompute: bool,
) -> Rows<A::Width, Cpu, T> {
    let (x, mut tape) = x.split_tape();
    let precision = autocast::precision();
    let mut y = vec![0.0; x.shape().num_elements()];
    let shape = kernel_shape::<A>(groups, &row_scales, precision);
    let saved = kernel::forward(slice(&x), &parameters(block), &shape, &mut y);
    let y = x.device().tensor_from_vec(y, *x.shape());
    if T::OWNS_TAPE {
        let saved = (!recompute).then_some(saved);
        let (kept, block, groups) = (y.clone(), block.clone(), groups.clone());
        tape.add_backward_op(move |g| {
            let mut dy = take_grad(g, &kept)?;
            let mut gradients = take_gradients(&block, g)?;
            let shape = kernel_shape::<A>(&groups, &row_scales, precision);
            kernel::backward(
                slice(&x),
                &parameters(&block),
                &shape,
                saved,
                &mut dy,
                &mut gradients,
            );
            put_gradients(&block, g, gradients)?;
            axpy(g.get_or_alloc_mut(&x)?, 1.0, &dy);
            Ok(())
        });
    }
    y.put_tape(tape)
}

/// As [`fused`], but only some rows of the result.
pub fn rows_fused<A: Arch, T: Tape<f32, Cpu>>(
    x: Rows<A::Width, Cpu, T>,
    block: &Block<A, Cpu>,
    groups: &Groups,
    row_scales: RowScales,
    rows: &[u32],
) -> Rows<A::Width, Cpu, T> {
    // The kernel takes them in ascending order, in which the queries of a sequence stand together.
    let mut order: Vec<u32> = (0..rows.len() as u32).collect();
    order.sort_by_key(|i| rows[*i as usize]);
    let wanted: Vec<u32> = order.iter().map(|i| rows[*i as usize]).collect();
    let (x, mut tape) = x.split_tape();
    let (precision, d) = (autocast::precision(), A::WIDTH);
    let shape = kernel_shape::<A>(groups, &row_scales, precision);
    let mut sorted = vec![0.0; rows.len() * d];
    let p = parameters(block);
    let saved = some_rows::forward(slice(&x), &p, &shape, &wanted, &mut sorted);
    let mut y = vec![0.0; sorted.len()];
    gather::rows_backward(&sorted, &order, d, &mut y);
    let y = x
        .device()
        .tensor_from_vec(y, (rows.len(), A::Width::default()));
    if T::OWNS_TAPE {
        let (kept, block, groups) = (y.clone(), block.clone(), groups.clone());
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            let mut dsorted = sorted;
            gather::rows_forward(&dy, &order, d, &mut dsorted);
            let mut gradients = take_gradients(&block, g)?;
            let mut dx = take_grad(g, &x)?;
            some_rows::backward(
                slice(&x),
                &parameters(&block),
                &kernel_shape::<A>(&groups, &row_scales, precision),
                &wanted,
                saved,
                &mut dsorted,
                &mut dx,
                &mut gradients,
            );
            put_gradients(&block, g, gradients)?;
            put_grad(g, &x, dx)
        });
    }
    y.put_tape(tape)
}

fn kernel_shape<'a, A: Arch>(
    groups: &'a Groups,
    row_scales: &'a RowScales,
    precision: autocast::Precision,
) -> kernel::Shape<'a> {
    kernel::Shape {
        groups: &groups.0,
        heads: A::HEADS,
        d: A::WIDTH,
        hidden: A::Mlp::default().size(),
        eps: NORM_EPSILON,
        precision,
        row_scales: [row_scales[0].as_deref(), row_scales[1].as_deref()],
    }
}

/// Calls `$each` with every parameter of `$block` and gathers the results.
macro_rules! each_parameter {
    ($block:expr, $each:ident) => {
        kernel::Parameters {
            norm1_weight: $each!(&$block.norm1.weight),
            norm1_bias: $each!(&$block.norm1.bias),
            qkv_weight: $each!(&$block.attn.qkv.weight),
            qkv_bias: $each!(&$block.attn.qkv.bias),
            proj_weight: $each!(&$block.attn.proj.weight),
            proj_bias: $each!(&$block.attn.proj.bias),
            gain1: match &$block.ls1 {
                Some(scale) => Some($each!(&scale.gamma)),
                None => None,
            },
            norm2_weight: $each!(&$block.norm2.weight),
            norm2_bias: $each!(&$block.norm2.bias),
            fc1_weight: $each!(&$block.mlp.fc1.weight),
            fc1_bias: $each!(&$block.mlp.fc1.bias),
            fc2_weight: $each!(&$block.mlp.fc2.weight),
            fc2_bias: $each!(&$block.mlp.fc2.bias),
            gain2: match &$block.ls2 {
                Some(scale) => Some($each!(&scale.gamma)),
                None => None,
            },
        }
    };
}

fn parameters<A: Arch>(block: &Block<A, Cpu>) -> kernel::Parameters<&[f32]> {
    macro_rules! values {
        ($t:expr) => {
            slice($t)
        };
    }
    each_parameter!(block, values)
}

/// The gradients so far, to be added to.
fn take_gradients<A: Arch>(
    block: &Block<A, Cpu>,
    g: &mut Gradients<f32, Cpu>,
) -> Result<kernel::Parameters<Vec<f32>>, CpuError> {
    macro_rules! take {
        ($t:expr) => {
            take_grad(g, $t)?
        };
    }
    Ok(each_parameter!(block, take))
}

fn put_gradients<A: Arch>(
    block: &Block<A, Cpu>,
    g: &mut Gradients<f32, Cpu>,
    gradients: kernel::Parameters<Vec<f32>>,
) -> Result<(), CpuError> {
    let p = gradients;
    put_grad(g, &block.norm1.weight, p.norm1_weight)?;
    put_grad(g, &block.norm1.bias, p.norm1_bias)?;
    put_grad(g, &block.attn.qkv.weight, p.qkv_weight)?;
    put_grad(g, &block.attn.qkv.bias, p.qkv_bias)?;
    put_grad(g, &block.attn.proj.weight, p.proj_weight)?;
    put_grad(g, &block.attn.proj.bias, p.proj_bias)?;
    put_grad(g, &block.norm2.weight, p.norm2_weight)?;
    put_grad(g, &block.norm2.bias, p.norm2_bias)?;
    put_grad(g, &block.mlp.fc1.weight, p.fc1_weight)?;
    put_grad(g, &block.mlp.fc1.bias, p.fc1_bias)?;
    put_grad(g, &block.mlp.fc2.weight, p.fc2_weight)?;
    put_grad(g, &block.mlp.fc2.bias, p.fc2_bias)?;
    for (scale, gradient) in [(&block.ls1, p.gain1), (&block.ls2, p.gain2)] {
        if let (Some(scale), Some(gradient)) = (scale, gradient) {
            put_grad(g, &scale.gamma, gradient)?;
        }
    }
    Ok(())
}
