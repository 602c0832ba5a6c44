//! From shards to batches of labelled squares: `Shards > Shuffle > Augment > Batch > Step`.

use std::num::NonZeroUsize;
use std::sync::Arc;

use image::RgbImage;
use intertwine_datasets::{DatasetError, PackedSet, Permutation, Scratch};
use intertwine_flow::random::{stream, ChaCha8Rng, Purpose};
use intertwine_flow::{stage, stage_with, FlowError, Pool, Pooled, Source};

use rand::RngExt;

use super::assign::Object;
use super::config::FinetuneConfig;
use super::loss::Target;
use crate::augment::detection::{self, DetectionAugment, DetectionScratch, Labelled, TrainImage};
use crate::augment::AugmentError;
use crate::config::ConfigError;
use crate::export::DetectorSpec;
use crate::records::{shuffle, Picture, Records};

/// A batch, ready for a step.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[pictures * grid * grid, 3 * patch * patch]`.
    pub patches: Vec<f32>,
    /// What should be found in each picture.
    pub targets: Vec<Target>,
}

/// Why a labelled picture could not be used.
#[derive(Debug, thiserror::Error)]
enum PictureError {
    #[error(transparent)]
    Data(#[from] DatasetError),
    #[error(transparent)]
    Augment(#[from] AugmentError),
}

/// The batches of a run, from some step on.
pub struct Batches(Box<dyn FnMut() -> Option<Result<Batch, FlowError>>>);

impl Batches {
    /// The batches of steps `from..`, in `optim.accumulate` parts each, without end.
    ///
    /// # Errors
    /// If the augmentation's config makes no sense.
    pub fn new(
        set: &Arc<PackedSet>,
        config: &FinetuneConfig,
        spec: &DetectorSpec,
        from: u64,
    ) -> Result<Self, ConfigError> {
        let augment =
            DetectionAugment::new(config.augmentation(spec)).map_err(|e| e.within("data"))?;
        let (seed, masks) = (config.seed, spec.prototypes > 0);
        let part = config.optim.batch / config.optim.accumulate.max(1);
        let images: Pool<TrainImage> = Pool::default();
        let records = set.len() as u64;
        let pictures = config.pictures(records);
        // The subset is a fixed choice; its order changes with the epoch.
        let chosen = || Permutation::new(records, 0, u64::MAX);
        let (subset, chosen) = (chosen(), chosen());
        let labels = set.clone();
        let augment = move |picture: Picture,
                            (scratch, reading): &mut (DetectionScratch, Scratch)|
              -> Result<Pooled<TrainImage>, PictureError> {
            let mut rng = stream(seed, Purpose::Augment, picture.epoch, picture.record as u64);
            let objects = objects(&labels, picture.record, masks)?;
            let other = |rng: &mut ChaCha8Rng| {
                let record = subset.get(rng.random_range(0..pictures)) as usize;
                let mut image = RgbImage::default();
                labels.read_image_into(record, &mut image, reading)?;
                let objects = self::objects(&labels, record, masks)?;
                Ok::<_, PictureError>(Labelled { image, objects })
            };
            let composed = augment.compose(&picture.image, &objects, &mut rng, other)?;
            let (image, objects) = match &composed {
                Some(composed) => (&composed.image, &composed.objects),
                None => (&*picture.image, &objects),
            };
            let mut out = images.take();
            augment.apply(image, objects, &mut rng, scratch, &mut out)?;
            Ok(out)
        };
        let gather = |items: intertwine_flow::Batch<Pooled<TrainImage>>| Batch {
            patches: items
                .iter()
                .flat_map(|i| i.view.patches())
                .copied()
                .collect(),
            targets: items.iter().map(|i| target(i)).collect(),
        };
        let size = NonZeroUsize::new(part).unwrap_or(NonZeroUsize::MIN);
        let order = shuffle(pictures, seed);
        let graph = Records::new(set.clone())
            .graph()
            .reorder("Shuffle", move |position| {
                let place = order(position);
                let (epoch, index) = (place / pictures, place % pictures);
                let record = if pictures == records {
                    index
                } else {
                    chosen.get(index)
                };
                epoch * records + record
            })
            .then(stage_with(
                "Augment",
                <(DetectionScratch, Scratch)>::default,
                augment,
            ))
            .batch_exact(size)
            .then(stage("Gather", gather))
            .sink("Step");
        let mut run = graph.run(from * config.optim.batch as u64..);
        Ok(Self(Box::new(move || run.next())))
    }

    /// The next part of a batch.
    ///
    /// # Errors
    /// A record that cannot be read, or augmented.
    pub fn next_part(&mut self) -> Result<Batch, FlowError> {
        (self.0)().expect("the positions of a run have no end")
    }
}

/// The labelled objects of a record, but not crowds.
fn objects(
    set: &PackedSet,
    record: usize,
    masks: bool,
) -> Result<Vec<detection::Object>, DatasetError> {
    let instances = set.instances(record)?.into_iter().filter(|i| !i.crowd);
    let objects = instances.map(|i| {
        let [x, y, w, h] = i.bbox;
        detection::Object {
            bbox: [x, y, x + w, y + h],
            class: i.category,
            mask: i.mask.filter(|_| masks),
        }
    });
    Ok(objects.collect())
}

fn target(image: &TrainImage) -> Target {
    let objects = image.boxes.iter().zip(&image.classes);
    let objects = objects
        .map(|(bbox, class)| Object {
            bbox: *bbox,
            class: *class as usize,
        })
        .collect();
    // An object without a mask is empty in its bitmap list; the loss skips it.
    let masks = if image.masks.iter().any(Option::is_some) {
        image
            .masks
            .iter()
            .map(|m| m.clone().unwrap_or_default())
            .collect()
    } else {
        Vec::new()
    };
    Target { objects, masks }
}
