//! AdamW with parameter groups, gradient clipping, and the state that a checkpoint keeps.

use dfdx::prelude::*;
use intertwine_kernels::optim as kernel;
use intertwine_kernels::optim::AdamW;

use super::view::slice_mut;
use super::{Backend, Kind, Module};

/// The two moving averages of one parameter's gradient, flat.
#[derive(Debug)]
pub struct Moments<D: Backend> {
    /// Of the gradient.
    pub first: Tensor<(usize,), f32, D>,
    /// Of its square.
    pub second: Tensor<(usize,), f32, D>,
}

/// How a parameter is treated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// Multiplies the learning rate; 0 leaves the parameter as it is.
    pub lr_scale: f32,
    /// Whether weight decay applies.
    pub decay: bool,
}

/// No decay on biases, norms and anything else of one dimension, nor on the position field and the registers.
pub fn decays(name: &str, sizes: &[usize]) -> bool {
    sizes.len() > 1 && !name.ends_with("pos_field.weight") && !name.ends_with("reg_token")
}

/// Layer-wise decay of the learning rate (Clark et al. 2020; ViTDet): the last block and what follows
/// take the full rate, each block below `decay` times the next, the embedding the least.
pub fn layer_scale(name: &str, depth: usize, decay: f32) -> f32 {
    let layer = if let Some(rest) = name.split_once("blocks.").map(|(_, rest)| rest) {
        rest.split('.')
            .next()
            .and_then(|i| i.parse::<usize>().ok())
            .map_or(depth, |i| i + 1)
    } else if name.starts_with("norm.") || name.contains(".norm.") {
        depth
    } else {
        0
    };
    decay.powi((depth - layer.min(depth)) as i32)
}

/// AdamW's state for a whole module, in the order of its walk.
#[derive(Debug)]
pub struct Optimizer<D: Backend> {
    moments: Vec<Moments<D>>,
    groups: Vec<Group>,
    /// Steps taken.
    pub steps: u64,
    /// Decay rates of the two averages.
    pub betas: (f32, f32),
    /// Added to the root of the second moment.
    pub eps: f32,
}

/// A copy of the network that follows as a moving average: the teacher.
#[derive(Debug)]
pub struct Follower<'a, M> {
    /// The copy.
    pub module: &'a mut M,
    /// `copy = momentum * copy + (1 - momentum) * network` after the step.
    pub momentum: f32,
}

/// What a step did.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// Norm of the whole gradient before clipping.
    pub grad_norm: f64,
}

impl<D: Backend> Optimizer<D> {
    /// Zero state; `group(name, sizes)` says how each parameter is treated.
    pub fn new(
        dev: &D,
        module: &impl Module<D>,
        mut group: impl FnMut(&str, &[usize]) -> Group,
    ) -> Self {
        let (mut moments, mut groups) = (Vec::new(), Vec::new());
        module.walk("", &mut |name, _, t| {
            let sizes = t.sizes();
            let len: usize = sizes.iter().product();
            moments.push(Moments {
                first: dev.zeros_like(&(len,)),
                second: dev.zeros_like(&(len,)),
            });
            groups.push(group(name, &sizes));
        });
        Self {
            moments,
            groups,
            steps: 0,
            betas: (0.9, 0.999),
            eps: 1e-8,
        }
    }

    /// One step with the gradients of a backward pass. The gradient's global norm is clipped to `clip`
    /// (0: not at all). `freeze(name)` keeps a parameter where it is in this step: its learning rate is 0, but its
    /// averages move, as in DINOv2, so that their bias is corrected rightly once it is set free.
    ///
    /// `follower`, if there is one, then follows, in the same pass over memory.
    ///
    /// A gradient that is not finite changes nothing and is reported by its norm.
    #[allow(clippy::too_many_arguments)]
    pub fn step<M: Module<D>>(
        &mut self,
        module: &mut M,
        follower: Option<Follower<M>>,
        grad: &mut Gradients<f32, D>,
        lr: f32,
        weight_decay: f32,
        clip: f32,
        freeze: impl Fn(&str) -> bool,
    ) -> StepReport {
        let mut squares = D::Squares::default();
        module.walk("", &mut |_, _, t| t.add_grad_squares(grad, &mut squares));
        let grad_norm = D::sum_of_squares(squares).sqrt();
        if !grad_norm.is_finite() {
            return StepReport { grad_norm };
        }
        let limit = f64::from(clip);
        let grad_scale = if clip > 0.0 && grad_norm > limit {
            (limit / grad_norm) as f32
        } else {
            1.0
        };
        self.steps += 1;
        let steps = self.steps;
        let (betas, eps) = (self.betas, self.eps);
        let mut state = self.moments.iter_mut().zip(&self.groups);
        let (mut followers, mut momentum) = (Vec::new(), 0.0);
        if let Some(follower) = follower {
            momentum = follower.momentum;
            let module = follower.module;
            module.walk_mut("", &mut |_, _, t| followers.push(t));
        }
        let mut followers = followers.into_iter();
        module.walk_mut("", &mut |name, _, t| {
            let Some((moments, group)) = state.next() else {
                return;
            };
            let follower = followers.next();
            if group.lr_scale == 0.0 {
                if let Some(follower) = follower {
                    follower.ema(t, momentum);
                }
                return;
            }
            let step = AdamW {
                lr: if freeze(name) {
                    0.0
                } else {
                    lr * group.lr_scale
                },
                beta1: betas.0,
                beta2: betas.1,
                eps,
                weight_decay: if group.decay { weight_decay } else { 0.0 },
                step: steps,
                grad_scale,
            };
            t.adamw(grad, moments, follower.map(|f| (f, momentum)), &step);
        });
        StepReport { grad_norm }
    }
}

/// The state under the names of the parameters, so that a checkpoint can hold it.
impl<D: Backend> Optimizer<D> {
    /// Visits both moments of each of `module`'s parameters: `m.<name>` and `v.<name>`.
    pub fn walk(
        &self,
        module: &impl Module<D>,
        mut visit: impl FnMut(&str, &Tensor<(usize,), f32, D>),
    ) {
        let mut state = self.moments.iter();
        module.walk("", &mut |name: &str, _: Kind, _| {
            if let Some(m) = state.next() {
                visit(&format!("m.{name}"), &m.first);
                visit(&format!("v.{name}"), &m.second);
            }
        });
    }
    /// As [`walk`](Self::walk), mutably.
    pub fn walk_mut(
        &mut self,
        module: &impl Module<D>,
        mut visit: impl FnMut(&str, &mut Tensor<(usize,), f32, D>),
    ) {
        let mut state = self.moments.iter_mut();
        module.walk("", &mut |name: &str, _: Kind, _| {
            if let Some(m) = state.next() {
                visit(&format!("m.{name}"), &mut m.first);
                visit(&format!("v.{name}"), &mut m.second);
            }
        });
    }
}

/// One AdamW step in stock operations (Loshchilov & Hutter 2019, bias correction as PyTorch).
pub fn adamw_composed<S: Shape, D: Backend>(
    p: &mut Tensor<S, f32, D>,
    grad: &mut Gradients<f32, D>,
    moments: &mut Moments<D>,
    teacher: Option<(&mut Tensor<S, f32, D>, f32)>,
    h: &AdamW,
) {
    if grad.get_or_alloc_mut(p).is_err() {
        return;
    }
    let flat = (p.shape().num_elements(),);
    let g = grad.get(p).reshape_like(&flat) * h.grad_scale;
    moments
        .first
        .axpy(f64::from(h.beta1), &g, f64::from(1.0 - h.beta1));
    moments
        .second
        .axpy(f64::from(h.beta2), &g.square(), f64::from(1.0 - h.beta2));
    let (step_size, inverse_root) = h.scales();
    let denominator = moments.second.clone().sqrt() * inverse_root + h.eps;
    let update = moments.first.clone() * step_size / denominator;
    let update = update.reshape_like(p.shape());
    p.axpy(
        1.0 - f64::from(h.lr) * f64::from(h.weight_decay),
        &update,
        -1.0,
    );
    if let Some((teacher, momentum)) = teacher {
        D::ema(teacher, p, momentum);
    }
}

/// One AdamW step and the moving average on the CPU kernels: one pass over memory.
pub fn adamw_fused<S: Shape>(
    p: &mut Tensor<S, f32, Cpu>,
    grad: &mut Gradients<f32, Cpu>,
    moments: &mut Moments<Cpu>,
    teacher: Option<(&mut Tensor<S, f32, Cpu>, f32)>,
    h: &AdamW,
) {
    // On the CPU an allocation cannot fail without aborting.
    let Ok(g) = super::view::take_grad(grad, p) else {
        return;
    };
    kernel::adamw(
        slice_mut(p),
        &g,
        slice_mut(&mut moments.first),
        slice_mut(&mut moments.second),
        teacher.map(|(teacher, momentum)| kernel::Average {
            values: slice_mut(teacher),
            momentum,
        }),
        h,
    );
}

/// Sum of squares of a parameter's gradient on the CPU kernels.
pub fn sum_of_squares_fused<S: Shape>(
    p: &Tensor<S, f32, Cpu>,
    grad: &mut Gradients<f32, Cpu>,
) -> f64 {
    grad.get_or_alloc_mut(p)
        .map_or(f64::NAN, |g| kernel::sum_of_squares(g))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::backend::tape_onto;
    use crate::nn::module::Init;
    use crate::nn::vit::LayerNorm;

    #[test]
    fn rates_fall_towards_the_input() {
        let scale = |name: &str| layer_scale(name, 3, 0.5);
        assert_eq!(scale("norm.weight"), 1.0);
        assert_eq!(scale("blocks.2.attn.qkv.weight"), 1.0);
        assert_eq!(scale("vit.blocks.0.mlp.fc1.bias"), 0.25);
        assert_eq!(scale("patch_embed.proj.weight"), 0.125);
        assert_eq!(scale("cls_token"), 0.125);
    }

    /// Adam's step does not depend on the gradient's length; its averages do.
    #[test]
    fn a_gradient_that_is_too_long_is_shortened_to_the_limit() {
        let dev = Cpu::default();
        let average = |clip: f32| {
            let mut norm = LayerNorm::<Const<8>, Cpu>::new(&mut Init::new(&dev, 0), Const);
            let mut optimizer = Optimizer::new(&dev, &norm, |_, _| Group {
                lr_scale: 1.0,
                decay: false,
            });
            // Of a row of 4 and -4, normalised to 1 and -1, the gradients of the sum are these for the scale, 1 for the offset.
            let row = (0..8).map(|i| if i % 2 == 0 { 4.0 } else { -4.0 });
            let x = dev.tensor_from_vec(row.collect(), (1, Const::<8>));
            let y = norm.forward(x.put_tape(tape_onto(&dev, Gradients::leaky())));
            let mut gradients = y.sum().backward();
            let report =
                optimizer.step(&mut norm, None, &mut gradients, 0.01, 0.0, clip, |_| false);
            assert!((report.grad_norm - 4.0).abs() < 1e-4, "{report:?}");
            let mut average = None;
            optimizer.walk(&norm, |name, t| {
                if name == "m.bias" {
                    average = Some(t.as_vec()[3]);
                }
            });
            average.unwrap()
        };
        // A tenth of the gradient goes into the average: of 1; of 1 in a gradient of length 4 made 3 long; of one let be.
        for (clip, expected) in [(0.0, 0.1), (3.0, 0.075), (5.0, 0.1)] {
            assert!((average(clip) - expected).abs() < 1e-5, "{clip}");
        }
    }

    /// With the same gradient at every step, each step of Adam is as long as the learning rate, if the bias of the averages
    /// is corrected: also the first one after parameters are set free.
    #[test]
    fn what_was_frozen_moves_on_like_the_rest() {
        let dev = Cpu::default();
        let mut norm = LayerNorm::<Const<8>, Cpu>::new(&mut Init::new(&dev, 0), Const);
        let mut optimizer = Optimizer::new(&dev, &norm, |_, _| Group {
            lr_scale: 1.0,
            decay: false,
        });
        // The gradient of the offset is 1, whatever the row.
        let x: Vec<f32> = (0..8).map(|i| (i as f32).sin()).collect();
        let mut step = |norm: &mut LayerNorm<Const<8>, Cpu>, frozen: bool| {
            let x = dev.tensor_from_vec(x.clone(), (1, Const::<8>));
            let y = norm.forward(x.put_tape(tape_onto(&dev, Gradients::leaky())));
            let mut gradients = y.sum().backward();
            let before = norm.bias.array();
            optimizer.step(norm, None, &mut gradients, 0.01, 0.5, 0.0, |name| {
                frozen && name == "bias"
            });
            before[3] - norm.bias.array()[3]
        };
        for _ in 0..1200 {
            assert_eq!(step(&mut norm, true), 0.0);
        }
        for _ in 0..3 {
            let moved = step(&mut norm, false);
            assert!((moved - 0.01).abs() < 1e-4, "{moved}");
        }
    }

    #[test]
    fn only_matrices_decay() {
        assert!(decays("blocks.0.attn.qkv.weight", &[576, 192]));
        assert!(!decays("blocks.0.attn.qkv.bias", &[576]));
        assert!(!decays("vit.pos_field.weight", &[2500, 192]));
        assert!(!decays("vit.reg_token", &[4, 192]));
    }
}
