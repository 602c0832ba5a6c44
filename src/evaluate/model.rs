//! Scoring an exported detector on a packed set: the file that ships, run by the runtime that ships.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use intertwine_datasets::{Category as Class, DatasetError, Namesake, PackedSet};
use intertwine_detect::{DetectError, Detector, ModelCard, Thresholds};
use intertwine_rle::RleError;
use rayon::prelude::*;

use super::{
    box_mask, evaluate, Annotation, Category, Detection, Detections, EvaluateError, GroundTruth,
    ImageInfo, IouType, Report,
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
    /// A box that is none.
    #[error("a labelled box: {0}")]
    Box(#[from] RleError),
    /// Model and data do not know the same classes.
    #[error("{}", unmatched(.class, .data))]
    Classes {
        /// The class as the model knows it.
        class: Class,
        /// The classes of the data.
        data: Vec<Class>,
    },
    /// Whoever watched asked to stop.
    #[error("stopped before all pictures were looked at")]
    Stopped,
}

/// Told after each picture how many have been looked at, and of how many; says whether to go on. It is called on one thread at a
/// time, while others wait: it must not wait for them, nor give work to rayon.
pub type Watch<'a> = &'a mut (dyn FnMut(usize, usize) -> ControlFlow<()> + Send);

/// Which class is not matched, and by what the data have instead.
fn unmatched(class: &Class, data: &[Class]) -> String {
    let Class { id, name } = class;
    let has = match data.iter().filter(|other| other.name == *name).count() {
        0 => match data.iter().find(|other| other.id == *id) {
            None => "has none of that name".into(),
            Some(other) => format!("has none of that name, and `{}` under that id", other.name),
        },
        several => format!("has {several} of that name, and none of them under that id"),
    };
    format!(
        "the model knows the class `{name}` (id {id}), the data set to evaluate on {has}; evaluate on data with the categories of the training set"
    )
}

/// For each class the id of the data's category it is: that of the same id and name, else the only one of the same name.
///
/// # Errors
/// [`ScoreError::Classes`], of the first class that is not there.
pub fn match_classes(classes: &[Class], data: &PackedSet) -> Result<Vec<u32>, ScoreError> {
    let known = data.categories();
    let id = |class: &Class| match class.among(known) {
        Namesake::One(place) => Ok(known[place].id),
        Namesake::None | Namesake::Several => Err(ScoreError::Classes {
            class: class.clone(),
            data: known.to_vec(),
        }),
    };
    classes.iter().map(id).collect()
}

/// COCO's figures of the detector at `model` on a labelled set, for masks too where both have them.
///
/// # Errors
/// As [`ScoreError`].
pub fn evaluate_detector(
    model: &Path,
    data: &PackedSet,
    watch: Watch<'_>,
) -> Result<Report, ScoreError> {
    let truth = ground_truth(data, IouType::Bbox)?;
    let (found, masks) = detect_all(model, data, watch)?;
    let boxes = Detections::new(
        found
            .iter()
            .map(|d| Detection {
                image_id: d.image_id,
                category_id: d.category_id,
                bbox: d.bbox,
                score: d.score,
                segmentation: None,
            })
            .collect(),
    )?;
    let mut report = Report::from(evaluate(&truth, &boxes, IouType::Bbox)?);
    let masked = truth
        .annotations()
        .iter()
        .filter(|a| a.segmentation.is_some());
    let masked = masked.count();
    if masks && masked > 0 {
        let truth = match masked == truth.annotations().len() {
            true => truth,
            false => ground_truth(data, IouType::Segm)?,
        };
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
///
/// For masks, an object that has none, as in a set of which a part has them, becomes a crowd region of its box: what is
/// found there is neither right nor wrong.
fn ground_truth(data: &PackedSet, iou: IouType) -> Result<GroundTruth, ScoreError> {
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
            let bbox = instance.bbox.map(f64::from);
            let without = iou == IouType::Segm && instance.mask.is_none();
            let segmentation = if without {
                Some(box_mask(bbox, (height, width))?)
            } else {
                instance.mask
            };
            annotations.push(Annotation {
                id: annotations.len() as u64 + 1,
                image_id,
                category_id: data.categories()[instance.category as usize].id,
                bbox,
                area: f64::from(instance.area),
                iscrowd: instance.crowd || without,
                segmentation,
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

/// The ids that a model's classes have in a set.
///
/// # Errors
/// As [`match_classes`].
pub(super) fn ids_in(data: &PackedSet, card: &ModelCard) -> Result<Vec<u32>, ScoreError> {
    let class = |class: &intertwine_detect::Class| Class {
        id: class.id,
        name: class.name.clone(),
    };
    match_classes(&Vec::from_iter(card.classes.iter().map(class)), data)
}

/// Detections of all pictures in order, and whether the model makes masks.
fn detect_all(
    model: &Path,
    data: &PackedSet,
    watch: Watch<'_>,
) -> Result<(Vec<Detection>, bool), ScoreError> {
    let mut first = Detector::load(model)?;
    let card = first.card().clone();
    let ids = ids_in(data, &card)?;
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
    let watched = Mutex::new((0, watch));
    let seen = || {
        let (seen, watch) = &mut *watched.lock().unwrap_or_else(PoisonError::into_inner);
        *seen += 1;
        watch(*seen, data.len())
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
                        category_id: ids[d.class],
                        bbox: Some([x0, y0, x1 - x0, y1 - y0]),
                        score: f64::from(d.score),
                        segmentation: d.mask.clone(),
                    });
                }
                if seen().is_break() {
                    return Err(ScoreError::Stopped);
                }
            }
            lock().push(detector);
            Ok(out)
        })
        .collect::<Result<_, _>>()?;
    Ok((found.into_iter().flatten().collect(), card.masks.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use intertwine_datasets::scenes::{write_coco, SceneConfig};
    use intertwine_datasets::{pack, PackOptions, Source};

    /// Four drawn scenes with changed labels, packed.
    fn packed(folder: &Path, change: impl FnOnce(&mut serde_json::Value)) -> PackedSet {
        let drawn = folder.join("drawn");
        let written = write_coco(&drawn, &SceneConfig::default(), 5, 0..4).unwrap();
        let text = std::fs::read_to_string(&written.annotations).unwrap();
        let mut labels = serde_json::from_str(&text).unwrap();
        change(&mut labels);
        std::fs::write(&written.annotations, labels.to_string()).unwrap();
        let (source, out) = (Source::new(written.annotations), folder.join("packed"));
        pack(&source, &PackOptions::default(), &out, &|_| {}).unwrap();
        PackedSet::open(&out).unwrap()
    }

    #[test]
    fn classes_are_matched_by_name_whatever_their_ids() {
        let dir = tempfile::tempdir().unwrap();
        let mut trained = Vec::new();
        let set = packed(dir.path(), |labels| {
            let categories = labels["categories"].as_array().unwrap();
            let category = |c: &serde_json::Value| Class {
                id: c["id"].as_u64().unwrap() as u32,
                name: c["name"].as_str().unwrap().into(),
            };
            trained = categories.iter().map(category).collect::<Vec<_>>();
            // As another file may number them: one more at the front.
            let raised = |id: &serde_json::Value| serde_json::json!(id.as_u64().unwrap() + 1);
            let mut all = vec![serde_json::json!({"id": 1, "name": "first"})];
            for category in categories {
                let mut category = category.clone();
                category["id"] = raised(&category["id"]);
                all.push(category);
            }
            labels["categories"] = all.into();
            for annotation in labels["annotations"].as_array_mut().unwrap() {
                annotation["category_id"] = raised(&annotation["category_id"]);
            }
        });
        let ids: Vec<u32> = trained.iter().map(|class| class.id + 1).collect();
        assert_eq!(match_classes(&trained, &set).unwrap(), ids);
        trained[0].name = "another".into();
        let error = match_classes(&trained, &set).unwrap_err().to_string();
        assert!(
            error.contains("`another` (id 1)") && error.contains("`first` under that id"),
            "{error}"
        );
    }

    #[test]
    fn an_object_without_a_mask_is_neither_right_nor_wrong_for_masks() {
        let dir = tempfile::tempdir().unwrap();
        let set = packed(dir.path(), |labels| {
            let first = labels["annotations"][0].as_object_mut().unwrap();
            first.remove("segmentation");
        });

        let of = |iou| ground_truth(&set, iou).unwrap().annotations().to_vec();
        let (boxes, masks) = (of(IouType::Bbox), of(IouType::Segm));
        assert!(boxes.iter().all(|a| !a.iscrowd));
        let without = boxes.iter().position(|a| a.segmentation.is_none()).unwrap();
        for (i, annotation) in masks.iter().enumerate() {
            assert!(annotation.segmentation.is_some());
            assert_eq!(annotation.iscrowd, i == without);
        }
        // All that is labelled is found: perfect for what has a mask.
        let found = masks.iter().filter(|a| !a.iscrowd).map(|a| Detection {
            image_id: a.image_id,
            category_id: a.category_id,
            bbox: None,
            score: 0.9,
            segmentation: a.segmentation.clone(),
        });
        let found = Detections::new(found.collect()).unwrap();
        let truth = ground_truth(&set, IouType::Segm).unwrap();
        let summary = evaluate(&truth, &found, IouType::Segm).unwrap();
        assert!((summary.stats[0] - 1.0).abs() < 1e-9, "{summary}");
    }
}
