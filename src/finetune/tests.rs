//! The whole detector against its own numbers.

use dfdx::prelude::*;
use intertwine_flow::random::{stream, Purpose};
use rand::RngExt;

use super::model::Detector;
use crate::export::DetectorSpec;
use crate::nn::arch::{Arch, Tiny};
use crate::nn::module::Init;
use crate::nn::ops::host_loss::host_loss;
use crate::nn::optim::{Group, Optimizer};
use crate::nn::positions::WholePicture;
use crate::nn::vit::{Vit, VitConfig};
use crate::nn::{Backend, Module, Rows};

const BATCH: usize = 2;

fn detector() -> (DetectorSpec, Detector<Tiny, Cpu>, WholePicture) {
    let spec = DetectorSpec {
        image_size: 32,
        patch: 8,
        width: Tiny::WIDTH,
        depth: 2,
        heads: Tiny::HEADS,
        classes: 3,
        channels: 8,
        prototypes: 4,
        tower_convs: 2,
        fine: true,
        layer_scale: true,
        registers: 2,
    };
    let config = VitConfig {
        depth: 2,
        layer_scale: 0.1,
        registers: 2,
        field: 6,
        ..VitConfig::plain("tiny8")
    };
    let dev = Cpu::default();
    let mut init = Init::new(&dev, 5);
    let vit = Vit::new(&mut init, &config);
    let positions = WholePicture::new(&vit, spec.grid(), 0.5);
    let detector = Detector::new(&mut init, vit, &spec);
    (spec, detector, positions)
}

/// A step of each parameter alone along its gradient changes a smooth loss by what the gradient promises:
/// every branch of the network, every use of a shared weight and every fused operation is in it.
#[test]
fn every_parameter_moves_the_loss_as_its_gradient_says() {
    let (spec, model, positions) = detector();
    let mut rng = stream(7, Purpose::Probe, 0, 0);
    let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let patches = draw(BATCH * spec.image_size * spec.image_size * 3);
    let positions = positions.repeat(BATCH);
    let weights = draw(BATCH * spec.image_size * spec.image_size * 16);
    let outputs = |model: &Detector<Tiny, Cpu>, tape: bool| {
        let (patches, view) = (patches.clone(), positions.view());
        let (o, tape) = if tape {
            model.forward(
                patches,
                view,
                BATCH,
                spec.grid(),
                None,
                OwnedTape::default(),
            )
        } else {
            let (o, _) = model.forward(patches, view, BATCH, spec.grid(), None, NoneTape);
            (o, OwnedTape::default())
        };
        let all = [o.logits, o.distances, o.coefficients]
            .into_iter()
            .flatten();
        let all: Vec<Rows<usize, Cpu>> = all.chain(o.prototypes).collect();
        (all, tape)
    };
    let loss = |model: &Detector<Tiny, Cpu>| -> f64 {
        let (all, _) = outputs(model, false);
        let values = all.iter().flat_map(Cpu::to_host);
        let pairs = values.zip(&weights);
        pairs.map(|(v, w)| f64::from(v) * f64::from(*w)).sum()
    };

    let mut names = Vec::new();
    model.walk("", &mut |name, _, t| {
        names.push((name.to_owned(), t.sizes()))
    });
    let gradients = || {
        let (all, mut tape) = outputs(&model, true);
        let (mut first, mut total) = (0, None::<Tensor<(), f32, Cpu>>);
        for x in all {
            let n = x.shape().num_elements();
            let part = host_loss(x.put_tape(tape), 0.0, weights[first..first + n].to_vec());
            let (sum, t) = match total {
                None => part,
                Some(before) => part + before,
            }
            .split_tape();
            (total, tape, first) = (Some(sum), t, first + n);
        }
        total.unwrap().put_tape(tape).backward()
    };
    let mut tested = 0;
    for (name, _) in &names {
        let mut g = gradients();
        let mut squares = 0.0;
        model.walk("", &mut |n, _, t| {
            if n == name {
                squares = t.grad_sum_of_squares(&mut g);
            }
        });
        if ["mask_token", "pos_mask_token"].contains(&name.as_str()) {
            assert_eq!(squares, 0.0, "{name} is not used without masks");
            continue;
        }
        assert!(squares > 0.0, "{name} has no gradient");
        // With no averages and a huge epsilon, AdamW is plain gradient descent of rate lr / eps.
        let eps = 1e6;
        let length = (5e-3 / squares.sqrt()) as f32;
        let moved = |rate: f32| {
            let (mut model, mut g) = (model.clone(), gradients());
            let mut descent = Optimizer::new(&Cpu::default(), &model, |n, _| Group {
                lr_scale: f32::from(n == name),
                decay: false,
            });
            (descent.betas, descent.eps) = ((0.0, 0.0), eps);
            descent.step(&mut model, None, &mut g, rate * eps, 0.0, 0.0, |_| false);
            loss(&model)
        };
        let found = moved(-length) - moved(length);
        let promised = 2.0 * f64::from(length) * squares;
        assert!(
            (found / promised - 1.0).abs() < 0.05,
            "{name}: the loss moves by {found}, its gradient says {promised}"
        );
        tested += 1;
    }
    assert!(tested > 80, "only {tested} parameters");
}
