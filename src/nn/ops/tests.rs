//! Every fused operation against its composed form: values, and gradients of everything it reads. The
//! composed forms themselves are checked against finite differences.

use super::assemble::{Plan, SpecialTokens};
use super::cross_entropy::SoftTarget;
use super::slice;
use super::{
    activation, assemble, attention, block, conv, cross_entropy, gather, host_loss, l2_normalize,
    layer_norm, linear, residual,
};
use crate::nn::arch::Tiny;
use crate::nn::backend::{Activation, Groups, Maps};
use crate::nn::module::Init;
use crate::nn::vit::{Vit, VitConfig};
use crate::nn::{Backend, Rows, Scalar};
use dfdx::prelude::*;
use intertwine_flow::random::{stream, ChaCha8Rng, Purpose};
use intertwine_kernels::attention::Group;
use rand_distr::Distribution;

type Taped<C> = Rows<C, Cpu, OwnedTape<f32, Cpu>>;

struct Bench {
    dev: Cpu,
    rng: ChaCha8Rng,
}

impl Bench {
    fn new(index: u64) -> Self {
        Self {
            dev: Cpu::default(),
            rng: stream(1, Purpose::Probe, 0, index),
        }
    }
    fn normal<S: Shape>(&mut self, shape: S) -> Tensor<S, f32, Cpu> {
        let values = (0..shape.num_elements())
            .map(|_| rand_distr::StandardNormal.sample(&mut self.rng))
            .collect();
        self.dev.tensor_from_vec(values, shape)
    }
    fn traced<S: Shape>(
        &self,
        x: &Tensor<S, f32, Cpu>,
    ) -> Tensor<S, f32, Cpu, OwnedTape<f32, Cpu>> {
        x.clone().put_tape(OwnedTape::default())
    }
    /// `sum(y * r)`: a loss that gives each output its own weight.
    fn weigh<C: Dim>(&self, y: Taped<C>, r: &Rows<C, Cpu>) -> Scalar<Cpu, OwnedTape<f32, Cpu>> {
        (y * r.clone()).sum::<Rank0, _>()
    }
}

fn close(what: &str, a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len(), "{what}: lengths");
    let scale = b.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    for (i, (x, y)) in a.iter().zip(b).enumerate() {
        assert!(
            (x - y).abs() <= tolerance * scale,
            "{what}[{i}]: {x} against {y} (scale {scale})"
        );
    }
}

fn gradient<S: Shape>(g: &mut Gradients<f32, Cpu>, t: &Tensor<S, f32, Cpu>) -> Vec<f32> {
    g.get_or_alloc_mut(t).unwrap().to_vec()
}

/// Runs both forms, then compares the outputs and the gradients of the listed tensors.
macro_rules! compare {
    ($what:expr, $bench:expr, $fused:expr, $composed:expr, [$($read:expr),*]) => {{
        let (a, b) = ($fused, $composed);
        close($what, slice(&a), slice(&b), 2e-5);
        let r = $bench.normal(*a.shape());
        let mut ga = $bench.weigh(a, &r).backward();
        let mut gb = $bench.weigh(b, &r).backward();
        $( close(
            concat!("gradient of ", stringify!($read)),
            &gradient(&mut ga, $read), &gradient(&mut gb, $read), 5e-5,
        ); )*
    }};
}

#[test]
fn linear_agrees() {
    for (i, (rows, inp, out)) in [(1, 1, 1), (3, 5, 7), (17, 65, 31), (197, 64, 192)]
        .into_iter()
        .enumerate()
    {
        let mut t = Bench::new(i as u64);
        let (x, w, b) = (
            t.normal((rows, inp)),
            t.normal((out, inp)),
            t.normal((out,)),
        );
        compare!(
            "y",
            t,
            fused_linear(&t, &x, &w, Some(&b)),
            linear::composed(t.traced(&x), &w, Some(&b)),
            [&x, &w, &b]
        );
        compare!(
            "y",
            t,
            fused_linear(&t, &x, &w, None),
            linear::composed(t.traced(&x), &w, None),
            [&x, &w]
        );
        compare!(
            "y of data",
            t,
            linear::of_data_fused(x.clone(), &w, Some(&b), OwnedTape::default()),
            linear::composed(t.traced(&x), &w, Some(&b)),
            [&w, &b]
        );
    }
}

fn fused_linear(
    t: &Bench,
    x: &Rows<usize, Cpu>,
    w: &crate::nn::Matrix<usize, usize, Cpu>,
    b: Option<&crate::nn::Vector<usize, Cpu>>,
) -> Taped<usize> {
    linear::fused(t.traced(x), w, b)
}

#[test]
fn layer_norm_agrees() {
    for (i, (rows, d)) in [(1, 5), (3, 64), (65, 31), (17, 192)]
        .into_iter()
        .enumerate()
    {
        let mut t = Bench::new(10 + i as u64);
        let (x, gain, bias) = (t.normal((rows, d)), t.normal((d,)), t.normal((d,)));
        compare!(
            "y",
            t,
            layer_norm::fused(t.traced(&x), &gain, &bias, 1e-6),
            layer_norm::composed(t.traced(&x), &gain, &bias, 1e-6),
            [&x, &gain, &bias]
        );
    }
}

#[test]
fn activations_agree() {
    for kind in [Activation::Gelu, Activation::Silu] {
        let mut t = Bench::new(20);
        let x = t.normal((33, 17));
        compare!(
            "y",
            t,
            activation::fused(t.traced(&x), kind),
            activation::composed(t.traced(&x), kind),
            [&x]
        );
    }
    // Phi(1) + phi(1)
    let t = Bench::new(21);
    let x = t.dev.tensor_from_vec(vec![1.0], (1, 1));
    let mut g = activation::composed(t.traced(&x), Activation::Gelu)
        .sum::<Rank0, _>()
        .backward();
    close("GELU'(1)", &gradient(&mut g, &x), &[1.083_315_5], 1e-5);
}

#[test]
fn attention_agrees() {
    for (i, groups) in [vec![(1, 1)], vec![(2, 5)], vec![(2, 7), (3, 3), (1, 1)]]
        .into_iter()
        .enumerate()
    {
        let mut t = Bench::new(30 + i as u64);
        let groups = Groups(
            groups
                .into_iter()
                .map(|(count, len)| Group { count, len })
                .collect(),
        );
        let (heads, d) = (3, 12);
        let qkv = t.normal((groups.rows(), 3 * d));
        compare!(
            "y",
            t,
            attention::fused(t.traced(&qkv), &groups, heads, d),
            attention::composed(t.traced(&qkv), &groups, heads, d),
            [&qkv]
        );
    }
}

#[test]
fn block_agrees() {
    for (i, layer_scale) in [0.0, 0.3].into_iter().enumerate() {
        let mut t = Bench::new(35 + i as u64);
        let config = VitConfig {
            layer_scale,
            ..VitConfig::plain("tiny8")
        };
        let vit = Vit::<Tiny, Cpu>::new(&mut Init::new(&t.dev, 3), &config);
        let b = &vit.blocks[0];
        let groups = Groups(
            [(2, 5), (1, 3)]
                .map(|(count, len)| Group { count, len })
                .into(),
        );
        let x = t.normal((groups.rows(), Default::default()));
        let skip = (0..groups.rows()).map(|row| if row < 5 { 0.0 } else { 2.0 });
        let scales = [Some(skip.collect()), None];
        compare!(
            "y",
            t,
            block::fused(t.traced(&x), b, &groups, scales.clone(), i == 1),
            block::composed(t.traced(&x), b, &groups, &scales),
            [
                &x,
                &b.norm1.weight,
                &b.norm1.bias,
                &b.attn.qkv.weight,
                &b.attn.qkv.bias,
                &b.attn.proj.weight,
                &b.attn.proj.bias,
                &b.norm2.weight,
                &b.norm2.bias,
                &b.mlp.fc1.weight,
                &b.mlp.fc1.bias,
                &b.mlp.fc2.weight,
                &b.mlp.fc2.bias
            ]
        );
        let rows = [4, 0, 12, 4];
        let some = |y: Rows<_, Cpu, OwnedTape<f32, Cpu>>| gather::rows_fused(y, &rows);
        compare!(
            "some rows",
            t,
            block::rows_composed(t.traced(&x), b, &groups, &scales, &rows),
            some(block::composed(t.traced(&x), b, &groups, &scales)),
            [&x, &b.attn.qkv.weight, &b.mlp.fc1.weight]
        );
        compare!(
            "some rows, fused",
            t,
            block::rows_fused(t.traced(&x), b, &groups, scales.clone(), &rows),
            block::rows_composed(t.traced(&x), b, &groups, &scales, &rows),
            [
                &x,
                &b.norm1.weight,
                &b.attn.qkv.weight,
                &b.attn.qkv.bias,
                &b.attn.proj.weight,
                &b.mlp.fc1.weight,
                &b.mlp.fc2.bias
            ]
        );
        if let (Some(ls1), Some(ls2)) = (&b.ls1, &b.ls2) {
            compare!(
                "y",
                t,
                block::fused(t.traced(&x), b, &groups, scales.clone(), i == 1),
                block::composed(t.traced(&x), b, &groups, &scales),
                [&ls1.gamma, &ls2.gamma]
            );
        }
    }
}

#[test]
fn residual_agrees() {
    let mut t = Bench::new(40);
    let (x, f, gain) = (t.normal((6, 5)), t.normal((6, 5)), t.normal((5,)));
    let scale = [0.0, 0.0, 1.25, 1.25, 1.25, 0.0];
    for (gain, scale) in [
        (None, None),
        (Some(&gain), None),
        (None, Some(&scale[..])),
        (Some(&gain), Some(&scale[..])),
    ] {
        compare!(
            "y",
            t,
            residual::fused(x.clone(), t.traced(&f), gain, scale),
            residual::composed(x.clone(), t.traced(&f), gain, scale),
            [&x, &f]
        );
        if let Some(gain) = gain {
            let mut a = residual::fused(x.clone(), t.traced(&f), Some(gain), scale)
                .square()
                .sum::<Rank0, _>()
                .backward();
            let mut b = residual::composed(x.clone(), t.traced(&f), Some(gain), scale)
                .square()
                .sum::<Rank0, _>()
                .backward();
            close(
                "gradient of gain",
                &gradient(&mut a, gain),
                &gradient(&mut b, gain),
                5e-5,
            );
        }
    }
}

#[test]
fn gathers_agree() {
    let mut t = Bench::new(50);
    let x = t.normal((9, 5));
    let index = [3u32, 0, 8, 3, 3];
    compare!(
        "rows",
        t,
        gather::rows_fused(t.traced(&x), &index),
        gather::rows_composed(t.traced(&x), &index),
        [&x]
    );
    let taps = [[0u32, 1, 3, 4], [4, 5, 7, 8], [4, 4, 4, 4]];
    let weights = [[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0], [0.25; 4]];
    compare!(
        "taps",
        t,
        gather::taps_fused(t.traced(&x), &taps, &weights),
        gather::taps_composed(t.traced(&x), &taps, &weights),
        [&x]
    );
}

#[test]
fn assembling_agrees() {
    let mut t = Bench::new(60);
    let groups = Groups(vec![Group { count: 2, len: 4 }, Group { count: 1, len: 2 }]);
    let (content, position) = (t.normal((7, 5)), t.normal((7, 5)));
    let [cls, mask, position_mask] = [t.normal((5,)), t.normal((5,)), t.normal((5,))];
    let mut plan = Plan::unmasked(groups);
    plan.content_masked[1] = true;
    plan.content_masked[6] = true;
    plan.position_masked[3] = true;
    let tokens = || SpecialTokens {
        cls: &cls,
        mask: &mask,
        position_mask: &position_mask,
    };
    compare!(
        "tokens",
        t,
        assemble::fused(t.traced(&content), position.clone(), tokens(), &plan),
        assemble::composed(t.traced(&content), position.clone(), tokens(), &plan),
        [&content, &position, &cls, &mask, &position_mask]
    );
}

#[test]
fn normalising_agrees() {
    let mut t = Bench::new(70);
    let x = t.normal((6, 9));
    compare!(
        "y",
        t,
        l2_normalize::fused(t.traced(&x), 1e-6),
        l2_normalize::composed(t.traced(&x), 1e-6),
        [&x]
    );
}

#[test]
fn cross_entropy_agrees() {
    let mut t = Bench::new(80);
    let (x, w) = (t.normal((5, 12)), t.normal((33, 12)));
    let probabilities = t.normal((2, 33)).softmax::<Axis<1>>();
    let target = SoftTarget {
        probabilities,
        row: vec![0, 1, 1, 0, 1],
        weight: vec![0.5, 0.0, 2.0, 1.0, 0.1],
    };
    let (a, each_a) = cross_entropy::fused(t.traced(&x), &w, &target, 0.7);
    let (b, each_b) = cross_entropy::composed(t.traced(&x), &w, &target, 0.7);
    let narrow = |each: Vec<f64>| -> Vec<f32> { each.iter().map(|l| *l as f32).collect() };
    close("losses", &narrow(each_a), &narrow(each_b), 1e-5);
    close("loss", &[a.array()], &[b.array()], 1e-5);
    let (mut ga, mut gb) = ((a * 0.7).backward(), (b * 0.7).backward());
    let (a, b) = (gradient(&mut ga, &x), gradient(&mut gb, &x));
    close("gradient of x", &a, &b, 5e-5);
    let (a, b) = (gradient(&mut ga, &w), gradient(&mut gb, &w));
    close("gradient of the prototypes", &a, &b, 5e-5);
}

#[test]
fn convolution_agrees() {
    for (i, (batch, height, width, inp, out)) in [(1, 1, 1, 1, 1), (2, 3, 5, 4, 3), (1, 6, 2, 3, 8)]
        .into_iter()
        .enumerate()
    {
        let mut t = Bench::new(90 + i as u64);
        let maps = Maps {
            batch,
            height,
            width,
        };
        let (x, w, b) = (
            t.normal((maps.rows(), inp)),
            t.normal((out, 9 * inp)),
            t.normal((out,)),
        );
        compare!(
            "y",
            t,
            conv::fused(t.traced(&x), &w, Some(&b), maps),
            conv::composed(t.traced(&x), &w, Some(&b), maps),
            [&x, &w, &b]
        );
    }
}

#[test]
fn a_host_loss_has_its_value_and_gradient() {
    let mut t = Bench::new(100);
    let x = t.normal((3, 2));
    let gradient_in: Vec<f32> = (0..6).map(|i| i as f32).collect();
    let loss = host_loss::host_loss(t.traced(&x), 42.5, gradient_in.clone());
    assert!((loss.array() - 42.5).abs() < 1e-4);
    let mut g = (loss * 2.0).backward();
    let doubled: Vec<f32> = gradient_in.iter().map(|v| 2.0 * v).collect();
    close("gradient", &gradient(&mut g, &x), &doubled, 1e-6);
}

/// The composed forms, each against central differences of its own value.
#[test]
fn composed_forms_match_finite_differences() {
    let mut t = Bench::new(110);
    let x = t.normal((4, 6));
    let r = t.normal((4, 6));
    let (gain, bias) = (t.normal((6,)), t.normal((6,)));
    let groups = Groups::uniform(2, 2);
    let qkv_weight = t.normal((18, 6));
    let conv_weight = t.normal((6, 54));
    let maps = Maps {
        batch: 1,
        height: 2,
        width: 2,
    };
    type Form<'a> = Box<dyn Fn(Taped<usize>) -> Taped<usize> + 'a>;
    let forms: Vec<(&str, Form)> = vec![
        (
            "layer norm",
            Box::new(|x| layer_norm::composed(x, &gain, &bias, 1e-6)),
        ),
        (
            "GELU",
            Box::new(|x| activation::composed(x, Activation::Gelu)),
        ),
        (
            "SiLU",
            Box::new(|x| activation::composed(x, Activation::Silu)),
        ),
        ("L2", Box::new(|x| l2_normalize::composed(x, 1e-6))),
        (
            "attention",
            Box::new(|x| {
                attention::composed(linear::composed(x, &qkv_weight, None), &groups, 2, 6)
            }),
        ),
        (
            "convolution",
            Box::new(|x| conv::composed(x, &conv_weight, None, maps)),
        ),
    ];
    for (name, form) in &forms {
        let mut g = t.weigh(form(t.traced(&x)), &r).backward();
        let analytic = gradient(&mut g, &x);
        let h = 1e-2;
        for i in 0..24 {
            let at = |d: f32| -> f64 {
                let mut values = Cpu::to_host(&x);
                values[i] += d;
                let moved = t.dev.tensor_from_vec(values, (4, 6));
                f64::from(t.weigh(form(t.traced(&moved)), &r).array())
            };
            let numeric = (at(h) - at(-h)) / f64::from(2.0 * h);
            let found = f64::from(analytic[i]);
            assert!(
                (numeric - found).abs() < 2e-2 * (1.0 + numeric.abs()),
                "{name}[{i}]: {found} against {numeric}"
            );
        }
    }
}
