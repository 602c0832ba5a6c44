//! The loss and its gradients against an independent implementation.
//!
//! `tests/peers/loss_parity.py` computes both in PyTorch, from the same weights and the same batch, and its figures are
//! checked in. To make them anew:
//!
//! ```sh
//! INTERTWINE_WRITE_CASES=/tmp/cases cargo test --lib pretrain::parity
//! python tests/peers/loss_parity.py /tmp/cases --write tests/fixtures/loss_parity.json
//! ```

use std::collections::BTreeMap;
use std::f32::consts::FRAC_PI_2;

use dfdx::prelude::*;
use serde::Deserialize;

use super::batch::Batch;
use super::centres::Centres;
use super::config::{PretrainConfig, PRESETS};
use super::network::Network;
use super::objective::{objective, Losses};
use super::testing::drawn_views;
use crate::config::resolve;
use crate::nn::arch::{Arch, Tiny};
use crate::nn::autocast;
use crate::nn::backend::tape_onto;
use crate::nn::optim::{Follower, Group, Optimizer};
use crate::nn::positions::Encoding;
use crate::nn::vit::{DropPath, Positions};
use crate::nn::weights::{HostTensor, StateDict};
use crate::nn::Backend;

const TEACHER_TEMPERATURE: f32 = 0.05;

/// Small networks, every part of the loss, weights that tell the parts from each other.
const SMALL: &[&str] = &[
    "model.depth=2",
    "model.field=7",
    "head.hidden=32",
    "head.bottleneck=16",
    "head.prototypes=24",
    "crops.globals.size=32",
    "crops.locals.size=16",
    "crops.locals.count=3",
    "mask.probability=1.0",
    "loss.image=0.9",
    "loss.content=1.3",
    "loss.position=0.7",
    "loss.koleo=0.2",
];

/// What the cases differ in.
const CASES: &[(&str, &[&str])] = &[
    ("ema", &["loss.centring=\"ema\""]),
    (
        "sinkhorn",
        &[
            "loss.centring=\"sinkhorn-knopp\"",
            "model.layer_scale=0.3",
            "head.separate_position=true",
        ],
    ),
    ("fixed", &["model.field=0", "mask.both=true"]),
];

/// A batch, two different networks, and what our loss makes of them.
struct Case {
    config: PretrainConfig,
    student: Network<Tiny, Cpu>,
    teacher: Network<Tiny, Cpu>,
    centres: [Centres; 2],
    batch: Batch,
    losses: Losses,
    /// By parameter.
    gradients: BTreeMap<String, Vec<f32>>,
}

fn compute(settings: &[&str]) -> Case {
    let settings: Vec<String> = [SMALL, settings]
        .concat()
        .into_iter()
        .map(Into::into)
        .collect();
    let config: PretrainConfig = resolve(PRESETS, "pico", None, &settings).unwrap();
    let views = drawn_views(&config);
    let encoding = (Encoding::of(&config.model), Tiny::WIDTH);
    let batch = Batch::new(&views, encoding, &config.mask, config.seed, 0);

    let dev = Cpu::default();
    let another = PretrainConfig {
        seed: config.seed + 1,
        ..config.clone()
    };
    let mut student = Network::<Tiny, Cpu>::new(&dev, &config);
    let teacher = Network::<Tiny, Cpu>::new(&dev, &another);
    let mut before = Centres::new(config.head.prototypes, config.head.separate_position);
    for (name, centre) in before.iter_mut() {
        let phase = if name == "image" { 0.0 } else { FRAC_PI_2 };
        for (k, mean) in centre.mean.iter_mut().enumerate() {
            *mean = 0.05 * (k as f32 + phase).sin();
        }
    }
    let mut centres = before.clone();
    let _precision = autocast::scope(autocast::Precision::F32);
    let drop_path = DropPath { seed: 0, step: 0 };
    let (total, losses) = objective(
        &student,
        &teacher,
        &batch,
        &config.loss,
        TEACHER_TEMPERATURE,
        &mut centres,
        drop_path,
        tape_onto(&dev, Gradients::leaky()),
    );
    let mut gradients = total.backward();
    centres.follow(config.loss.centre_momentum);
    // Without memory of the past, AdamW's first moment is the gradient.
    let mut optimizer = Optimizer::new(&dev, &student, |_, _| Group {
        lr_scale: 1.0,
        decay: false,
    });
    optimizer.betas = (0.0, 0.0);
    let follower: Option<Follower<Network<Tiny, Cpu>>> = None;
    optimizer.step(
        &mut student,
        follower,
        &mut gradients,
        0.0,
        0.0,
        0.0,
        |_| false,
    );
    let mut found = BTreeMap::new();
    optimizer.walk(&student, |name, moment| {
        if let Some(name) = name.strip_prefix("m.") {
            found.insert(name.to_owned(), Cpu::to_host(moment).to_vec());
        }
    });
    Case {
        config,
        student,
        teacher,
        centres: [before, centres],
        batch,
        losses,
        gradients: found,
    }
}

impl Case {
    /// Everything the other implementation needs, and what ours found.
    fn write(&self, path: &std::path::Path) {
        let mut dict = StateDict::default();
        dict.insert_module("student", &self.student);
        dict.insert_module("teacher", &self.teacher);
        for (name, values) in &self.gradients {
            dict.insert_vector(&format!("gradient.{name}"), values);
        }
        for (name, centres) in ["before", "after"].iter().zip(&self.centres) {
            for (head, centre) in centres.iter() {
                dict.insert_vector(&format!("centres.{head}.{name}"), &centre.mean);
            }
        }
        let input = self.batch.student_input();
        let mut matrix = |name: &str, width: usize, values: Vec<f32>| {
            let shape = vec![values.len() / width, width];
            dict.tensors
                .insert(format!("batch.{name}"), HostTensor { shape, values });
        };
        match &input.positions {
            Positions::Field(taps) => {
                let index = taps.index.as_flattened().iter().map(|&i| i as f32);
                matrix("taps.index", 4, index.collect());
                matrix("taps.weight", 4, taps.weight.as_flattened().to_vec());
            }
            Positions::Fixed(values) => matrix("positions", Tiny::WIDTH, values.to_vec()),
        }
        let flags = |flags: &[bool]| {
            flags
                .iter()
                .map(|&flag| f32::from(u8::from(flag)))
                .collect()
        };
        matrix("content_masked", 1, flags(&input.plan.content_masked));
        matrix("position_masked", 1, flags(&input.plan.position_masked));
        let (pictures, views) = (self.batch.size, [self.batch.globals, self.batch.locals]);
        let lengths: Vec<usize> = input.plan.groups.0.iter().map(|group| group.len).collect();
        matrix(
            "patches",
            3 * self.config.model.patch().pow(2),
            input.patches.into_owned(),
        );
        let notes = serde_json::json!({
            "config": self.config,
            "heads": Tiny::HEADS,
            "teacher_temperature": TEACHER_TEMPERATURE,
            "pictures": pictures,
            "views": views,
            "lengths": lengths,
            "losses": self.losses,
        });
        dict.metadata.insert("case".into(), notes.to_string());
        dict.write(path).unwrap();
    }
}

/// What the other implementation found.
#[derive(Deserialize)]
struct Expected {
    losses: BTreeMap<String, f64>,
    centres: BTreeMap<String, f64>,
    /// Of each gradient its norm and its product with `cos 0, cos 1, cos 2, ..`.
    gradients: BTreeMap<String, [f64; 2]>,
}

fn product_with_cosines(values: &[f32]) -> f64 {
    let terms = values.iter().enumerate();
    terms.map(|(i, &v)| f64::from(v) * (i as f64).cos()).sum()
}

#[test]
fn loss_and_gradients_are_pytorchs() {
    let text = include_str!("../../tests/fixtures/loss_parity.json");
    let expected: BTreeMap<String, Expected> = serde_json::from_str(text).unwrap();
    for (name, settings) in CASES {
        let case = compute(settings);
        if let Some(folder) = std::env::var_os("INTERTWINE_WRITE_CASES") {
            std::fs::create_dir_all(&folder).unwrap();
            case.write(&std::path::Path::new(&folder).join(format!("{name}.safetensors")));
            continue;
        }
        let expected = &expected[*name];
        let losses = serde_json::to_value(case.losses).unwrap();
        for (part, expected) in &expected.losses {
            let found = losses[part].as_f64().unwrap();
            assert!(
                (found - expected).abs() <= 1e-4 * expected.abs(),
                "{name}: {part} is {found}, PyTorch says {expected}"
            );
        }
        for (which, centre) in case.centres[1].iter() {
            let (found, expected) = (product_with_cosines(&centre.mean), expected.centres[which]);
            assert!(
                (found - expected).abs() <= 1e-4 * expected.abs(),
                "{name}: centre {which}: {found}, PyTorch says {expected}"
            );
        }
        assert!(case.gradients.keys().eq(expected.gradients.keys()));
        for (parameter, &[norm, product]) in &expected.gradients {
            let gradient = &case.gradients[parameter];
            let squares = gradient.iter().map(|&v| f64::from(v).powi(2));
            let found = [squares.sum::<f64>().sqrt(), product_with_cosines(gradient)];
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-3 * norm + 1e-9;
            assert!(
                close(found[0], norm) && close(found[1], product),
                "{name}: gradient of {parameter}: {found:?}, PyTorch says {norm}, {product}"
            );
        }
    }
}

/// Heads are judged by what they learn from: not by outputs without a weight, nor by views without another to agree with.
#[test]
fn heads_are_watched_by_what_they_learn_from() {
    let (no_content, no_position) = ("loss.content=0.0", "loss.position=0.0");
    let separate = "head.separate_position=true";
    let one_view = ["crops.globals.count=1", "crops.locals.count=0"];
    // Whether views are looked at; which of the patches the head of patches is judged by, and which that of positions.
    type Looked = fn(usize, usize) -> [usize; 2];
    let cases: [(&[&str], bool, Looked); 9] = [
        (&[], true, |c, p| [c + p, 0]),
        (&["loss.image=0.0"], false, |c, p| [c + p, 0]),
        (&[no_content], true, |_, p| [p, 0]),
        (&[no_position], true, |c, _| [c, 0]),
        (&[no_content, no_position], true, |_, _| [0, 0]),
        (&[separate], true, |c, p| [c, p]),
        (&[separate, no_content], true, |_, p| [0, p]),
        (&[separate, no_position], true, |c, _| [c, 0]),
        (&one_view, false, |c, p| [c + p, 0]),
    ];
    for (settings, views, looked) in cases {
        let case = compute(settings);
        let content = case.batch.content_masked;
        let [patch, position] = looked(content, case.batch.masked.len() - content);
        let image = if views {
            case.batch.size * case.batch.globals
        } else {
            0
        };
        let seen = case.losses.entropy;
        let rows = [seen.image, seen.patch, seen.position].map(|e| e.map_or(0, |e| e.rows));
        assert_eq!(rows, [image, patch, position], "{settings:?}");
    }
}
