//! From shards to batches: `Shards > Shuffle > Crop > Batch > Mask > Step`.

use std::num::NonZeroUsize;
use std::sync::Arc;

use intertwine_datasets::PackedSet;
use intertwine_flow::random::{stream, Purpose};
use intertwine_flow::{stage, stage_with, Counters, FlowError, Pool, Pooled, Source};

use super::batch::{Batch, Encoding};
use super::config::PretrainConfig;
use crate::augment::{AugmentError, MultiCrop, Scratch, Views};
use crate::config::ConfigError;
use crate::records::{shuffle, Picture, Records};

/// The batches of a run, from some step on.
pub struct Batches {
    next: Box<dyn FnMut() -> Option<Result<Batch, FlowError>>>,
    counters: Counters,
    description: intertwine_flow::describe::Description,
}

impl Batches {
    /// The batches of steps `from..`, in `optim.accumulate` parts each, without end.
    ///
    /// # Errors
    /// If the crops' config makes no sense.
    pub fn new(
        set: &Arc<PackedSet>,
        config: &PretrainConfig,
        encoding: Encoding,
        from: u64,
    ) -> Result<Self, ConfigError> {
        let crops = MultiCrop::new(config.crops.clone()).map_err(|e| e.within("crops"))?;
        let (seed, mask) = (config.seed, config.mask.clone());
        let part = config.optim.batch / config.optim.accumulate.max(1);
        let views: Pool<Views> = Pool::new(Views::default);
        let crop =
            move |picture: Picture, scratch: &mut Scratch| -> Result<Pooled<Views>, AugmentError> {
                let mut rng = stream(seed, Purpose::Augment, picture.epoch, picture.record as u64);
                let mut views = views.take();
                crops.apply_into(&picture.image, &mut rng, scratch, &mut views)?;
                Ok(views)
            };
        let arrange = move |items: intertwine_flow::Batch<Pooled<Views>>| {
            let index = items.positions().start / part as u64;
            Batch::new(&items, encoding, &mask, seed, index)
        };
        let size = NonZeroUsize::new(part).unwrap_or(NonZeroUsize::MIN);
        let graph = Records::new(set.clone())
            .graph()
            .reorder("Shuffle", shuffle(set.len() as u64, seed))
            .then(stage_with("Crop", Scratch::default, crop))
            .batch_exact(size)
            .then(stage("Mask", arrange))
            .sink("Step");
        let description = graph.describe();
        let mut run = graph.run(from * config.optim.batch as u64..);
        let counters = run.counters();
        Ok(Self {
            next: Box::new(move || run.next()),
            counters,
            description,
        })
    }

    /// The next part of a batch.
    ///
    /// # Errors
    /// A record that cannot be read, or cropped.
    pub fn next_part(&mut self) -> Result<Batch, FlowError> {
        (self.next)().expect("the positions of a run have no end")
    }

    /// The graph with its counters so far.
    pub fn describe(&self) -> intertwine_flow::describe::Description {
        self.description.clone().with(&self.counters.snapshot())
    }
}
