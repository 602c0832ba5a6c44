//! One step of a pretraining: loss, gradients, AdamW, and the teacher that follows.

use std::borrow::Borrow;

use dfdx::prelude::*;

use super::batch::Batch;
use super::checkpoint::State;
use super::config::PretrainConfig;
use super::error::PretrainError;
use super::objective::{objective, Losses};
use crate::nn::arch::Arch;
use crate::nn::autocast;
use crate::nn::backend::tape_onto;
use crate::nn::module::AnyTensor;
use crate::nn::optim::Follower;
use crate::nn::vit::DropPath;
use crate::nn::{Backend, Module};
use crate::schedule::{cosine, learning_rate, linear_warmup};

/// The scheduled values of a step.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Rates {
    lr: f32,
    weight_decay: f32,
    momentum: f32,
    pub teacher_temperature: f32,
    grad_norm: f64,
}

/// The scheduled values of step `at` of `steps`.
pub(super) fn rates(at: u64, config: &PretrainConfig, steps: u64) -> Rates {
    let (optim, loss) = (&config.optim, &config.loss);
    let [t0, t1] = loss.teacher_temperature;
    Rates {
        lr: learning_rate(optim.lr, optim.lr_end, optim.warmup, at, steps),
        weight_decay: cosine(optim.weight_decay[0], optim.weight_decay[1], at, steps),
        momentum: cosine(optim.momentum[0], optim.momentum[1], at, steps),
        teacher_temperature: linear_warmup(t0, t1, loss.teacher_warmup, at, steps),
        grad_norm: 0.0,
    }
}

/// Which samples skip which branches when part `part` of step `at` goes through the network.
pub(super) fn drop_path(at: u64, config: &PretrainConfig, part: u64) -> DropPath {
    DropPath {
        seed: config.seed,
        step: at * config.optim.accumulate as u64 + part,
    }
}

/// One step: loss and backward pass of each part of the batch, AdamW, the teacher follows. `part` gives the next part
/// of the batch, `steps` is the length of the run.
pub(crate) fn step<A: Arch, D: Backend, B: Borrow<Batch>>(
    state: &mut State<A, D>,
    config: &PretrainConfig,
    steps: u64,
    mut part: impl FnMut() -> Result<B, PretrainError>,
) -> Result<(Losses, Rates), PretrainError> {
    let _precision = autocast::scope(config.precision.precision());
    let (at, optim) = (state.step, &config.optim);
    let mut rates = rates(at, config, steps);
    let mut losses = Losses::default();
    let mut gradients = Gradients::leaky();
    for i in 0..optim.accumulate as u64 {
        let (total, parts) = objective(
            &state.student,
            &state.teacher,
            part()?.borrow(),
            &config.loss,
            rates.teacher_temperature,
            &mut state.centres,
            drop_path(at, config, i),
            tape_onto(state.student.vit.cls_token.device(), gradients),
        );
        let figures = [
            (parts.image, "the image loss"),
            (parts.content, "the content loss"),
            (parts.position, "the position loss"),
            (parts.koleo, "the KoLeo loss"),
        ];
        if let Some((_, part)) = figures.into_iter().find(|(v, _)| !v.is_finite()) {
            // A weight that is not finite explains it; the last step has made it so.
            let what = bad(&state.student, |t| {
                t.to_host().iter().all(|v| v.is_finite())
            });
            let what = what.map_or(part.into(), |what| format!("{part}, and {what}"));
            return Err(PretrainError::not_finite(at, what));
        }
        let share = 1.0 / optim.accumulate as f32;
        losses.add(&parts, f64::from(share));
        gradients = (total * share).backward();
    }
    let frozen = at < (f64::from(optim.freeze_prototypes) * steps as f64) as u64;
    let report = state.optimizer.step(
        &mut state.student,
        Some(Follower {
            module: &mut state.teacher,
            momentum: rates.momentum,
        }),
        &mut gradients,
        rates.lr,
        rates.weight_decay,
        optim.clip,
        |name| frozen && name.ends_with("prototypes"),
    );
    rates.grad_norm = report.grad_norm;
    if !report.grad_norm.is_finite() {
        let what = bad(&state.student, |t| {
            t.grad_sum_of_squares(&mut gradients).is_finite()
        });
        let what = what.map_or("the gradient".into(), |what| {
            format!("the gradient of {what}")
        });
        return Err(PretrainError::not_finite(at, what));
    }
    // A step that is not finite changes nothing: it is kept, to be taken again.
    state.centres.follow(config.loss.centre_momentum);
    state.step += 1;
    Ok((losses, rates))
}

/// Names the parameters of which `good` is not true.
fn bad<D: Backend>(
    network: &impl Module<D>,
    mut good: impl FnMut(&dyn AnyTensor<D>) -> bool,
) -> Option<String> {
    let mut names = Vec::new();
    network.walk("", &mut |name, _, t| {
        if !good(t) {
            names.push(name.to_owned());
        }
    });
    match names.as_slice() {
        [] => None,
        [one] => Some(format!("`{one}`")),
        [first, rest @ ..] => Some(format!("`{first}` and {} other parameters", rest.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve;
    use crate::nn::arch::Tiny;
    use crate::nn::positions::Encoding;
    use crate::pretrain::config::PRESETS;
    use crate::pretrain::testing::drawn_views;

    /// The parameters and centres after one step, with these settings, on the same four pictures.
    fn after_a_step(settings: &[&str]) -> Vec<f32> {
        after_a_step_on(&Cpu::default(), settings, 1e-8)
    }

    /// As [`after_a_step`]; with an `eps` that is large, AdamW's step is as long as the gradient.
    fn after_a_step_on<D: Backend>(dev: &D, settings: &[&str], eps: f32) -> Vec<f32> {
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        let config: PretrainConfig = resolve(PRESETS, "pico", None, &settings).unwrap();
        let views = drawn_views(&config);
        let part = 4 / config.optim.accumulate;
        let mut parts = views.chunks(part).enumerate().map(|(i, views)| {
            let encoding = (Encoding::of(&config.model), 192);
            Batch::new(views, encoding, &config.mask, config.seed, i as u64)
        });
        let mut state = State::<Tiny, D>::new(dev, &config);
        (state.step, state.optimizer.eps) = (500, eps);
        step(&mut state, &config, 1000, || Ok(parts.next().unwrap())).unwrap();
        assert!(parts.next().is_none(), "a part was left");
        let mut values = Vec::new();
        state
            .student
            .walk("", &mut |_, _, t| values.extend(t.to_host()));
        for (_, centre) in state.centres.iter() {
            values.extend_from_slice(&centre.mean);
        }
        values
    }

    /// Each value has its own schedule, from its first step to its last.
    #[test]
    fn every_schedule_is_a_function_of_the_step() {
        let settings = [
            "optim.lr=0.002",
            "optim.lr_end=0.0",
            "optim.warmup=0.2",
            "optim.weight_decay=[0.1, 0.5]",
            "optim.momentum=[0.9, 1.0]",
            "loss.teacher_temperature=[0.04, 0.08]",
            "loss.teacher_warmup=0.5",
        ];
        let config: PretrainConfig =
            resolve(PRESETS, "pico", None, &settings.map(String::from)).unwrap();
        let at = |step| {
            let rates = rates(step, &config, 11);
            [
                rates.lr,
                rates.weight_decay,
                rates.momentum,
                rates.teacher_temperature,
            ]
        };
        // Two steps of warm-up, then a cosine over nine; of 5.5 steps of the temperature's rise none are done, then five.
        for (step, expected) in [
            (0, [0.001, 0.1, 0.9, 0.04]),
            (5, [0.001_382_683, 0.3, 0.95, 0.076_363_64]),
            (10, [0.0, 0.5, 1.0, 0.08]),
        ] {
            for (found, expected) in at(step).into_iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-6,
                    "step {step}: {found}, expected {expected}"
                );
            }
        }
    }

    /// Of both networks, after a step in which positions are masked.
    #[test]
    fn a_token_for_masked_positions_is_learned_or_stays_zero() {
        for (token, is_zero) in [("learned", false), ("zero", true)] {
            let settings = [
                "optim.batch=4".into(),
                "optim.warmup=0.0".into(),
                "mask.probability=1.0".into(),
                "mask.position_share=1.0".into(),
                format!("mask.position_token={token}"),
            ];
            let config: PretrainConfig = resolve(PRESETS, "pico", None, &settings).unwrap();
            let batch = Batch::new(
                &drawn_views(&config),
                (Encoding::of(&config.model), 192),
                &config.mask,
                config.seed,
                0,
            );
            let mut state = State::<Tiny, Cpu>::new(&Cpu::default(), &config);
            let before = state.student.vit.pos_mask_token.to_host();
            step(&mut state, &config, 4, || Ok(&batch)).unwrap();
            let after = state.student.vit.pos_mask_token.to_host();
            assert_eq!(before == after, is_zero, "{token}");
            for of in [after, state.teacher.vit.pos_mask_token.to_host()] {
                assert_eq!(of.iter().all(|v| *v == 0.0), is_zero, "{token}");
            }
        }
    }

    /// For the first half of four steps nothing but the prototypes of both heads stays as it was.
    #[test]
    fn prototypes_are_held_for_their_share_of_the_run() {
        let settings = [
            "optim.batch=4",
            "optim.freeze_prototypes=0.5",
            "optim.warmup=0.0",
        ];
        let config: PretrainConfig =
            resolve(PRESETS, "pico", None, &settings.map(String::from)).unwrap();
        let views = drawn_views(&config);
        let encoding = (Encoding::of(&config.model), 192);
        let mut state = State::<Tiny, Cpu>::new(&Cpu::default(), &config);
        let weights = |state: &State<Tiny, Cpu>| {
            let mut all = Vec::new();
            let mut keep =
                |name: &str, _, t: &dyn AnyTensor<Cpu>| all.push((name.to_owned(), t.to_host()));
            state
                .student
                .walk("", &mut |name, kind, t| keep(name, kind, t));
            all
        };
        for at in 0..4 {
            let before = weights(&state);
            let batch = Batch::new(&views, encoding, &config.mask, config.seed, at);
            step(&mut state, &config, 4, || Ok(&batch)).unwrap();
            let same = before.into_iter().zip(weights(&state));
            let mut held: Vec<String> = same.filter(|(a, b)| a == b).map(|(a, _)| a.0).collect();
            held.retain(|name| name.ends_with("prototypes"));
            assert_eq!(
                held.len(),
                if at < 2 { 2 } else { 0 },
                "step {at}: {held:?}"
            );
        }
    }

    fn distance(a: &[f32], b: &[f32]) -> f64 {
        let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
        squares.sum::<f64>().sqrt()
    }

    /// Without masks and with a loss of each picture for itself, parts add up to the whole.
    const SEPARABLE: &[&str] = &[
        "optim.batch=4",
        "precision=\"f32\"",
        "mask.probability=0.0",
        "loss.koleo=0.0",
        "loss.centring=\"ema\"",
    ];

    #[test]
    fn parts_of_a_batch_add_up_to_the_batch() {
        let whole = after_a_step(SEPARABLE);
        let before = after_a_step(&[SEPARABLE, &["optim.lr=0.0", "optim.lr_end=0.0"]].concat());
        for parts in ["optim.accumulate=2", "optim.accumulate=4"] {
            let found = after_a_step(&[SEPARABLE, &[parts]].concat());
            let (error, size) = (distance(&found, &whole), distance(&before, &whole));
            assert!(
                size > 0.0 && error < 0.02 * size,
                "{parts}: {error} of {size}"
            );
        }
    }

    #[test]
    fn parts_of_a_batch_move_the_centres_as_the_batch_does() {
        let centres = |parts: &str| {
            let all = after_a_step(&[SEPARABLE, &[parts]].concat());
            // K = 1,024: of CLS, then of patches, of which none is masked.
            all[all.len() - 2048..].to_vec()
        };
        let whole = centres("optim.accumulate=1");
        let norm = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!(norm(&whole) > 0.0);
        for parts in ["optim.accumulate=2", "optim.accumulate=4"] {
            let found = centres(parts);
            let error: Vec<f32> = found.iter().zip(&whole).map(|(a, b)| a - b).collect();
            assert!(norm(&error) < 1e-3 * norm(&whole), "{parts}");
        }
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let config: PretrainConfig = resolve(PRESETS, "pico", None, &[]).unwrap();
        let mut state = State::<Tiny, Cpu>::new(&Cpu::default(), &config);
        let finite = |t: &dyn AnyTensor<Cpu>| t.to_host().iter().all(|v| v.is_finite());
        assert_eq!(bad(&state.student, finite), None);
        for name in ["vit.cls_token", "vit.norm.bias", "vit.norm.weight"] {
            state.student.walk_mut("", &mut |at, _, t| {
                if at == name {
                    t.load(&vec![f32::NAN; t.to_host().len()]);
                }
            });
        }
        let named = bad(&state.student, finite);
        assert_eq!(named.unwrap(), "`vit.cls_token` and 2 other parameters");
    }

    /// Needs a GPU.
    #[cfg(feature = "cuda")]
    #[test]
    fn a_step_on_a_gpu_is_the_step_on_the_cpu() {
        let gpu = crate::nn::cuda::device().unwrap();
        for (more, tolerance) in [
            (&[][..], 1e-3),
            (&["loss.centring=\"ema\""], 1e-3),
            (&["head.separate_position=true"], 1e-3),
            (&["optim.accumulate=2"], 1e-3),
            (&["model.registers=2"], 1e-3),
            // Of three digits.
            (&["precision=\"bf16\""], 0.1),
        ] {
            let exact = "precision=\"f32\"";
            let settings = [&["optim.batch=4", "optim.clip=0.0", exact], more].concat();
            // Whatever the GPU's precision.
            let on_cpu =
                |last: &[&str]| after_a_step_on(&Cpu::default(), &[&settings, last].concat(), 1.0);
            let found = after_a_step_on(&gpu, &settings, 1.0);
            let expected = on_cpu(&[exact]);
            let before = on_cpu(&[exact, "optim.lr=0.0", "optim.lr_end=0.0"]);
            let (error, size) = (distance(&found, &expected), distance(&before, &expected));
            assert!(
                size > 0.0 && error < tolerance * size,
                "{more:?}: {error} of {size}"
            );
            assert_eq!(
                found,
                after_a_step_on(&gpu, &settings, 1.0),
                "the same twice"
            );
        }
    }

    #[test]
    fn computing_activations_again_changes_no_bit() {
        let settings = ["optim.batch=4"];
        assert_eq!(
            after_a_step(&settings),
            after_a_step(&[&settings[..], &["optim.recompute=true"]].concat())
        );
    }
}
