//! One category over all pictures: precision over recall.

use super::matching::{falling, ImageMatches, Outcome};
use super::{AREA_RANGES, IOU_THRESHOLDS};

/// A number for each IoU threshold.
pub(super) type PerIou = [f64; IOU_THRESHOLDS.len()];

/// Fewer detections a picture at which recall is told, beside the most.
pub(super) const FEW_DETECTIONS: [usize; 2] = [1, 10];

/// What the summary needs of a category; `None` where it has no object to be found.
#[derive(Clone, Default)]
pub(super) struct CategoryCurves {
    /// By area range, with the most detections a picture.
    pub areas: [Option<AreaCurve>; AREA_RANGES.len()],
    /// Recall at [`FEW_DETECTIONS`], of all areas.
    pub recall_of_few: [Option<PerIou>; FEW_DETECTIONS.len()],
    /// Of all areas, the score of each detection that is right or wrong at an IoU of 0.50, and whether it is right.
    pub judged: Vec<(f64, bool)>,
}

/// A category's precision and recall for objects of one range of areas.
#[derive(Clone)]
pub(super) struct AreaCurve {
    /// Precision averaged over 101 recalls: average precision.
    pub precision: PerIou,
    /// Highest recall reached.
    pub recall: PerIou,
    /// Objects to be found.
    pub positives: usize,
}

impl CategoryCurves {
    /// From the matches in all pictures that have the category, by rising image id.
    pub fn new(images: &[ImageMatches]) -> Self {
        let positives = |area: usize| {
            images
                .iter()
                .map(|image| image.areas[area].positives)
                .sum::<usize>()
        };
        let curve = |area| {
            let outcomes = by_score(images, area);
            Some(positives(area))
                .filter(|&n| n > 0)
                .map(|n| AreaCurve::new(&outcomes, n))
        };
        let recall_of_few = |few: usize| {
            let first = images
                .iter()
                .flat_map(|image| image.areas[0].outcomes.iter().take(few));
            Some(positives(0))
                .filter(|&n| n > 0)
                .map(|n| recall(first, n))
        };
        let judged = images.iter().flat_map(|image| {
            let outcomes = &image.areas[0].outcomes;
            let judged = |(score, outcome): (&f64, &Outcome)| {
                let right = outcome.true_positive & 1 == 1;
                let wrong = outcome.false_positive & 1 == 1;
                (right || wrong).then_some((*score, right))
            };
            image.scores.iter().zip(outcomes).filter_map(judged)
        });
        Self {
            areas: std::array::from_fn(curve),
            recall_of_few: FEW_DETECTIONS.map(recall_of_few),
            judged: judged.collect(),
        }
    }
}

/// All pictures' outcomes by falling score; of equal scores, those of the lower image id first.
fn by_score(images: &[ImageMatches], area: usize) -> Vec<Outcome> {
    let mut scored: Vec<(f64, Outcome)> = images
        .iter()
        .flat_map(|image| {
            image
                .scores
                .iter()
                .copied()
                .zip(image.areas[area].outcomes.iter().copied())
        })
        .collect();
    scored.sort_by(|a, b| falling(a.0, b.0));
    scored.into_iter().map(|(_, outcome)| outcome).collect()
}

fn recall<'a>(outcomes: impl Iterator<Item = &'a Outcome>, positives: usize) -> PerIou {
    let mut found = [0usize; IOU_THRESHOLDS.len()];
    for outcome in outcomes {
        for (bit, found) in found.iter_mut().enumerate() {
            *found += usize::from(outcome.true_positive >> bit & 1);
        }
    }
    found.map(|found| found as f64 / positives as f64)
}

impl AreaCurve {
    fn new(outcomes: &[Outcome], positives: usize) -> Self {
        Self {
            precision: std::array::from_fn(|bit| average_precision(outcomes, bit, positives)),
            recall: recall(outcomes.iter(), positives),
            positives,
        }
    }
}

/// Precision averaged over the recalls 0, 0.01, .., 1, at each the best precision reached with that
/// recall or a higher one, and 0 beyond the highest.
///
/// pycocotools takes the best over all detections; it is always found at a true positive, so only
/// those are kept.
fn average_precision(outcomes: &[Outcome], bit: usize, positives: usize) -> f64 {
    let (mut hits, mut misses) = (0.0, 0.0);
    let mut precision = Vec::new();
    for outcome in outcomes {
        if outcome.true_positive >> bit & 1 == 1 {
            hits += 1.0;
            // The epsilon is pycocotools'.
            precision.push(hits / (misses + hits + f64::EPSILON));
        } else if outcome.false_positive >> bit & 1 == 1 {
            misses += 1.0;
        }
    }
    let mut best: f64 = 0.0;
    for value in precision.iter_mut().rev() {
        best = best.max(*value);
        *value = best;
    }

    const RECALLS: usize = 101;
    let mut reached = (1..)
        .map(|hits| f64::from(hits) / positives as f64)
        .zip(precision)
        .peekable();
    let mut sum = 0.0;
    for step in 0..RECALLS {
        let wanted = step as f64 * 0.01; // 100 * 0.01 is exactly 1.
        while reached.next_if(|&(recall, _)| recall < wanted).is_some() {}
        match reached.peek() {
            Some(&(_, precision)) => sum += precision,
            None => break,
        }
    }
    sum / RECALLS as f64
}
