//! Scoring an exported detector on a packed set: the file that ships, run by the runtime that ships.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use intertwine_datasets::{DatasetError, PackedSet};
use intertwine_detect::{DetectError, Detector, Thresholds};
use rayon::prelude::*;

use super::{
    evaluate, Annotation, Category, Detection, Detections, EvaluateError, GroundTruth, ImageInfo,
    IouType, Report,
};

/// Why a detector could not be scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// The model, or a picture it cannot take.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// The comparison.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// Model and data do not know the same classes.
    #[error("the model knows class {id} (`{name}`), the data set has no category of that id; evaluate on data with the training set's categories")]
    Classes {
        /// The id of the model's class.
        id: u32,
        /// Its name.
        name: String,
    },
}

/// COCO's figures of the detector at `model` on a labelled set, for masks too where both have them.
///
/// # Errors
/// As [`ScoreError`].
pub fn evaluate_detector(model: &Path, data: &PackedSet) -> Result<Report, ScoreError> {
    let truth = ground_truth(data)?;
    let (found, masks) = detect_all(model, data)?;
    let boxes = Detections::new(
        found
            .iter()
            .map(|d| Detection {
                segmentation: None,
                ..d.clone()
            })
            .collect(),
    )?;
    let mut report = Report::from(evaluate(&truth, &boxes, IouType::Bbox)?);
    if masks && truth.annotations().iter().any(|a| a.segmentation.is_some()) {
        // By the mask's own area, as detectron2 scores.
        let found = found
            .into_iter()
            .map(|d| Detection { bbox: None, ..d })
            .collect();
        report.masks = Some(evaluate(&truth, &Detections::new(found)?, IouType::Segm)?);
    }
    Ok(report)
}

/// A packed set's labels. Pictures are numbered by their place in the set, since ids may repeat in mixed sets.
fn ground_truth(data: &PackedSet) -> Result<GroundTruth, ScoreError> {
    let mut images = Vec::with_capacity(data.len());
    let mut annotations = Vec::new();
    for record in 0..data.len() {
        let (width, height) = data.image_size(record)?;
        let image_id = record as u64;
        images.push(ImageInfo {
            id: image_id,
            width,
            height,
        });
        for instance in data.instances(record)? {
            annotations.push(Annotation {
                id: annotations.len() as u64 + 1,
                image_id,
                category_id: data.categories()[instance.category as usize].id,
                bbox: instance.bbox.map(f64::from),
                area: f64::from(instance.area),
                iscrowd: instance.crowd,
                segmentation: instance.mask,
            });
        }
    }
    let categories = data
        .categories()
        .iter()
        .map(|c| Category {
            id: c.id,
            name: c.name.clone(),
        })
        .collect();
    Ok(GroundTruth::new(images, categories, annotations)?)
}

/// Detections of all pictures in order, and whether the model makes masks.
fn detect_all(model: &Path, data: &PackedSet) -> Result<(Vec<Detection>, bool), ScoreError> {
    let mut first = Detector::load(model)?;
    let card = first.card().clone();
    if let Some(class) = card
        .classes
        .iter()
        .find(|c| data.categories().iter().all(|k| k.id != c.id))
    {
        return Err(ScoreError::Classes {
            id: class.id,
            name: class.name.clone(),
        });
    }
    first.set_thresholds(Thresholds::evaluation(&card));
    // One thread each: the parallelism is over pictures.
    first.set_threads(NonZeroUsize::MIN)?;
    // The first stays as the template of the others.
    let idle = Mutex::new(vec![first]);
    let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
    let take = || -> Result<Detector, DetectError> {
        let mut idle = lock();
        if idle.len() > 1 {
            Ok(idle.swap_remove(1))
        } else {
            idle[0].try_clone()
        }
    };
    let chunk = 16;
    let found: Vec<Vec<Detection>> = (0..data.len().div_ceil(chunk))
        .into_par_iter()
        .map(|part| -> Result<Vec<Detection>, ScoreError> {
            let mut detector = take()?;
            let mut out = Vec::new();
            for record in part * chunk..((part + 1) * chunk).min(data.len()) {
                let picture = data.read(record)?.image;
                for d in detector.detect(&picture)? {
                    let [x0, y0, x1, y1] = d.bbox.map(f64::from);
                    out.push(Detection {
                        image_id: record as u64,
                        category_id: card.classes[d.class].id,
                        bbox: Some([x0, y0, x1 - x0, y1 - y0]),
                        score: f64::from(d.score),
                        segmentation: d.mask.clone(),
                    });
                }
            }
            lock().push(detector);
            Ok(out)
        })
        .collect::<Result<_, _>>()?;
    Ok((found.into_iter().flatten().collect(), card.masks.is_some()))
}
