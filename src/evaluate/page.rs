//! What a report shows of an evaluation: figures, classes, and pictures with what is labelled beside what is found.

use std::path::Path;

use image::{imageops, RgbImage};
use intertwine_datasets::{Category, PackedSet, Sample};
use intertwine_detect::draw::{draw, draw_labels};
use intertwine_detect::{Class, Detection, Detector};

use super::model::{ids_in, ScoreError};
use super::{CategoryAp, IouType, Kept, Report};
use crate::report::pictures::contact_sheet;
use crate::report::{LinePlot, Section, Table, Tile};

/// Pictures that are shown, evenly spread over the set.
const PICTURES: usize = 8;
/// None is shown with a longer side than this: two beside each other fill the page.
const LONGEST_SIDE: u32 = 540;

/// The sections on what the detector at `model` scored on `data`.
///
/// # Errors
/// If the model or a picture cannot be read.
pub fn sections(
    model: &Path,
    data: &PackedSet,
    score: &Report,
) -> Result<Vec<Section>, ScoreError> {
    let best = score.first.best_threshold();
    let mut figures = Section::new("Average precision")
        .text(format!(
            "COCO's definition, on the {} pictures of {}.",
            data.len(),
            data.folder().display()
        ))
        .tiles(tiles(score))
        .table(classes(score));
    if let Some(best) = best {
        let counted = "So counted, the table says how many boxes of each class were found and missed, and how many detections are \
                       wrong, a second one of an object among them.";
        figures = figures
            .line_plot(kept(score))
            .text(format!("{} {counted}", advice(best)));
    }
    let mut pairs = Pairs::new(model, data)?;
    let mut thresholds = *pairs.detector.thresholds();
    let mut why = "its threshold for display";
    // What a weak detector finds is below that, and would leave its pictures empty.
    if let Some(best) = best {
        (thresholds.score, why) = (best.score as f32, "where F1 is highest");
        pairs.detector.set_thresholds(thresholds);
    }
    let shown = PICTURES.min(data.len());
    if shown == 0 {
        return Ok(vec![figures]);
    }
    let records = (0..shown).map(|i| (2 * i + 1) * data.len() / (2 * shown));
    let pictures = records
        .map(|record| pairs.draw(record))
        .collect::<Result<Vec<_>, _>>()?;
    let about = format!(
        "Pictures from all over the set: on the left what is labelled, on the right what the exported detector finds with \
         a score of {:.2} or more, {why}.",
        thresholds.score
    );
    let drawn = Section::new("Labels and detections")
        .text(about)
        .pictures(pictures);
    Ok(vec![figures, drawn])
}

/// As COCO's tables have it; nothing where there is no such object.
fn number(share: f64) -> String {
    match share {
        share if share < 0.0 => "-".into(),
        share => format!("{share:.3}"),
    }
}

fn tiles(score: &Report) -> Vec<Tile> {
    let mut tiles = Vec::new();
    for summary in std::iter::once(&score.first).chain(&score.masks) {
        let noun = match summary.iou_type {
            IouType::Bbox => "box",
            IouType::Segm => "mask",
        };
        let [ap, ap50, ap75, small, medium, large, ..] = summary.stats.map(number);
        tiles.extend([
            Tile::new(format!("{noun} AP"), ap)
                .note(format!("small {small}, medium {medium}, large {large}")),
            Tile::new(format!("{noun} AP50"), ap50).note(format!("AP75 {ap75}")),
        ]);
    }
    tiles
}

/// What thresholds of the score keep, of boxes.
fn kept(score: &Report) -> LinePlot {
    let curve = |of: fn(&Kept) -> f64| {
        let kept = score.first.thresholds.iter();
        Vec::from_iter(kept.map(|kept| (kept.score, of(kept))))
    };
    LinePlot::new("What a threshold keeps: all classes together, IoU 0.5")
        .axes("lowest score", "share")
        .series("precision", curve(|kept| kept.precision))
        .series("recall", curve(|kept| kept.recall))
        .series("F1", curve(|kept| kept.f1))
}

/// What to use a detector with.
pub fn advice(best: &Kept) -> String {
    format!(
        "F1 is highest, {:.3}, with `detect --score {:.2}`: {:.0}% of what is found is right, {:.0}% of what is there is found \
         (IoU 0.5).",
        best.f1,
        best.score,
        100.0 * best.precision,
        100.0 * best.recall
    )
}

/// A row a class, those with the most objects first.
fn classes(score: &Report) -> Table {
    let mut heads = vec!["class", "objects", "AP", "AP50", "AP75", "recall"];
    if score.masks.is_some() {
        heads.extend(["mask AP", "mask AP50"]);
    }
    heads.extend(["found", "missed", "wrong"]);
    let masks = score.masks.iter().flat_map(|masks| &masks.per_category);
    let masks = masks.map(Some).chain(std::iter::repeat(None));
    let mut rows: Vec<(&CategoryAp, _)> = score.first.per_category.iter().zip(masks).collect();
    rows.sort_by_key(|(class, _)| std::cmp::Reverse(class.instances));
    let cells = rows.into_iter().map(|(class, masks)| {
        let mut cells = vec![class.name.clone(), class.instances.to_string()];
        cells.extend([class.ap, class.ap50, class.ap75, class.ar].map(number));
        cells.extend(masks.into_iter().flat_map(|m| [m.ap, m.ap50]).map(number));
        let counts = class.at_best.map(|c| [c.found, c.missed, c.wrong]);
        cells.extend(counts.into_iter().flatten().map(|count| count.to_string()));
        cells
    });
    Table::new(heads).rows(cells)
}

/// A set beside a detector, which know the same classes; the set may know more.
struct Pairs<'a> {
    detector: Detector,
    data: &'a PackedSet,
    /// The detector's classes, then those that only the set has, so that a class has one colour.
    classes: Vec<Class>,
    /// For each category of the set its place among the classes.
    places: Vec<usize>,
}

impl<'a> Pairs<'a> {
    fn new(model: &Path, data: &'a PackedSet) -> Result<Self, ScoreError> {
        let detector = Detector::load(model)?;
        let mut classes = detector.card().classes.clone();
        let ids = ids_in(data, detector.card())?;
        let place = |category: &Category| {
            let known = ids.iter().position(|id| *id == category.id);
            known.unwrap_or_else(|| {
                classes.push(Class {
                    id: category.id,
                    name: category.name.clone(),
                });
                classes.len() - 1
            })
        };
        let places = data.categories().iter().map(place).collect();
        Ok(Self {
            detector,
            data,
            classes,
            places,
        })
    }

    /// A picture with its labels beside the same with what is found in it, and its name.
    fn draw(&mut self, record: usize) -> Result<(RgbImage, String), ScoreError> {
        let Sample {
            image: picture,
            instances,
            info,
        } = self.data.read(record)?;
        // A crowd is no object to find.
        let objects = instances.into_iter().filter(|object| !object.crowd);
        let labels = objects.map(|object| {
            let [x, y, width, height] = object.bbox;
            Detection {
                bbox: [x, y, x + width, y + height],
                score: 1.0,
                class: self.places[object.category as usize],
                mask: object.mask,
            }
        });
        let labels = Vec::from_iter(labels);
        let found = self.detector.detect(&picture)?;
        let pair = [
            draw_labels(&picture, &labels, &self.classes),
            draw(&picture, found, &self.classes),
        ];
        Ok((contact_sheet(&pair.map(fitted), 2), info.source))
    }
}

/// The picture, smaller if it is too large.
fn fitted(picture: RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longest = width.max(height);
    if longest <= LONGEST_SIDE {
        return picture;
    }
    let side =
        |length: u32| (u64::from(length) * u64::from(LONGEST_SIDE) / u64::from(longest)) as u32;
    imageops::thumbnail(&picture, side(width).max(1), side(height).max(1))
}
