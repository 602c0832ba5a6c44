//! What a detector found.

use std::path::Path;

use intertwine_rle::Rle;
use rayon::prelude::*;

use super::ground_truth::parse_box;
use super::json::{self, ResultRecord, Segmentation};
use super::{EvaluateError, Problem};

/// One object found.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// The picture it was found in.
    pub image_id: u64,
    /// What it is: the source's category id.
    pub category_id: u32,
    /// `[x, y, width, height]` in pixels; without one, that of the mask.
    pub bbox: Option<[f64; 4]>,
    /// How sure the detector is: only the order counts.
    pub score: f64,
    /// Its pixels, of its picture's size.
    pub segmentation: Option<Rle>,
}

impl Detection {
    /// Its box, or that of its mask.
    pub(super) fn bounds(&self) -> [f64; 4] {
        match (&self.bbox, &self.segmentation) {
            (Some(bbox), _) => *bbox,
            (None, Some(mask)) => mask.bbox(),
            // `Detections` holds none without either.
            (None, None) => [0.0; 4],
        }
    }
}

/// Checked detections: each has a box or a mask, and all numbers are finite.
///
/// A detection's area is that of its box where the detections come with boxes, else that of its mask,
/// as in pycocotools: to have masks sorted into small, medium and large by their own area, leave the
/// boxes out.
#[derive(Clone, Debug)]
pub struct Detections {
    origin: String,
    all: Vec<Detection>,
    area_of_boxes: bool,
}

impl Detections {
    /// From detections in memory. Of equal scores in a picture the earlier one goes first.
    ///
    /// # Errors
    /// [`EvaluateError::Record`] for a number that is not finite, a negative size, a detection with
    /// neither box nor mask, or one without a box where the first has one.
    pub fn new(detections: Vec<Detection>) -> Result<Self, EvaluateError> {
        Self::checked("detections".into(), detections)
    }

    /// From a COCO results file: boxes, masks (compressed or plain runs), or both.
    ///
    /// # Errors
    /// If the file cannot be read or is no COCO results file, a field is missing, a mask is damaged, or
    /// as in [`Detections::new`].
    pub fn from_results_file(path: &Path) -> Result<Self, EvaluateError> {
        let records: Vec<ResultRecord> = json::read(path, ResultRecord::EXPECTED)?;
        let origin = path.display().to_string();
        let detections: Vec<_> = records
            .into_par_iter()
            .enumerate()
            .map(|(index, record)| {
                detection(record)
                    .map_err(|(key, problem)| record_error(&origin, index, key, problem))
            })
            .collect();
        // The first error of the list, whichever thread came upon one first.
        let detections = detections.into_iter().collect::<Result<_, _>>()?;
        Self::checked(origin, detections)
    }

    fn checked(origin: String, all: Vec<Detection>) -> Result<Self, EvaluateError> {
        let area_of_boxes = all.first().is_some_and(|first| first.bbox.is_some());
        for (index, detection) in all.iter().enumerate() {
            let error = |key, problem| Err(record_error(&origin, index, key, problem));
            if !detection.score.is_finite() {
                let expected = "a finite number";
                return error(
                    "score",
                    Problem::Number {
                        value: detection.score,
                        expected,
                    },
                );
            }
            let needs_box = area_of_boxes || detection.segmentation.is_none();
            match &detection.bbox {
                None if needs_box => return error("bbox", Problem::Missing),
                None => {}
                Some(bbox) => {
                    if let Some(problem) = Problem::of_box(bbox) {
                        return error("bbox", problem);
                    }
                }
            }
        }
        Ok(Self {
            origin,
            all,
            area_of_boxes,
        })
    }

    /// The detections, in the source's order.
    pub fn all(&self) -> &[Detection] {
        &self.all
    }

    /// The area, in square pixels, that sorts one of these detections into small, medium and large.
    pub(super) fn area(&self, detection: &Detection) -> f64 {
        match &detection.segmentation {
            Some(mask) if !self.area_of_boxes => mask.area() as f64,
            _ => {
                let [_, _, width, height] = detection.bounds();
                width * height
            }
        }
    }

    pub(super) fn error(&self, index: usize, key: &'static str, problem: Problem) -> EvaluateError {
        record_error(&self.origin, index, key, problem)
    }
}

fn record_error(origin: &str, index: usize, key: &'static str, problem: Problem) -> EvaluateError {
    EvaluateError::Record {
        origin: origin.into(),
        list: "results",
        index,
        key,
        problem,
    }
}

fn detection(record: ResultRecord) -> Result<Detection, (&'static str, Problem)> {
    let missing = |key| (key, Problem::Missing);
    let segmentation = match record.segmentation {
        Some(mask) if mask.is_empty() => None,
        Some(Segmentation::Polygons(_)) => return Err(("segmentation", Problem::Polygons)),
        // Only polygons need the picture's size.
        Some(mask) => Some(
            mask.into_rle((0, 0))
                .map_err(|error| ("segmentation", error.into()))?,
        ),
        None => None,
    };
    let bbox = match record.bbox.as_deref() {
        None | Some([]) => None,
        Some(numbers) => Some(parse_box(numbers)?),
    };
    Ok(Detection {
        image_id: record.image_id.ok_or(missing("image_id"))?,
        category_id: record.category_id.ok_or(missing("category_id"))?,
        bbox,
        score: record.score.ok_or(missing("score"))?,
        segmentation,
    })
}
