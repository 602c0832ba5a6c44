//! From an annotation in COCO's words to a label.

use super::coco_json::{outline, Annotation};
use crate::labels::{Label, Unit};
use crate::quarantine::{Quarantined, Reason, Subject};
use crate::sample::Category;

/// The label that an annotation states, or an entry in `refused`; a bad mask costs the mask only.
/// `categories` are sorted by their id.
pub(super) fn label(
    id: u64,
    annotation: Result<Annotation, String>,
    categories: &[Category],
    refused: &mut Vec<Quarantined>,
) -> Option<Label> {
    let mut refuse = |reason, kept, detail| {
        let entry = Quarantined::new(Subject::Annotation, reason, detail);
        refused.push(Quarantined {
            kept,
            annotation_id: Some(id),
            ..entry
        });
    };
    let annotation = match annotation {
        Ok(annotation) => annotation,
        Err(detail) => {
            refuse(Reason::Malformed, false, detail);
            return None;
        }
    };
    let index =
        categories.binary_search_by_key(&annotation.category_id, |category| category.id.into());
    let Ok(category) = index else {
        let detail = format!(
            "category_id {} is not in `categories`",
            annotation.category_id
        );
        refuse(Reason::UnknownCategory, false, detail);
        return None;
    };
    let outline = annotation
        .segmentation
        .and_then(|text| match outline(text.get()) {
            Ok(outline) => outline,
            Err(detail) => {
                refuse(Reason::MaskInvalid, true, format!("mask dropped: {detail}"));
                None
            }
        });
    Some(Label {
        id,
        category: category as u32,
        unit: Unit::Pixel,
        bbox: annotation
            .bbox
            .map(|values| values.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect()),
        area: annotation.area,
        crowd: annotation.iscrowd.is_some_and(|flag| flag.is_set()),
        outline,
    })
}
