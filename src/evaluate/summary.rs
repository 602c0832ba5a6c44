//! The twelve numbers, as a table and as JSON.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::curve::{AreaCurve, CategoryCurves, PerIou};
use super::threshold::{best, kept, Counts, Kept};
use super::{Category, IouType};

/// Places of the area ranges.
const ALL: usize = 0;
const SMALL: usize = 1;
const MEDIUM: usize = 2;
const LARGE: usize = 3;

/// Places of IoU 0.50 and 0.75 among the thresholds.
const IOU_50: usize = 0;
const IOU_75: usize = 5;

/// COCO's numbers for boxes or for masks. All lie in 0..=1, or are -1 where the ground truth has no
/// such object.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Summary {
    /// What was compared.
    pub iou_type: IouType,
    /// In COCO's order: AP, AP50, AP75, AP of small, medium and large objects; average recall with 1,
    /// 10 and 100 detections a picture, and with 100 of small, medium and large objects.
    pub stats: [f64; 12],
    /// AP at each of [`IOU_THRESHOLDS`](super::IOU_THRESHOLDS).
    pub per_iou: Vec<f64>,
    /// By rising id, the categories without objects too.
    pub per_category: Vec<CategoryAp>,
    /// What thresholds of the score keep, by rising score; none where no object is labelled, or scores are
    /// not between 0 and 1.
    pub thresholds: Vec<Kept>,
}

/// One category's part in a [`Summary`]; -1 where it has no such object.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct CategoryAp {
    /// The source's id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Annotations, crowds not counted.
    pub instances: usize,
    /// AP, the mean over the IoU thresholds.
    pub ap: f64,
    /// AP at IoU 0.50.
    pub ap50: f64,
    /// AP at IoU 0.75.
    pub ap75: f64,
    /// AP of objects up to 32 x 32 pixels.
    pub ap_small: f64,
    /// AP of objects between.
    pub ap_medium: f64,
    /// AP of objects from 96 x 96 pixels.
    pub ap_large: f64,
    /// Average recall with 100 detections a picture.
    pub ar: f64,
    /// With the threshold of the highest F1 over all categories; none where there is none.
    pub at_best: Option<Counts>,
}

impl Summary {
    pub(super) fn new(
        iou_type: IouType,
        categories: &[Category],
        curves: &[CategoryCurves],
    ) -> Self {
        let area = |area: usize| curves.iter().filter_map(move |c| c.areas[area].as_ref());
        let ap = |range| mean(area(range).map(|curve| mean_iou(&curve.precision)));
        let ap_at = |bit: usize| mean(area(ALL).map(|curve| curve.precision[bit]));
        let ar = |range| mean(area(range).map(|curve| mean_iou(&curve.recall)));
        let ar_of_few = |few: usize| {
            mean(
                curves
                    .iter()
                    .filter_map(|c| c.recall_of_few[few].as_ref())
                    .map(mean_iou),
            )
        };
        let per_category = categories.iter().zip(curves);
        let thresholds = kept(curves);
        let best = best(&thresholds).map(|best| best.score);
        Self {
            iou_type,
            stats: [
                ap(ALL),
                ap_at(IOU_50),
                ap_at(IOU_75),
                ap(SMALL),
                ap(MEDIUM),
                ap(LARGE),
                ar_of_few(0),
                ar_of_few(1),
                ar(ALL),
                ar(SMALL),
                ar(MEDIUM),
                ar(LARGE),
            ],
            per_iou: (0..super::IOU_THRESHOLDS.len()).map(ap_at).collect(),
            per_category: per_category
                .map(|(category, curves)| CategoryAp::new(category, curves, best))
                .collect(),
            thresholds,
        }
    }

    /// The threshold of the highest F1; of equal ones the lowest. None where nothing right is found at any.
    pub fn best_threshold(&self) -> Option<&Kept> {
        best(&self.thresholds)
    }
}

impl CategoryAp {
    fn new(category: &Category, curves: &CategoryCurves, best: Option<f64>) -> Self {
        let of = |area: usize, number: fn(&AreaCurve) -> f64| {
            curves.areas[area].as_ref().map_or(-1.0, number)
        };
        Self {
            id: category.id,
            name: category.name.clone(),
            instances: curves.areas[ALL]
                .as_ref()
                .map_or(0, |curve| curve.positives),
            ap: of(ALL, |curve| mean_iou(&curve.precision)),
            ap50: of(ALL, |curve| curve.precision[IOU_50]),
            ap75: of(ALL, |curve| curve.precision[IOU_75]),
            ap_small: of(SMALL, |curve| mean_iou(&curve.precision)),
            ap_medium: of(MEDIUM, |curve| mean_iou(&curve.precision)),
            ap_large: of(LARGE, |curve| mean_iou(&curve.precision)),
            ar: of(ALL, |curve| mean_iou(&curve.recall)),
            at_best: best.map(|threshold| Counts::new(curves, threshold)),
        }
    }
}

fn mean_iou(values: &PerIou) -> f64 {
    mean(values.iter().copied())
}

/// -1 of nothing, as pycocotools has it.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0usize, 0.0), |(count, sum), value| {
        (count + 1, sum + value)
    });
    if count == 0 {
        return -1.0;
    }
    sum / count as f64
}

impl fmt::Display for Summary {
    /// pycocotools' table of twelve lines, without a line break at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ROWS: [(&str, &str, u32); 12] = [
            ("0.50:0.95", "all", 100),
            ("0.50", "all", 100),
            ("0.75", "all", 100),
            ("0.50:0.95", "small", 100),
            ("0.50:0.95", "medium", 100),
            ("0.50:0.95", "large", 100),
            ("0.50:0.95", "all", 1),
            ("0.50:0.95", "all", 10),
            ("0.50:0.95", "all", 100),
            ("0.50:0.95", "small", 100),
            ("0.50:0.95", "medium", 100),
            ("0.50:0.95", "large", 100),
        ];
        for (i, ((iou, area, detections), value)) in ROWS.iter().zip(self.stats).enumerate() {
            let (title, short) = if i < 6 {
                ("Average Precision", "(AP)")
            } else {
                ("Average Recall", "(AR)")
            };
            let end = if i + 1 < ROWS.len() { "\n" } else { "" };
            write!(
                f,
                " {title:<18} {short} @[ IoU={iou:<9} | area={area:>6} | maxDets={detections:>3} ] = {value:0.3}{end}"
            )?;
        }
        Ok(())
    }
}

/// What `evaluate` writes as JSON: `stats`, `per_iou`, `per_category` and `thresholds` of one comparison, and where
/// boxes and masks were both compared, the masks' beside them, as `stats_segm` and so on.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Boxes, or what alone was compared.
    pub first: Summary,
    /// Masks.
    pub masks: Option<Summary>,
}

impl Report {
    /// What COCO's users know and others may not: why some of the numbers are -1, if any are.
    pub fn remark(&self) -> Option<&'static str> {
        let summaries = [Some(&self.first), self.masks.as_ref()];
        let lacking = (summaries.iter().flatten()).any(|summary| summary.stats.contains(&-1.0));
        lacking.then_some("-1: no object of that kind is labelled")
    }
}

impl From<Summary> for Report {
    fn from(first: Summary) -> Self {
        Self { first, masks: None }
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("iou_type", &self.first.iou_type)?;
        map.serialize_entry("stats", &self.first.stats)?;
        if let Some(masks) = &self.masks {
            map.serialize_entry("stats_segm", &masks.stats)?;
        }
        map.serialize_entry("per_iou", &self.first.per_iou)?;
        map.serialize_entry("per_category", &self.first.per_category)?;
        map.serialize_entry("thresholds", &self.first.thresholds)?;
        if let Some(masks) = &self.masks {
            map.serialize_entry("per_iou_segm", &masks.per_iou)?;
            map.serialize_entry("per_category_segm", &masks.per_category)?;
            map.serialize_entry("thresholds_segm", &masks.thresholds)?;
        }
        map.end()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.masks {
            None => self.first.fmt(f),
            Some(masks) => write!(
                f,
                "{}:\n{}\n{}:\n{masks}",
                self.first.iou_type, self.first, masks.iou_type
            ),
        }
    }
}
