//! Rows by index, and rows by four weighted indices: the bilinear sampling of the position field
//! (METHOD: the field is a table, a patch centre reads its four nearest cells).

use super::{slice, take_grad};
use crate::nn::{Backend, Rows};
use dfdx::prelude::*;
use intertwine_kernels::gather as kernel;

/// `y[i] = x[index[i]]` in stock operations.
pub fn rows_composed<C: Dim, D: Backend, T: Tape<f32, D>>(
    x: Rows<C, D, T>,
    index: &[u32],
) -> Rows<C, D, T> {
    let index: Vec<usize> = index.iter().map(|&i| i as usize).collect();
    let count = index.len();
    let index = x.device().tensor_from_vec(index, (count,));
    x.gather(index)
}

/// `y[i] = x[index[i]]` on the CPU kernels.
pub fn rows_fused<C: Dim, T: Tape<f32, Cpu>>(x: Rows<C, Cpu, T>, index: &[u32]) -> Rows<C, Cpu, T> {
    let (x, mut tape) = x.split_tape();
    let width = x.shape().1;
    let d = width.size();
    let mut y = vec![0.0; index.len() * d];
    kernel::rows_forward(slice(&x), index, d, &mut y);
    let y = x.device().tensor_from_vec(y, (index.len(), width));
    if T::OWNS_TAPE {
        let (kept, index) = (y.clone(), index.to_vec());
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            kernel::rows_backward(&dy, &index, d, g.get_or_alloc_mut(&x)?);
            Ok(())
        });
    }
    y.put_tape(tape)
}

/// `y[i] = sum_k weight[i][k] * table[index[i][k]]` in stock operations.
pub fn taps_composed<C: Dim, D: Backend, T: Tape<f32, D>>(
    table: Rows<C, D, T>,
    index: &[[u32; 4]],
    weight: &[[f32; 4]],
) -> Rows<C, D, T> {
    let (table, tape) = table.split_tape();
    let dev = table.device().clone();
    let (count, shape) = (index.len(), (index.len(), table.shape().1));
    let tap = |k: usize, tape: T| -> Rows<C, D, T> {
        let rows: Vec<u32> = index.iter().map(|i| i[k]).collect();
        let w = dev.tensor_from_vec(weight.iter().map(|w| w[k]).collect(), (count,));
        rows_composed(table.clone().put_tape(tape), &rows) * w.broadcast_like::<_, Axis<1>>(&shape)
    };
    let mut sum = tap(0, tape);
    for k in 1..4 {
        sum = sum + tap(k, T::default());
    }
    sum
}

/// `y[i] = sum_k weight[i][k] * table[index[i][k]]` on the CPU kernels.
pub fn taps_fused<C: Dim, T: Tape<f32, Cpu>>(
    table: Rows<C, Cpu, T>,
    index: &[[u32; 4]],
    weight: &[[f32; 4]],
) -> Rows<C, Cpu, T> {
    let (table, mut tape) = table.split_tape();
    let width = table.shape().1;
    let d = width.size();
    let mut y = vec![0.0; index.len() * d];
    kernel::taps_forward(slice(&table), index, weight, d, &mut y);
    let y = table.device().tensor_from_vec(y, (index.len(), width));
    if T::OWNS_TAPE {
        let (kept, index, weight) = (y.clone(), index.to_vec(), weight.to_vec());
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            kernel::taps_backward(&dy, &index, &weight, d, g.get_or_alloc_mut(&table)?);
            Ok(())
        });
    }
    y.put_tape(tape)
}
