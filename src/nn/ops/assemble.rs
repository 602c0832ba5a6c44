//! Tokens from content and position: `token = content + position`, with `e_mask` in the place of a
//! masked content and `e_posmask` in the place of a masked position (METHOD section 2), and the CLS
//! token, which has no position, in front of each sequence.

use super::{slice, take_grad};
use crate::nn::{Backend, Groups, Rows, Vector};
use dfdx::prelude::*;

/// The learned tokens that stand in for something.
#[derive(Debug)]
pub struct SpecialTokens<'a, C: Dim, D: Backend> {
    /// The class token.
    pub cls: &'a Vector<C, D>,
    /// Stands for a masked content.
    pub mask: &'a Vector<C, D>,
    /// Stands for a masked position.
    pub position_mask: &'a Vector<C, D>,
}

/// Where everything goes: sequence s has `len - 1` patches, taken in order from the patch rows.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The sequences of the result, their CLS counted in `len`.
    pub groups: Groups,
    /// For each patch row: its content is masked.
    pub content_masked: Vec<bool>,
    /// For each patch row: its position is masked.
    pub position_masked: Vec<bool>,
}

impl Plan {
    /// A plan without masks.
    pub fn unmasked(groups: Groups) -> Self {
        let patches = groups.rows() - groups.sequences();
        Self {
            groups,
            content_masked: vec![false; patches],
            position_masked: vec![false; patches],
        }
    }

    /// Calls `f(token row, Some(patch row) or None for CLS)` for each token in order.
    pub fn for_each_token(&self, mut f: impl FnMut(usize, Option<usize>)) {
        let mut patch = 0;
        for (start, len) in self.groups.starts() {
            f(start, None);
            for row in start + 1..start + len {
                f(row, Some(patch));
                patch += 1;
            }
        }
    }
}

/// In stock operations: both halves of the sum are gathered from a table with the special tokens at its end.
pub fn composed<C: Dim, D: Backend, T: Tape<f32, D>>(
    content: Rows<C, D, T>,
    position: Rows<C, D>,
    tokens: SpecialTokens<'_, C, D>,
    plan: &Plan,
) -> Rows<C, D, T> {
    let (patches, width) = *content.shape();
    let one = |v: &Vector<C, D>| -> Rows<C, D, T> { v.retaped::<T>().reshape_like(&(1, width)) };
    let zero: Rows<C, D> = content.device().zeros_like(&(1, width));
    let contents = (content, one(tokens.mask)).concat_along(Axis::<0>);
    let contents = (contents, one(tokens.cls)).concat_along(Axis::<0>);
    let positions = (position.retaped::<T>(), one(tokens.position_mask)).concat_along(Axis::<0>);
    let positions = (positions, zero).concat_along(Axis::<0>);
    let (mut from_contents, mut from_positions) = (Vec::new(), Vec::new());
    plan.for_each_token(|_, patch| match patch {
        None => {
            from_contents.push(patches as u32 + 1);
            from_positions.push(patches as u32 + 1);
        }
        Some(p) => {
            from_contents.push(if plan.content_masked[p] { patches } else { p } as u32);
            from_positions.push(if plan.position_masked[p] { patches } else { p } as u32);
        }
    });
    super::gather::rows_composed(contents, &from_contents)
        + super::gather::rows_composed(positions, &from_positions)
}

/// On the CPU, in one pass.
pub fn fused<C: Dim, T: Tape<f32, Cpu>>(
    content: Rows<C, Cpu, T>,
    position: Rows<C, Cpu>,
    tokens: SpecialTokens<'_, C, Cpu>,
    plan: &Plan,
) -> Rows<C, Cpu, T> {
    let (content, mut tape) = content.split_tape();
    let width = content.shape().1;
    let d = width.size();
    let rows = plan.groups.rows();
    let mut y = vec![0.0; rows * d];
    {
        let (c, p) = (slice(&content), slice(&position));
        let (cls, mask, position_mask) = (
            slice(tokens.cls),
            slice(tokens.mask),
            slice(tokens.position_mask),
        );
        plan.for_each_token(|row, patch| {
            let out = &mut y[row * d..][..d];
            match patch {
                None => out.copy_from_slice(cls),
                Some(i) => {
                    let content = if plan.content_masked[i] {
                        mask
                    } else {
                        &c[i * d..][..d]
                    };
                    let position = if plan.position_masked[i] {
                        position_mask
                    } else {
                        &p[i * d..][..d]
                    };
                    for ((o, a), b) in out.iter_mut().zip(content).zip(position) {
                        *o = a + b;
                    }
                }
            }
        });
    }
    let y = content.device().tensor_from_vec(y, (rows, width));
    if T::OWNS_TAPE {
        let (kept, plan) = (y.clone(), plan.clone());
        let specials = [
            tokens.cls.clone(),
            tokens.mask.clone(),
            tokens.position_mask.clone(),
        ];
        tape.add_backward_op(move |g| {
            let dy = take_grad(g, &kept)?;
            let [mut dcls, mut dmask, mut dposmask] = [
                take_grad(g, &specials[0])?,
                take_grad(g, &specials[1])?,
                take_grad(g, &specials[2])?,
            ];
            let mut dposition = take_grad(g, &position)?;
            let dcontent = g.get_or_alloc_mut(&content)?;
            let add =
                |to: &mut [f32], from: &[f32]| to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
            plan.for_each_token(|row, patch| {
                let dy = &dy[row * d..][..d];
                match patch {
                    None => add(&mut dcls, dy),
                    Some(i) => {
                        add(
                            if plan.content_masked[i] {
                                &mut dmask
                            } else {
                                &mut dcontent[i * d..][..d]
                            },
                            dy,
                        );
                        add(
                            if plan.position_masked[i] {
                                &mut dposmask
                            } else {
                                &mut dposition[i * d..][..d]
                            },
                            dy,
                        );
                    }
                }
            });
            super::put_grad(g, &position, dposition)?;
            for (token, grad) in specials.iter().zip([dcls, dmask, dposmask]) {
                super::put_grad(g, token, grad)?;
            }
            Ok(())
        });
    }
    y.put_tape(tape)
}
