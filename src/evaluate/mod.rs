//! COCO average precision of boxes and masks, number for number that of pycocotools' `COCOeval`.
//!
//! ```no_run
//! use intertwine::evaluate::{evaluate, Detections, GroundTruth, IouType};
//!
//! # fn main() -> Result<(), intertwine::evaluate::EvaluateError> {
//! let ground_truth = GroundTruth::from_coco_file("instances_val.json".as_ref())?;
//! let detections = Detections::from_results_file("results.json".as_ref())?;
//! let summary = evaluate(&ground_truth, &detections, IouType::Bbox)?;
//! println!("{summary}"); // pycocotools' twelve lines
//! # Ok(())
//! # }
//! ```
//!
//! The method and its constants are those of the COCO API
//! (<https://github.com/cocodataset/cocoapi>, `cocoeval.py`) for detection with categories: IoU
//! thresholds 0.50:0.05:0.95, 101 recall points, four area ranges, at most 1, 10 or 100 detections a
//! picture. Two things differ, by intent: what pycocotools leaves out in silence, trips over or asserts
//! (an unknown category, a NaN, duplicate ids, no detection at all) is here an error that names the
//! place, or the obvious number; and an annotation whose id is 0 counts like any other, where
//! pycocotools takes the match with it for none.
//!
//! # Layout
//! - `ground_truth.rs`, `detections.rs`: what is compared, from files or built in memory, checked.
//! - `json.rs`: how COCO files spell it.
//! - `matching.rs`: one category in one picture: IoU and the greedy match.
//! - `curve.rs`: one category over all pictures: precision and recall.
//! - [`model`]: an exported detector on a packed set.
//! - `threshold.rs`: what thresholds of the score keep.
//! - `summary.rs`: the twelve numbers, as a table and as JSON. [`page`]: in a report, with pictures.

mod curve;
mod detections;
mod error;
mod ground_truth;
mod json;
mod matching;
pub mod model;
pub mod page;
mod summary;
mod threshold;

use std::borrow::Cow;
use std::path::Path;

use intertwine_rle::{Rle, RleError};
use rayon::prelude::*;

pub use detections::{Detection, Detections};
pub use error::{EvaluateError, Problem};
pub use ground_truth::{Annotation, Category, GroundTruth, ImageInfo};
pub use summary::{CategoryAp, Report, Summary};
pub use threshold::{Counts, Kept};

use curve::CategoryCurves;
use ground_truth::ANNOTATIONS;
use matching::{match_image, Candidate, Region, Target};

/// IoU thresholds a detection has to reach, numpy's `linspace(.5, .95, 10)` to the last bit.
pub const IOU_THRESHOLDS: [f64; 10] = [
    0.5,
    0.55,
    0.6,
    0.65,
    0.7,
    0.75,
    0.8,
    0.85,
    0.8999999999999999,
    0.95,
];

/// Areas of objects in square pixels, both ends included: all, small, medium, large.
const AREA_RANGES: [[f64; 2]; 4] = [[0.0, 1e10], [0.0, 1024.0], [1024.0, 9216.0], [9216.0, 1e10]];

/// Detections of one category counted in one picture, at most.
const MAX_DETECTIONS: usize = 100;

/// What overlap is measured between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IouType {
    /// Boxes.
    Bbox,
    /// Masks.
    Segm,
}

impl std::fmt::Display for IouType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bbox => "bbox",
            Self::Segm => "segm",
        })
    }
}

/// Scores a COCO results file against a COCO label file.
///
/// # Errors
/// If a file cannot be read or is not what it should be, or the two do not belong together: see
/// [`EvaluateError`].
pub fn run(ground_truth: &Path, detections: &Path, iou: IouType) -> Result<Summary, EvaluateError> {
    let ground_truth = GroundTruth::from_coco_file(ground_truth)?;
    let detections = Detections::from_results_file(detections)?;
    evaluate(&ground_truth, &detections, iou)
}

/// Scores detections against the ground truth, on all cores; the result does not depend on their number.
///
/// For masks, a detection without one counts with its box as the mask. The area that sorts a detection
/// into small, medium and large is that of [`Detections`].
///
/// # Errors
/// If a detection names an image or category that the ground truth lacks, or if, for masks, an
/// annotation has no mask or a detection's mask is not of its picture's size.
pub fn evaluate(
    ground_truth: &GroundTruth,
    detections: &Detections,
    iou: IouType,
) -> Result<Summary, EvaluateError> {
    let entries = group(ground_truth, detections)?;
    let targets = targets(ground_truth, iou)?;
    let candidates = candidates(ground_truth, detections, iou)?;

    let match_entries = |entries: &[Entry]| {
        let (annotations, detections) = entries.split_at(entries.partition_point(|e| !e.detection));
        let targets: Vec<_> = annotations.iter().map(|e| &targets[e.index]).collect();
        let candidates: Vec<_> = detections.iter().map(|e| &candidates[e.index]).collect();
        match_image(&targets, candidates)
    };
    let categories: Vec<&[Entry]> = entries.chunk_by(|a, b| a.category == b.category).collect();
    let evaluated: Vec<(usize, CategoryCurves)> = categories
        .into_par_iter()
        .map(|entries| {
            let images: Vec<&[Entry]> = entries.chunk_by(|a, b| a.image == b.image).collect();
            let matches: Vec<_> = images.into_par_iter().map(match_entries).collect();
            (entries[0].category, CategoryCurves::new(&matches))
        })
        .collect();

    let mut curves = vec![CategoryCurves::default(); ground_truth.categories().len()];
    for (category, found) in evaluated {
        curves[category] = found;
    }
    Ok(Summary::new(iou, ground_truth.categories(), &curves))
}

/// An annotation or a detection by what it is grouped by. Its order is the one in which pycocotools
/// takes them, which decides between equal scores: categories and images by rising id, then as listed.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// Rank of its category's id.
    category: usize,
    /// Rank of its image's id.
    image: usize,
    /// A detection rather than an annotation.
    detection: bool,
    /// Its place in its list.
    index: usize,
}

fn group(ground_truth: &GroundTruth, detections: &Detections) -> Result<Vec<Entry>, EvaluateError> {
    let mut entries = Vec::with_capacity(ground_truth.annotations().len() + detections.all().len());
    for (index, annotation) in ground_truth.annotations().iter().enumerate() {
        let category = ground_truth.category_rank(annotation.category_id);
        let image = ground_truth.image_rank(annotation.image_id);
        let (category, image) = category
            .zip(image)
            .expect("ids checked when the ground truth was made");
        entries.push(Entry {
            category,
            image,
            detection: false,
            index,
        });
    }
    for (index, detection) in detections.all().iter().enumerate() {
        let unknown = |key, id| detections.error(index, key, Problem::UnknownId { id });
        let category = ground_truth
            .category_rank(detection.category_id)
            .ok_or_else(|| unknown("category_id", detection.category_id.into()))?;
        let image = ground_truth
            .image_rank(detection.image_id)
            .ok_or_else(|| unknown("image_id", detection.image_id))?;
        entries.push(Entry {
            category,
            image,
            detection: true,
            index,
        });
    }
    entries.par_sort_unstable();
    Ok(entries)
}

fn targets(ground_truth: &GroundTruth, iou: IouType) -> Result<Vec<Target<'_>>, EvaluateError> {
    let annotations = ground_truth.annotations().iter().enumerate();
    annotations
        .map(|(index, annotation)| {
            let region = match (iou, &annotation.segmentation) {
                (IouType::Bbox, _) => Region::from_box(annotation.bbox),
                (IouType::Segm, Some(mask)) => Region::from_mask(Cow::Borrowed(mask)),
                (IouType::Segm, None) => {
                    return Err(ground_truth.error(
                        ANNOTATIONS,
                        index,
                        "segmentation",
                        Problem::NoMask,
                    ))
                }
            };
            Ok(Target {
                region,
                area: annotation.area,
                crowd: annotation.iscrowd,
            })
        })
        .collect()
}

fn candidates<'a>(
    ground_truth: &GroundTruth,
    detections: &'a Detections,
    iou: IouType,
) -> Result<Vec<Candidate<'a>>, EvaluateError> {
    let candidate = |(index, detection): (usize, &'a Detection)| {
        let region = match iou {
            IouType::Bbox => Region::from_box(detection.bounds()),
            IouType::Segm => {
                let error = |key, problem| detections.error(index, key, problem);
                let size = ground_truth
                    .image_size(detection.image_id)
                    .expect("ids checked by group");
                match &detection.segmentation {
                    None => {
                        let mask = box_mask(detection.bounds(), size)
                            .map_err(|e| error("bbox", e.into()))?;
                        Region::from_mask(Cow::Owned(mask))
                    }
                    Some(mask) if mask.size() == size => Region::from_mask(Cow::Borrowed(mask)),
                    Some(mask) => {
                        let problem = Problem::MaskSize {
                            found: mask.size(),
                            expected: size,
                        };
                        return Err(error("segmentation", problem));
                    }
                }
            }
        };
        Ok(Candidate {
            region,
            area: detections.area(detection),
            score: detection.score,
        })
    };
    // Collected before the errors are looked at: the first in the list is reported, whatever the threads.
    let all: Vec<_> = detections
        .all()
        .par_iter()
        .enumerate()
        .map(candidate)
        .collect();
    all.into_iter().collect()
}

/// A box as the mask of a picture of this (height, width), as pycocotools makes it.
fn box_mask([x, y, w, h]: [f64; 4], (height, width): (u32, u32)) -> Result<Rle, RleError> {
    let outline = vec![x, y, x, y + h, x + w, y + h, x + w, y];
    Rle::from_polygons(&[outline], height, width)
}
