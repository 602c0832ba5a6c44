//! A detector in training: its parts, and one step.

use dfdx::prelude::*;
use intertwine_flow::FlowError;

use super::assign::{anchors, Anchor};
use super::config::FinetuneConfig;
use super::data::Batch;
use super::error::FinetuneError;
use super::model::Detector;
use super::objective::{batch_loss, Losses};
use crate::export::DetectorSpec;
use crate::nn::arch::Arch;
use crate::nn::autocast;
use crate::nn::backend::tape_onto;
use crate::nn::module::Init;
use crate::nn::optim::{decays, layer_scale, Group, Optimizer};
use crate::nn::positions::WholePicture;
use crate::nn::vit::{DropPath, Vit};
use crate::nn::weights::{StateDict, WeightsError};
use crate::nn::Backend;
use crate::schedule::learning_rate;

/// A detector and what it takes to train it.
pub(super) struct Learner<A: Arch, D: Backend> {
    dev: D,
    pub model: Detector<A, D>,
    pub optimizer: Optimizer<D>,
    pub spec: DetectorSpec,
    pub positions: WholePicture,
    pub anchors: Vec<Anchor>,
}

/// What a step was told and found, beside the loss.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct Rates {
    lr: f32,
    grad_norm: f64,
}

impl<A: Arch, D: Backend> Learner<A, D> {
    /// The detector's weights, on the host.
    pub fn weights(&self) -> StateDict {
        let mut dict = StateDict::default();
        dict.insert_module("", &self.model);
        dict
    }

    /// A new detector, on an encoder's weights if there are any.
    ///
    /// # Errors
    /// If the weights do not fit.
    pub fn new(
        dev: &D,
        config: &FinetuneConfig,
        spec: DetectorSpec,
        encoder: Option<&StateDict>,
    ) -> Result<Self, WeightsError> {
        let mut init = Init::new(dev, config.seed);
        let mut vit = Vit::<A, D>::new(&mut init, &config.model);
        vit.recompute = config.optim.recompute;
        if let Some(dict) = encoder {
            dict.load_module("", &mut vit, |name| {
                name.ends_with("mask_token") || name.starts_with("pos_field")
            })?;
        }
        let positions = WholePicture::new(&vit, spec.grid(), config.data.window);
        let model = Detector::new(&mut init, vit, &spec);
        let (depth, decay) = (config.model.depth, config.optim.layer_decay);
        let optimizer = Optimizer::new(dev, &model, |name, sizes| Group {
            lr_scale: if is_head(name) {
                1.0
            } else {
                layer_scale(name, depth, decay)
            },
            decay: decays(name, sizes),
        });
        Ok(Self {
            dev: dev.clone(),
            anchors: anchors(&spec),
            model,
            optimizer,
            spec,
            positions,
        })
    }

    /// Step `step` of `steps`: loss and backward pass of each part of the batch, and AdamW. `part` gives the
    /// next part.
    ///
    /// # Errors
    /// What `part` runs into, or a loss that is no number any more.
    pub fn step(
        &mut self,
        config: &FinetuneConfig,
        step: u64,
        steps: u64,
        mut part: impl FnMut() -> Result<Batch, FlowError>,
    ) -> Result<(Losses, Rates), FinetuneError> {
        let _precision = autocast::scope(config.precision.precision());
        let optim = &config.optim;
        let lr = learning_rate(optim.lr, optim.lr_end, optim.warmup, step, steps);
        let accumulate = optim.accumulate as u64;
        let mut losses = Losses::default();
        let mut gradients = Gradients::leaky();
        for i in 0..accumulate {
            let drop_path = Some(DropPath {
                seed: config.seed,
                step: step * accumulate + i,
            });
            let Batch { patches, targets } = part()?;
            let repeated = self.positions.repeat(targets.len());
            let (outputs, tape) = self.model.forward(
                patches,
                repeated.view(),
                targets.len(),
                self.spec.grid(),
                drop_path,
                tape_onto(&self.dev, gradients),
            );
            let (loss, parts) =
                batch_loss(&self.spec, config, &self.anchors, outputs, tape, &targets);
            if !parts.loss.is_finite() {
                return Err(FinetuneError::NotFinite {
                    step,
                    what: "the loss",
                });
            }
            let share = 1.0 / accumulate as f32;
            losses.add(&parts, f64::from(share));
            gradients = (loss * share).backward();
        }
        let report = self.optimizer.step(
            &mut self.model,
            None,
            &mut gradients,
            lr,
            optim.weight_decay,
            optim.clip,
            |_| false,
        );
        if !report.grad_norm.is_finite() {
            return Err(FinetuneError::NotFinite {
                step,
                what: "the gradient",
            });
        }
        let grad_norm = report.grad_norm;
        Ok((losses, Rates { lr, grad_norm }))
    }
}

fn is_head(name: &str) -> bool {
    ["fpn.", "head.", "proto."]
        .iter()
        .any(|part| name.starts_with(part))
}
