//! What a step computes, tensor by tensor, in the order in which it is computed.

use dfdx::prelude::*;

use crate::nn::arch::Arch;
use crate::nn::autocast;
use crate::nn::backend::tape_onto;
use crate::nn::vit::{DropPath, TokenInput};
use crate::nn::{Backend, Module, Rows};
use crate::pretrain::batch::Batch;
use crate::pretrain::checkpoint::State;
use crate::pretrain::config::PretrainConfig;
use crate::pretrain::error::PretrainError;
use crate::pretrain::network::Network;
use crate::pretrain::objective::objective;
use crate::pretrain::step::{drop_path, rates};

/// What a tensor is to the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A parameter.
    Weight,
    /// One of the optimiser's averages.
    Average,
    /// What a layer gives, or is given.
    Activation,
    /// A part of the loss.
    Loss,
    /// The gradient of a parameter.
    Gradient,
}

/// A tensor of the step.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// How many values it has.
    pub values: usize,
    /// How many of them are not finite.
    pub not_finite: usize,
    /// The first of these: its place and value.
    pub first: Option<(usize, f32)>,
    /// The largest magnitude of the others.
    pub largest: f32,
}

impl Seen {
    fn of(kind: Kind, name: impl Into<String>, values: &[f32]) -> Self {
        let bad = |v: &f32| !v.is_finite();
        let finite = values.iter().filter(|v| v.is_finite());
        Self {
            kind,
            name: name.into(),
            values: values.len(),
            not_finite: values.iter().filter(|v| bad(v)).count(),
            first: values.iter().position(bad).map(|i| (i, values[i])),
            largest: finite.fold(0.0, |most, v| most.max(v.abs())),
        }
    }
}

/// Shows `see` the tensors of the step that comes next, of `steps`. `part` gives each part of its batch.
///
/// # Errors
/// Those of `part`.
pub(super) fn walk<A: Arch, D: Backend>(
    state: &State<A, D>,
    config: &PretrainConfig,
    steps: u64,
    mut part: impl FnMut(u64) -> Result<Batch, PretrainError>,
    see: &mut dyn FnMut(Seen),
) -> Result<(), PretrainError> {
    for (name, network) in [("student", &state.student), ("teacher", &state.teacher)] {
        network.walk(name, &mut |name, _, t| {
            see(Seen::of(Kind::Weight, name, &t.to_host()))
        });
    }
    state.optimizer.walk(&state.student, |name, t| {
        see(Seen::of(Kind::Average, name, &D::host(t)))
    });
    let _precision = autocast::scope(config.precision.precision());
    let rates = rates(state.step, config, steps);
    let mut centres = state.centres.clone();
    let mut gradients = Gradients::leaky();
    for i in 0..config.optim.accumulate as u64 {
        let batch = part(i)?;
        let name = |what: &str| match config.optim.accumulate {
            1 => what.to_owned(),
            _ => format!("part {i}: {what}"),
        };
        let drop_path = drop_path(state.step, config, i);
        {
            let mut show = |what: &str, values: &[f32]| {
                see(Seen::of(Kind::Activation, name(what), values));
            };
            let input = batch.student_input();
            show("patches", &input.patches);
            let views = &batch.cls[..batch.globals * batch.size];
            let teacher = (&state.teacher, "teacher");
            activations(
                teacher,
                batch.teacher_input(),
                None,
                (views, &batch),
                &mut show,
            );
            let student = (&state.student, "student");
            activations(
                student,
                input,
                Some(drop_path),
                (&batch.cls, &batch),
                &mut show,
            );
        }
        let (total, losses) = objective(
            &state.student,
            &state.teacher,
            &batch,
            &config.loss,
            rates.teacher_temperature,
            &mut centres,
            drop_path,
            tape_onto(state.student.vit.cls_token.device(), gradients),
        );
        for (what, value) in [
            ("image loss", losses.image),
            ("content loss", losses.content),
            ("position loss", losses.position),
            ("KoLeo loss", losses.koleo),
            ("their sum", losses.loss),
        ] {
            see(Seen::of(Kind::Loss, name(what), &[value as f32]));
        }
        gradients = (total * (1.0 / config.optim.accumulate as f32)).backward();
    }
    state.student.walk("student", &mut |name, _, t| {
        let gradient = t.grad_to_host(&mut gradients);
        see(Seen::of(Kind::Gradient, name, &gradient));
    });
    Ok(())
}

/// What the layers of a network give for the views whose CLS tokens are at rows `cls`.
fn activations<A: Arch, D: Backend>(
    (network, who): (&Network<A, D>, &str),
    input: TokenInput<'_>,
    drop_path: Option<DropPath>,
    (cls, batch): (&[u32], &Batch),
    show: &mut dyn FnMut(&str, &[f32]),
) {
    let tokens = network.vit.forward_seen(input, drop_path, &mut |layer, x| {
        show(&format!("{who}.vit.{layer}"), x)
    });
    let rows = |rows: &[u32]| -> Rows<A::Width, D> { D::gather_rows(tokens.clone(), rows) };
    let (content, position) = batch.masked.split_at(batch.content_masked);
    let mut heads = vec![("image_head", &network.image_head, cls)];
    match &network.position_head {
        None => heads.push(("patch_head", &network.patch_head, &batch.masked[..])),
        Some(head) => heads.extend([
            ("patch_head", &network.patch_head, content),
            ("position_head", head, position),
        ]),
    }
    for (name, head, wanted) in heads {
        if !wanted.is_empty() {
            let logits = head.forward(rows(wanted));
            show(&format!("{who}.{name}"), &D::host(&logits));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_that_is_not_finite_is_found() {
        let seen = Seen::of(Kind::Loss, "a", &[1.0, -7.5, f32::INFINITY, 2.0, f32::NAN]);
        assert_eq!((seen.values, seen.not_finite, seen.largest), (5, 2, 7.5));
        assert_eq!(seen.first, Some((2, f32::INFINITY)));
        let well = Seen::of(Kind::Loss, "a", &[0.5]);
        assert_eq!((well.not_finite, well.first), (0, None));
    }
}
