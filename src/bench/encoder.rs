//! A training step of ViT-Tiny/16's blocks: 12 blocks and the last norm on 8 sequences of 197 tokens, forward, mean
//! squared error, backward, AdamW.

use std::convert::Infallible;

use dfdx::losses::mse_loss;
use dfdx::prelude::*;

use super::StepTimes;
use crate::nn::arch::{Arch, Tiny};
use crate::nn::autocast::{self, Precision};
use crate::nn::module::Init;
use crate::nn::optim::{decays, Group, Optimizer};
use crate::nn::vit::{Vit, VitConfig};
use crate::nn::{Groups, Rows};

/// Pictures in a step.
pub const BATCH: usize = 8;
/// A CLS token and 14 x 14 patches.
const TOKENS: usize = 197;

/// Times `steps` steps.
pub fn measure(steps: usize, precision: Precision) -> StepTimes {
    let _precision = autocast::scope(precision);
    let dev = Cpu::default();
    let mut init = Init::new(&dev, 0);
    let config = VitConfig {
        depth: 12,
        ..VitConfig::plain("tiny16")
    };
    let mut vit = Vit::<Tiny, Cpu>::new(&mut init, &config);
    let mut optimizer = Optimizer::new(&dev, &vit, |name, sizes| Group {
        // The embedding has no part in it.
        lr_scale: f32::from(name.starts_with("blocks.") || name.starts_with("norm.")),
        decay: decays(name, sizes),
    });
    let groups = Groups::uniform(BATCH, TOKENS);
    let shape = (groups.rows(), <Tiny as Arch>::Width::default());
    type Tokens = Rows<<Tiny as Arch>::Width, Cpu>;
    let (x, target): (Tokens, Tokens) =
        (init.trunc_normal(shape, 1.0), init.trunc_normal(shape, 1.0));
    let step = || {
        let tokens = vit.run_blocks(x.trace(Gradients::leaky()), &groups, None);
        let loss = mse_loss(vit.norm.forward(tokens), target.clone());
        let mut gradients = loss.backward();
        optimizer.step(&mut vit, None, &mut gradients, 1e-4, 0.05, 0.0, |_| false);
        Ok::<(), Infallible>(())
    };
    match StepTimes::measure("encoder", precision, BATCH, steps, step) {
        Ok(times) => times,
        Err(never) => match never {},
    }
}
