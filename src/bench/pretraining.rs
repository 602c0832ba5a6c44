//! A pretraining step of ViT-S/16 with everything in it: 4 pictures of 2 global views of 224 and 8 local views of 96
//! pixels, masks, K = 8,192, student and teacher, AdamW, moving average. The batch lies ready in memory.

use dfdx::prelude::*;
use intertwine_datasets::scenes::{draw_scene, SceneConfig};
use intertwine_flow::random::{stream, Purpose};

use super::StepTimes;
use crate::augment::{MultiCrop, Scratch, Views};
use crate::config::resolve;
use crate::nn::arch::{Arch, Small};
use crate::nn::autocast::Choice;
use crate::nn::positions::Encoding;
use crate::pretrain::batch::Batch;
use crate::pretrain::checkpoint::State;
use crate::pretrain::config::PRESETS;
use crate::pretrain::step::step;
use crate::pretrain::PretrainConfig;
use crate::pretrain::PretrainError;

/// What differs from the preset.
const SETTINGS: &[&str] = &[
    "model.arch=small16",
    "model.depth=12",
    "head.hidden=2048",
    "head.bottleneck=256",
    "head.prototypes=8192",
    "crops.patch=16",
    "crops.globals.size=224",
    "crops.locals.count=8",
    "crops.locals.size=96",
    "optim.batch=4",
];

/// Times `steps` steps.
///
/// # Errors
/// If the loss is no number any more.
pub fn measure(steps: usize, precision: Choice) -> Result<StepTimes, PretrainError> {
    let settings: Vec<String> = SETTINGS.iter().map(|s| (*s).to_owned()).collect();
    let config = PretrainConfig {
        precision,
        ..resolve(PRESETS, "pico", None, &settings)?
    };
    let crops = MultiCrop::new(config.crops.clone()).map_err(|e| e.within("crops"))?;
    let scenes = SceneConfig {
        size: 256,
        ..SceneConfig::default()
    };
    let views: Vec<Box<Views>> = (0..config.optim.batch as u64)
        .map(|i| {
            let picture = draw_scene(&scenes, config.seed, i).image;
            let mut rng = stream(config.seed, Purpose::Augment, 0, i);
            let mut views = Box::<Views>::default();
            crops
                .apply_into(&picture, &mut rng, &mut Scratch::default(), &mut views)
                .expect("a drawn scene can be cropped");
            views
        })
        .collect();
    let encoding = (Encoding::of(&config.model), Small::WIDTH);
    let batch = Batch::new(&views, encoding, &config.mask, config.seed, 0);
    let mut state = State::<Small, Cpu>::new(&Cpu::default(), &config);
    // As in the middle of a long run, where nothing is frozen.
    let total = 1_000_000;
    state.step = total / 2;
    StepTimes::measure(
        "pretrain",
        precision.precision(),
        config.optim.batch,
        steps,
        || step(&mut state, &config, total, || Ok(&batch)).map(|_| ()),
    )
}
