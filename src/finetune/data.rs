//! From shards to batches of labelled squares: `Shards > Shuffle > Augment > Batch > Step`.

use std::num::NonZeroUsize;
use std::sync::Arc;

use image::RgbImage;
use intertwine_datasets::{DatasetError, Mix, PackedSet, Permutation, Place, Scratch};
use intertwine_flow::random::{stream, ChaCha8Rng, Purpose};
use intertwine_flow::{stage, stage_with, Pool, Pooled, Source};

use rand::RngExt;

use super::assign::Object;
use super::config::FinetuneConfig;
use super::loss::Target;
use crate::augment::detection::{self, DetectionAugment, DetectionScratch, Labelled, TrainImage};
use crate::augment::AugmentError;
use crate::config::ConfigError;
use crate::export::DetectorSpec;
use crate::feed::Feed;
use crate::records::{Picture, Records};

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

/// The record at each of the places that are learnt from: a fixed choice, whose order changes with the epoch.
pub(super) fn chosen(
    config: &FinetuneConfig,
    records: u64,
) -> impl Fn(u64) -> usize + Clone + Send + Sync + 'static {
    let all = config.pictures(records) == records;
    let order = Permutation::new(records, config.seed, u64::MAX, 0);
    move |place| {
        let record = if all { place } else { order.get(place) };
        record as usize
    }
}

/// The batches of steps `from..`, in `optim.accumulate` parts each.
///
/// # Errors
/// If the augmentation's config makes no sense.
pub fn batches(
    set: &Arc<PackedSet>,
    config: &FinetuneConfig,
    spec: &DetectorSpec,
    from: u64,
) -> Result<Feed<Batch>, ConfigError> {
    let augment = DetectionAugment::new(config.augmentation(spec)).map_err(|e| e.within("data"))?;
    let (seed, masks) = (config.seed, spec.prototypes > 0);
    // Objects are cut out along their masks, whether or not the detector learns any.
    let read_masks = masks || config.data.copy_paste > 0.0;
    let part = config.optim.batch / config.optim.accumulate.max(1);
    let images: Pool<TrainImage> = Pool::default();
    let labels = set.clone();
    let records = set.len() as u64;
    let pictures = config.pictures(records);
    let record_at = chosen(config, records);
    let any_record = record_at.clone();
    let augment = move |picture: Picture,
                        (scratch, reading): &mut (DetectionScratch, Scratch)|
          -> Result<Pooled<TrainImage>, PictureError> {
        let mut rng = stream(seed, Purpose::Augment, picture.epoch, picture.record as u64);
        let mut objects = objects(&labels, picture.record, read_masks)?;
        let other = |rng: &mut ChaCha8Rng| {
            let record = any_record(rng.random_range(0..pictures));
            let mut image = RgbImage::default();
            labels.read_image_into(record, &mut image, reading)?;
            let objects = self::objects(&labels, record, read_masks)?;
            Ok::<_, PictureError>(Labelled { image, objects })
        };
        let mut composed = augment.compose(&picture.image, &objects, &mut rng, other)?;
        let (image, objects) = match &mut composed {
            Some(composed) => (&composed.image, &mut composed.objects),
            None => (&*picture.image, &mut objects),
        };
        if !masks {
            objects.iter_mut().for_each(|object| object.mask = None);
        }
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
    let sets = Arc::new(Mix::from(set.clone()));
    let order = {
        let sets = sets.clone();
        move |position| {
            let (epoch, index) = (position / pictures, position % pictures);
            let record = record_at(Permutation::new(pictures, seed, epoch, 0).get(index));
            Records::position(&sets, Place { epoch, record })
        }
    };
    let graph = Records::new(sets)
        .graph()
        .reorder("Shuffle", order)
        .then(stage_with(
            "Augment",
            <(DetectionScratch, Scratch)>::default,
            augment,
        ))
        .batch_exact(size)
        .then(stage("Gather", gather))
        .sink("Step");
    Ok(Feed::new(graph, from * config.optim.batch as u64))
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
