//! Every operation on the GPU against the same on the CPU: values, and gradients of everything it reads. They need a GPU.

use dfdx::prelude::*;
use intertwine_flow::random::{stream, Purpose};
use intertwine_kernels::attention::Group;
use rand_distr::Distribution;

use crate::nn::arch::Tiny;
use crate::nn::backend::{tape_onto, Activation, Groups, Maps};
use crate::nn::module::{AnyTensor, Init};
use crate::nn::ops::assemble::{Plan, SpecialTokens};
use crate::nn::ops::cross_entropy::SoftTarget;
use crate::nn::optim::{Follower, Group as Treatment, Optimizer};
use crate::nn::vit::{Linear, Vit, VitConfig};
use crate::nn::{Backend, Module, Rows};

/// What a case found, each under a name.
#[derive(Default)]
struct Found(Vec<(String, Vec<f32>)>);

impl Found {
    fn note<S: Shape, D: Backend>(&mut self, name: &str, t: &Tensor<S, f32, D>) {
        self.0.push((name.into(), D::to_host(t)));
    }

    /// The output, and the gradients of the sum of its values, each times a weight of its own.
    fn note_with_gradients<C: Dim, D: Backend>(
        &mut self,
        name: &str,
        y: Rows<C, D, OwnedTape<f32, D>>,
        read: &[(&str, &dyn AnyTensor<D>)],
    ) {
        let (y, tape) = y.split_tape();
        self.note(name, &y);
        let weights = normal(y.device(), 99, *y.shape());
        let mut g = (y.put_tape(tape) * weights).sum::<Rank0, _>().backward();
        for (of, t) in read {
            let gradient = t.grad_to_host(&mut g);
            self.0.push((format!("{name}: gradient of {of}"), gradient));
        }
    }
}

trait Case {
    fn run<D: Backend>(&self, dev: &D) -> Found;
}

/// Runs a case on both.
fn agree(case: impl Case) {
    let gpu = crate::nn::cuda::device().unwrap();
    let (on_gpu, on_cpu) = (case.run(&gpu).0, case.run(&Cpu::default()).0);
    assert_eq!(on_gpu.len(), on_cpu.len());
    for ((name, a), (_, b)) in on_gpu.iter().zip(&on_cpu) {
        assert_eq!(a.len(), b.len(), "{name}");
        let scale = b.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        for (i, (x, y)) in a.iter().zip(b).enumerate() {
            let near = (x - y).abs() <= 5e-5 * scale;
            assert!(near, "{name}[{i}]: {x}, on the CPU {y} (scale {scale})");
        }
    }
}

macro_rules! case {
    ($name:ident, |$dev:ident, $found:ident| $body:block) => {
        #[test]
        fn $name() {
            struct This;
            impl Case for This {
                fn run<D: Backend>(&self, $dev: &D) -> Found {
                    let mut $found = Found::default();
                    $body
                    $found
                }
            }
            agree(This);
        }
    };
}

fn normal<S: Shape, D: Backend>(dev: &D, seed: u64, shape: S) -> Tensor<S, f32, D> {
    let mut rng = stream(seed, Purpose::Probe, 0, 7);
    let values = (0..shape.num_elements()).map(|_| rand_distr::StandardNormal.sample(&mut rng));
    dev.tensor_from_vec(values.collect(), shape)
}

fn traced<S: Shape, D: Backend>(t: &Tensor<S, f32, D>) -> Tensor<S, f32, D, OwnedTape<f32, D>> {
    t.clone().put_tape(OwnedTape::default())
}

const ROWS: [usize; 4] = [1, 3, 65, 1000];

case!(linear, |dev, found| {
    for (rows, inp, out) in [(1, 1, 1), (3, 5, 7), (65, 33, 130), (3000, 64, 192)] {
        let (x, w, b) = (
            normal(dev, 1, (rows, inp)),
            normal(dev, 2, (out, inp)),
            normal(dev, 3, (out,)),
        );
        let y = D::linear(traced(&x), &w, Some(&b));
        found.note_with_gradients("y", y, &[("x", &x), ("w", &w), ("b", &b)]);
        let y = D::linear(traced(&x), &w, None);
        found.note_with_gradients("y", y, &[("x", &x), ("w", &w)]);
        let y = D::linear_of_data(x, &w, Some(&b), OwnedTape::default());
        found.note_with_gradients("y of data", y, &[("w", &w), ("b", &b)]);
    }
});

case!(layer_norm, |dev, found| {
    for (rows, d) in ROWS.into_iter().zip([5, 64, 31, 192]) {
        let x = normal(dev, 1, (rows, d));
        let (gain, bias) = (normal(dev, 2, (d,)), normal(dev, 3, (d,)));
        let y = D::layer_norm(traced(&x), &gain, &bias, 1e-6);
        found.note_with_gradients("y", y, &[("x", &x), ("gain", &gain), ("bias", &bias)]);
    }
});

case!(activations, |dev, found| {
    for rows in ROWS {
        for (name, kind) in [("GELU", Activation::Gelu), ("SiLU", Activation::Silu)] {
            let x = normal(dev, 1, (rows, 17)) * 3.0;
            found.note_with_gradients(name, D::activation(traced(&x), kind), &[("x", &x)]);
        }
    }
});

case!(attention, |dev, found| {
    for groups in [vec![(1, 1)], vec![(2, 5)], vec![(2, 70), (3, 3), (1, 1)]] {
        let group = |(count, len)| Group { count, len };
        let groups = Groups(groups.into_iter().map(group).collect());
        let qkv = normal(dev, 1, (groups.rows(), 36));
        let y = D::attention(traced(&qkv), &groups, 3, 12);
        found.note_with_gradients("y", y, &[("qkv", &qkv)]);
    }
});

case!(blocks, |dev, found| {
    for layer_scale in [0.0, 0.3] {
        let config = VitConfig {
            layer_scale,
            ..VitConfig::plain("tiny8")
        };
        let vit = Vit::<Tiny, D>::new(&mut Init::new(dev, 3), &config);
        let b = &vit.blocks[0];
        let groups = Groups(
            [(2, 5), (1, 3)]
                .map(|(count, len)| Group { count, len })
                .into(),
        );
        let x = normal(dev, 1, (groups.rows(), Default::default()));
        let skip = (0..groups.rows()).map(|row| if row < 5 { 0.0 } else { 2.0 });
        let scales = [Some(skip.collect()), None];
        let mut read: Vec<(&str, &dyn AnyTensor<D>)> = vec![
            ("x", &x),
            ("norm1", &b.norm1.weight),
            ("qkv", &b.attn.qkv.weight),
            ("proj", &b.attn.proj.bias),
            ("fc1", &b.mlp.fc1.weight),
            ("fc2", &b.mlp.fc2.weight),
        ];
        if let (Some(one), Some(two)) = (&b.ls1, &b.ls2) {
            read.extend([
                ("ls1", &one.gamma as &dyn AnyTensor<D>),
                ("ls2", &two.gamma),
            ]);
        }
        let y = D::block(traced(&x), b, &groups, scales.clone(), false);
        found.note_with_gradients("y", y, &read);
        let y = D::block_rows(traced(&x), b, &groups, scales, &[4, 0, 12, 4]);
        found.note_with_gradients("some rows", y, &read);
    }
});

case!(residual, |dev, found| {
    let (x, f, gain) = (
        normal(dev, 1, (6, 5)),
        normal(dev, 2, (6, 5)),
        normal(dev, 3, (5,)),
    );
    let scale = [0.0, 0.0, 1.25, 1.25, 1.25, 0.0];
    for (with_gain, scale) in [
        (false, None),
        (true, None),
        (false, Some(&scale[..])),
        (true, Some(&scale)),
    ] {
        let y = D::residual(x.clone(), traced(&f), with_gain.then_some(&gain), scale);
        found.note_with_gradients("y", y, &[("x", &x), ("branch", &f), ("gain", &gain)]);
    }
});

case!(gathers, |dev, found| {
    let x = normal(dev, 1, (9, 5));
    let y = D::gather_rows(traced(&x), &[3, 0, 8, 3, 3]);
    found.note_with_gradients("rows", y, &[("x", &x)]);
    let taps = [[0, 1, 3, 4], [4, 5, 7, 8], [4, 4, 4, 4]];
    let weights = [[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0], [0.25; 4]];
    let y = D::gather_taps(traced(&x), &taps, &weights);
    found.note_with_gradients("taps", y, &[("table", &x)]);
    for (d, readers) in [(1, 70_001), (5, 300), (192, 1000)] {
        let x = normal(dev, 2, (3, d));
        let index: Vec<u32> = (0..readers)
            .map(|i| if i % 100 == 0 { 2 } else { 0 })
            .collect();
        let y = D::gather_rows(traced(&x), &index);
        found.note_with_gradients("a row of many readers", y, &[("x", &x)]);
    }
});

case!(assembling, |dev, found| {
    let groups = Groups(vec![Group { count: 2, len: 4 }, Group { count: 1, len: 2 }]);
    let (content, position) = (normal(dev, 1, (7, 5)), normal(dev, 2, (7, 5)));
    let [cls, mask, position_mask] = [3, 4, 5].map(|seed| normal(dev, seed, (5,)));
    let mut plan = Plan::unmasked(groups);
    (plan.content_masked[1], plan.content_masked[6]) = (true, true);
    plan.position_masked[3] = true;
    let tokens = SpecialTokens {
        cls: &cls,
        mask: &mask,
        position_mask: &position_mask,
    };
    let y = D::assemble(traced(&content), position.clone(), tokens, &plan);
    let read: [(&str, &dyn AnyTensor<D>); 5] = [
        ("content", &content),
        ("position", &position),
        ("cls", &cls),
        ("mask", &mask),
        ("position mask", &position_mask),
    ];
    found.note_with_gradients("tokens", y, &read);
});

case!(normalising, |dev, found| {
    for rows in ROWS {
        let x = normal(dev, 1, (rows, 9));
        found.note_with_gradients("y", D::l2_normalize(traced(&x), 1e-6), &[("x", &x)]);
    }
    let x = normal(dev, 1, (3, 9)) * 1e-8;
    found.note("of almost nothing", &D::l2_normalize(x, 1e-6));
});

case!(cross_entropy, |dev, found| {
    for k in [3, 33, 1024] {
        let (x, w) = (normal(dev, 1, (5, 12)), normal(dev, 2, (k, 12)));
        let target = SoftTarget {
            probabilities: normal(dev, 3, (2, k)).softmax::<Axis<1>>(),
            row: vec![0, 1, 1, 0, 1],
            weight: vec![0.5, 0.0, 2.0, 1.0, 0.1],
        };
        let (loss, each) = D::prototype_cross_entropy(traced(&x), &w, &target, 0.7);
        found
            .0
            .push(("losses".into(), each.iter().map(|l| *l as f32).collect()));
        let (loss, tape) = loss.split_tape();
        found.note("loss", &loss);
        let mut g = (loss.put_tape(tape) * 0.7).backward();
        found
            .0
            .push(("gradient of x".into(), x.grad_to_host(&mut g)));
        found
            .0
            .push(("gradient of w".into(), w.grad_to_host(&mut g)));
    }
});

case!(convolution, |dev, found| {
    for (batch, height, width, inp, out) in [(1, 1, 1, 1, 1), (2, 3, 5, 4, 3), (3, 16, 12, 32, 48)]
    {
        let maps = Maps {
            batch,
            height,
            width,
        };
        let x = normal(dev, 1, (maps.rows(), inp));
        let (w, b) = (normal(dev, 2, (out, 9 * inp)) * 0.1, normal(dev, 3, (out,)));
        let y = D::conv3x3(traced(&x), &w, Some(&b), maps);
        found.note_with_gradients("y", y, &[("x", &x), ("w", &w), ("b", &b)]);
    }
});

case!(a_step_of_the_optimiser_and_a_teacher, |dev, found| {
    let mut student = Linear::<usize, usize, D>::new(&mut Init::new(dev, 1), 70, 90);
    let mut teacher = student.clone();
    let mut optimizer = Optimizer::new(dev, &student, |name, _| Treatment {
        lr_scale: 1.0,
        decay: name == "weight",
    });
    for step in 0..3 {
        let x = normal(dev, step, (20, 70));
        let y = student.forward(x.put_tape(tape_onto(dev, Gradients::leaky())));
        let mut g = y.square().mean::<Rank0, _>().backward();
        let follower = Follower {
            module: &mut teacher,
            momentum: 0.9,
        };
        let report = optimizer.step(&mut student, Some(follower), &mut g, 1e-2, 0.1, 0.5, |_| {
            false
        });
        found.0.push(("norm".into(), vec![report.grad_norm as f32]));
        student.walk("student", &mut |name, _, t| {
            found.0.push((name.into(), t.to_host()))
        });
        teacher.walk("teacher", &mut |name, _, t| {
            found.0.push((name.into(), t.to_host()))
        });
    }
});

/// What a run gives must not depend on luck: twice the same, to the last bit.
#[test]
fn nothing_depends_on_the_order_of_threads() {
    let dev = crate::nn::cuda::device().unwrap();
    let run = || {
        let table = normal(&dev, 1, (9, 64));
        let index: Vec<u32> = (0..5000).map(|i| i * i % 9).collect();
        let rows = Cuda::gather_rows(traced(&table), &index);
        let (gain, bias) = (normal(&dev, 2, (64,)), normal(&dev, 3, (64,)));
        let y = Cuda::layer_norm(rows, &gain, &bias, 1e-6);
        let mut found = Found::default();
        found.note_with_gradients(
            "y",
            y,
            &[("table", &table), ("gain", &gain), ("bias", &bias)],
        );
        found.0
    };
    assert_eq!(run(), run());
}
