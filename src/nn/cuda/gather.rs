//! Rows by index.
//!
//! A row that is read several times gets its gradient as one sum in the order of the reading, from lists made on the
//! host: atomic additions would add in another order in every run.

use dfdx::prelude::*;

use super::gpu::{launch, place, Address, Gpu, Terms, Work};
use super::view::{address, at, grad, take_grad, Buffer};
use super::{each, gpu};
use crate::nn::ops::assemble::{Plan, SpecialTokens};
use crate::nn::Rows;

/// `y[i] = x[index[i]]`.
pub fn rows<C: Dim, T: Tape<f32, Cuda>>(x: Rows<C, Cuda, T>, index: &[u32]) -> Rows<C, Cuda, T> {
    let gpu = gpu();
    let (x, mut tape) = x.split_tape();
    let (table, width) = *x.shape();
    check(index, table);
    let d = width.size();
    let y: Rows<C, Cuda> = x.device().zeros_like(&(index.len(), width));
    let (work, n) = each(index.len() * d);
    let forward = || {
        let index = gpu.upload(index)?;
        let (x, y) = (address(&x), address(&y));
        // SAFETY: `y` has a row for each index, and each index is one of a row of `x`.
        unsafe { launch!(gpu, "gather_rows", work, x, &index, n, d as i32, y) }
    };
    forward().expect("a gather on the GPU");
    if T::OWNS_TAPE {
        let (kept, index) = (y.clone(), index.to_vec());
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            let readers = Readers::of(
                index.iter().enumerate().map(|(i, t)| (*t, i as u32, 1.0)),
                table,
            );
            // SAFETY: readers are rows of `y`, what they read rows of `x`.
            unsafe { readers.add(gpu, &dy, d, grad(g, &x)?) }
        });
    }
    y.put_tape(tape)
}

/// `y[i] = sum_k weight[i][k] * table[index[i][k]]`.
pub fn taps<C: Dim, T: Tape<f32, Cuda>>(
    table: Rows<C, Cuda, T>,
    index: &[[u32; 4]],
    weight: &[[f32; 4]],
) -> Rows<C, Cuda, T> {
    let gpu = gpu();
    let (table, mut tape) = table.split_tape();
    let (cells, width) = *table.shape();
    check(index.as_flattened(), cells);
    assert_eq!(index.len(), weight.len(), "a weight for each index");
    let d = width.size();
    let y: Rows<C, Cuda> = table.device().zeros_like(&(index.len(), width));
    let (work, n) = each(index.len() * d);
    let forward = || {
        let (index, weight) = (
            gpu.upload(index.as_flattened())?,
            gpu.upload(weight.as_flattened())?,
        );
        let (table, y) = (address(&table), address(&y));
        // SAFETY: `y` has a row for each four indices, and each index is one of a row of the table.
        unsafe {
            launch!(
                gpu,
                "gather_taps",
                work,
                table,
                &index,
                &weight,
                n,
                d as i32,
                y
            )
        }
    };
    forward().expect("a gather on the GPU");
    if T::OWNS_TAPE {
        let (kept, index, weight) = (y.clone(), index.to_vec(), weight.to_vec());
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            let pairs = index.as_flattened().iter().zip(weight.as_flattened());
            let readers = pairs.enumerate().map(|(i, (t, w))| (*t, i as u32 / 4, *w));
            // SAFETY: as in `rows`.
            unsafe { Readers::of(readers, cells).add(gpu, &dy, d, grad(g, &table)?) }
        });
    }
    y.put_tape(tape)
}

/// That each index is that of a row.
pub(super) fn check(index: &[u32], rows: usize) {
    let outside = index.iter().find(|i| **i as usize >= rows);
    assert!(outside.is_none(), "row {outside:?} of {rows}");
}

/// More readers than this are not left to one thread a column.
const MANY: u32 = 64;

/// Of each row that is read, who reads it, in order.
struct Readers {
    target: Vec<u32>,
    start: Vec<u32>,
    source: Vec<u32>,
    weight: Vec<f32>,
}

impl Readers {
    /// From (row that is read, reader, weight), by counting: linear in both.
    fn of(reads: impl Iterator<Item = (u32, u32, f32)> + Clone, rows: usize) -> Self {
        let mut next = vec![0u32; rows + 1];
        reads.clone().for_each(|(t, ..)| next[t as usize + 1] += 1);
        let target: Vec<u32> = (0..rows as u32)
            .filter(|t| next[*t as usize + 1] > 0)
            .collect();
        for i in 0..rows {
            next[i + 1] += next[i];
        }
        let all = next[rows];
        let start = target
            .iter()
            .map(|t| next[*t as usize])
            .chain([all])
            .collect();
        let (mut source, mut weight) = (vec![0; all as usize], vec![0.0; all as usize]);
        for (t, reader, w) in reads {
            let place = &mut next[t as usize];
            (source[*place as usize], weight[*place as usize]) = (reader, w);
            *place += 1;
        }
        Self {
            target,
            start,
            source,
            weight,
        }
    }

    /// `dx[target] +=` the weighted sum of the readers' gradients.
    ///
    /// # Safety
    /// Readers must be rows of `dy`, of width `d`, and targets rows of `dx`.
    unsafe fn add(&self, gpu: &Gpu, dy: &Buffer, d: usize, dx: Address) -> Result<(), CudaError> {
        let (work, n) = each(self.target.len() * d);
        let (target, start) = (gpu.upload(&self.target)?, gpu.upload(&self.start)?);
        let (source, weight) = (gpu.upload(&self.source)?, gpu.upload(&self.weight)?);
        let dy = at(dy);
        let most = self.start.windows(2).map(|w| w[1] - w[0]).max();
        if most > Some(MANY) && self.target.len() <= usize::from(u16::MAX) {
            let wide = d.next_power_of_two().min(32);
            let work = Work::ManyBlocks {
                rows: self.target.len() as u32,
                blocks: d.div_ceil(wide) as u32,
            };
            let (wide, d) = (wide as i32, d as i32);
            // SAFETY: the caller's.
            return unsafe {
                launch!(
                    gpu,
                    "gather_long_sums",
                    work,
                    dy,
                    &target,
                    &start,
                    &source,
                    &weight,
                    wide,
                    d,
                    dx
                )
            };
        }
        let d = d as i32;
        // SAFETY: the caller's.
        unsafe {
            launch!(
                gpu,
                "gather_sums",
                work,
                dy,
                &target,
                &start,
                &source,
                &weight,
                n,
                d,
                dx
            )
        }
    }
}

/// As [`ops::assemble`](crate::nn::ops::assemble).
pub fn assemble<C: Dim, T: Tape<f32, Cuda>>(
    content: Rows<C, Cuda, T>,
    position: Rows<C, Cuda>,
    tokens: SpecialTokens<'_, C, Cuda>,
    plan: &Plan,
) -> Rows<C, Cuda, T> {
    let gpu = gpu();
    let (content, mut tape) = content.split_tape();
    let (patches, width) = *content.shape();
    assert_eq!(patches, position.shape().0, "a position for each patch");
    let (rows, d) = (plan.groups.rows(), width.size());
    // Of each token: the row of its patch, -1 for CLS, -2 for a masked one.
    let (mut from_content, mut from_position) = (vec![-1i32; rows], vec![-1i32; rows]);
    plan.for_each_token(|row, patch| {
        if let Some(p) = patch {
            assert!(p < patches, "the plan has more patches than there are");
            from_content[row] = if plan.content_masked[p] { -2 } else { p as i32 };
            from_position[row] = if plan.position_masked[p] {
                -2
            } else {
                p as i32
            };
        }
    });
    let y: Rows<C, Cuda> = content.device().zeros_like(&(rows, width));
    let (work, n) = each(rows * d);
    let forward = || {
        let (a, b) = (gpu.upload(&from_content)?, gpu.upload(&from_position)?);
        let [cls, mask, hidden] = [tokens.cls, tokens.mask, tokens.position_mask].map(address);
        let (c, p, y) = (address(&content), address(&position), address(&y));
        // SAFETY: `y` has a row for each token, and each of their patches is a row of content and position.
        unsafe { launch!(gpu, "assemble", work, c, p, cls, mask, hidden, &a, &b, n, d as i32, y) }?;
        Ok::<_, CudaError>((a, b))
    };
    let (a, b) = forward().expect("assembling tokens on the GPU");
    if T::OWNS_TAPE {
        let flags = |from: &[i32], what: i32| -> Vec<f32> {
            from.iter().map(|f| f32::from(*f == what)).collect()
        };
        let kept = y.clone();
        let specials = [
            (tokens.cls.clone(), flags(&from_content, -1)),
            (tokens.mask.clone(), flags(&from_content, -2)),
            (tokens.position_mask.clone(), flags(&from_position, -2)),
        ];
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            let (dc, dp) = (grad(g, &content)?, grad(g, &position)?);
            // SAFETY: as above; a patch is of one token.
            unsafe {
                launch!(
                    gpu,
                    "assemble_backward",
                    work,
                    at(&dy),
                    &a,
                    &b,
                    n,
                    d as i32,
                    dc,
                    dp
                )
            }?;
            for (token, flags) in &specials {
                let flags = gpu.upload(flags)?;
                let terms = Terms {
                    a: place(&flags),
                    ..Terms::default()
                };
                // SAFETY: a flag for each row.
                unsafe { gpu.add_columns(at(&dy), terms, rows, d, grad(g, token)?) }?;
            }
            Ok(())
        });
    }
    y.put_tape(tape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_listed_in_order() {
        let reads = [(2, 0, 0.5), (0, 1, 1.0), (2, 2, 0.25)];
        let readers = Readers::of(reads.into_iter(), 4);
        assert_eq!(readers.target, [0, 2]);
        assert_eq!(readers.start, [0, 1, 3]);
        assert_eq!(readers.source, [1, 0, 2]);
        assert_eq!(readers.weight, [1.0, 0.5, 0.25]);
    }
}
