//! The labels that detections are compared with.

use std::collections::HashMap;
use std::path::Path;

use intertwine_rle::Rle;
use rayon::prelude::*;

use super::json::{self, AnnotationRecord, LabelFile};
use super::{EvaluateError, Problem};

/// A picture, by what matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// The source's id.
    pub id: u64,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

/// A category of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// The source's id; they may have gaps.
    pub id: u32,
    /// Its name.
    pub name: String,
}

/// An object that is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// The source's id.
    pub id: u64,
    /// The picture it is in.
    pub image_id: u64,
    /// What it is.
    pub category_id: u32,
    /// `[x, y, width, height]` in pixels. One without extent is counted and cannot be found.
    pub bbox: [f64; 4],
    /// In square pixels, usually of the mask: what makes it small, medium or large.
    pub area: f64,
    /// A region of many objects: detections in it count neither for nor against.
    pub iscrowd: bool,
    /// Its pixels; needed where masks are compared. Of its picture's size.
    pub segmentation: Option<Rle>,
}

/// The list of a label file that the objects are in.
pub(super) const ANNOTATIONS: &str = "annotations";

/// Checked labels: ids are unique and defined, boxes and areas are numbers, masks are of their
/// pictures' size.
#[derive(Clone, Debug)]
pub struct GroundTruth {
    origin: String,
    categories: Vec<Category>,
    annotations: Vec<Annotation>,
    images: HashMap<u64, RankedImage>,
    category_ranks: HashMap<u32, usize>,
}

#[derive(Clone, Copy, Debug)]
struct RankedImage {
    rank: usize,
    size: (u32, u32),
}

impl GroundTruth {
    /// From labels in memory. Their order does not matter, except among the annotations of a picture
    /// where two overlap a detection equally: the later one is matched.
    ///
    /// # Errors
    /// [`EvaluateError::Record`] for ids that are not unique or not defined, numbers that are not
    /// finite, negative sizes and areas, and masks of another size than their picture.
    pub fn new(
        images: Vec<ImageInfo>,
        categories: Vec<Category>,
        annotations: Vec<Annotation>,
    ) -> Result<Self, EvaluateError> {
        Self::without_annotations("ground truth".into(), images, categories)?
            .with_annotations(annotations)
    }

    /// From a COCO label file: masks as polygons, runs, or compressed runs. Without `iscrowd` an
    /// annotation is none, without `bbox` it has its mask's, and a category without `name` is called
    /// by its id.
    ///
    /// # Errors
    /// If the file cannot be read or is no COCO label file, a field is missing, a mask is damaged, or as
    /// in [`GroundTruth::new`].
    pub fn from_coco_file(path: &Path) -> Result<Self, EvaluateError> {
        let file: LabelFile = json::read(path, LabelFile::EXPECTED)?;
        let origin = path.display().to_string();
        let missing = |list, index, key| record_error(&origin, list, index, key, Problem::Missing);

        let images = file.images.iter().enumerate().map(|(index, image)| {
            let missing = |key| missing("images", index, key);
            Ok(ImageInfo {
                id: image.id.ok_or_else(|| missing("id"))?,
                width: image.width.ok_or_else(|| missing("width"))?,
                height: image.height.ok_or_else(|| missing("height"))?,
            })
        });
        let images = images.collect::<Result<Vec<_>, EvaluateError>>()?;
        let categories = file
            .categories
            .into_iter()
            .enumerate()
            .map(|(index, category)| {
                let id = category
                    .id
                    .ok_or_else(|| missing("categories", index, "id"))?;
                Ok(Category {
                    id,
                    name: category.name.unwrap_or_else(|| id.to_string()),
                })
            });
        let categories = categories.collect::<Result<Vec<_>, EvaluateError>>()?;

        let ground_truth = Self::without_annotations(origin, images, categories)?;
        let annotations: Vec<_> = file
            .annotations
            .into_par_iter()
            .enumerate()
            .map(|(index, record)| {
                let annotation = ground_truth.annotation(record);
                annotation
                    .map_err(|(key, problem)| ground_truth.error(ANNOTATIONS, index, key, problem))
            })
            .collect();
        // The first error of the list, whichever thread came upon one first.
        let annotations = annotations.into_iter().collect::<Result<_, _>>()?;
        ground_truth.with_annotations(annotations)
    }

    fn without_annotations(
        origin: String,
        mut images: Vec<ImageInfo>,
        mut categories: Vec<Category>,
    ) -> Result<Self, EvaluateError> {
        check_unique(images.iter().map(|image| image.id))
            .map_err(|(index, problem)| record_error(&origin, "images", index, "id", problem))?;
        check_unique(categories.iter().map(|category| category.id.into())).map_err(
            |(index, problem)| record_error(&origin, "categories", index, "id", problem),
        )?;

        images.sort_unstable_by_key(|image| image.id);
        categories.sort_unstable_by_key(|category| category.id);
        let ranked = images.iter().enumerate().map(|(rank, image)| {
            (
                image.id,
                RankedImage {
                    rank,
                    size: (image.height, image.width),
                },
            )
        });
        let ranks = categories
            .iter()
            .enumerate()
            .map(|(rank, category)| (category.id, rank));
        Ok(Self {
            images: ranked.collect(),
            category_ranks: ranks.collect(),
            origin,
            categories,
            annotations: Vec::new(),
        })
    }

    fn with_annotations(mut self, annotations: Vec<Annotation>) -> Result<Self, EvaluateError> {
        check_unique(annotations.iter().map(|annotation| annotation.id))
            .map_err(|(index, problem)| self.error(ANNOTATIONS, index, "id", problem))?;
        for (index, annotation) in annotations.iter().enumerate() {
            self.check(annotation)
                .map_err(|(key, problem)| self.error(ANNOTATIONS, index, key, problem))?;
        }
        self.annotations = annotations;
        Ok(self)
    }

    /// An annotation of a file.
    fn annotation(&self, record: AnnotationRecord) -> Result<Annotation, (&'static str, Problem)> {
        let missing = |key| (key, Problem::Missing);
        let image_id = record.image_id.ok_or(missing("image_id"))?;
        let size = self
            .image_size(image_id)
            .ok_or(("image_id", Problem::UnknownId { id: image_id }))?;
        let segmentation = match record.segmentation {
            Some(mask) if !mask.is_empty() => Some(
                mask.into_rle(size)
                    .map_err(|error| ("segmentation", error.into()))?,
            ),
            _ => None,
        };
        let bbox = match (&record.bbox, &segmentation) {
            (Some(bbox), _) => parse_box(bbox)?,
            (None, Some(mask)) => mask.bbox(),
            (None, None) => return Err(missing("bbox")),
        };
        Ok(Annotation {
            id: record.id.ok_or(missing("id"))?,
            image_id,
            category_id: record.category_id.ok_or(missing("category_id"))?,
            bbox,
            area: record.area.ok_or(missing("area"))?,
            iscrowd: record.iscrowd,
            segmentation,
        })
    }

    fn check(&self, annotation: &Annotation) -> Result<(), (&'static str, Problem)> {
        let unknown = |id| Problem::UnknownId { id };
        let size = self.image_size(annotation.image_id);
        let size = size.ok_or(("image_id", unknown(annotation.image_id)))?;
        if self.category_rank(annotation.category_id).is_none() {
            return Err(("category_id", unknown(annotation.category_id.into())));
        }
        if let Some(problem) = Problem::of_box(&annotation.bbox) {
            return Err(("bbox", problem));
        }
        if !(annotation.area >= 0.0 && annotation.area.is_finite()) {
            let expected = "a finite number, 0 or more";
            return Err((
                "area",
                Problem::Number {
                    value: annotation.area,
                    expected,
                },
            ));
        }
        match &annotation.segmentation {
            Some(mask) if mask.size() != size => Err((
                "segmentation",
                Problem::MaskSize {
                    found: mask.size(),
                    expected: size,
                },
            )),
            _ => Ok(()),
        }
    }

    /// The categories by rising id.
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// The objects, in the source's order.
    pub fn annotations(&self) -> &[Annotation] {
        &self.annotations
    }

    /// (height, width) in pixels of a picture, if there is one of this id.
    pub fn image_size(&self, id: u64) -> Option<(u32, u32)> {
        self.images.get(&id).map(|image| image.size)
    }

    /// Place of a picture among all by rising id.
    pub(super) fn image_rank(&self, id: u64) -> Option<usize> {
        self.images.get(&id).map(|image| image.rank)
    }

    /// Place of a category in [`categories`](Self::categories).
    pub(super) fn category_rank(&self, id: u32) -> Option<usize> {
        self.category_ranks.get(&id).copied()
    }

    pub(super) fn error(
        &self,
        list: &'static str,
        index: usize,
        key: &'static str,
        problem: Problem,
    ) -> EvaluateError {
        record_error(&self.origin, list, index, key, problem)
    }
}

fn record_error(
    origin: &str,
    list: &'static str,
    index: usize,
    key: &'static str,
    problem: Problem,
) -> EvaluateError {
    EvaluateError::Record {
        origin: origin.into(),
        list,
        index,
        key,
        problem,
    }
}

/// The place of the first id that was there before.
fn check_unique(ids: impl Iterator<Item = u64>) -> Result<(), (usize, Problem)> {
    let mut seen = HashMap::new();
    for (index, id) in ids.enumerate() {
        if let Some(first) = seen.insert(id, index) {
            return Err((index, Problem::DuplicateId { id, first }));
        }
    }
    Ok(())
}

/// The four numbers of a box.
pub(super) fn parse_box(numbers: &[f64]) -> Result<[f64; 4], (&'static str, Problem)> {
    numbers.try_into().map_err(|_| {
        (
            "bbox",
            Problem::BoxLength {
                length: numbers.len(),
            },
        )
    })
}
