//! What a threshold of the score keeps: precision and recall, to choose the one that a detector is used with.

use serde::Serialize;

use super::curve::CategoryCurves;

/// The detections whose score is no lower than a threshold, of all categories together, at an IoU of 0.50. Areas and the most
/// detections a picture are as in AP.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Kept {
    /// The threshold.
    pub score: f64,
    /// Share of these detections that are right; 0 of none.
    pub precision: f64,
    /// Share of the objects that are found.
    pub recall: f64,
    /// The harmonic mean of both.
    pub f1: f64,
}

/// What the threshold of the highest F1 leaves of one category, at an IoU of 0.50.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Objects that are found.
    pub found: usize,
    /// Objects that are not.
    pub missed: usize,
    /// Detections that match none of its objects which no stronger one has found.
    pub wrong: usize,
}

impl Counts {
    pub(super) fn new(category: &CategoryCurves, threshold: f64) -> Self {
        let kept = |right: bool| {
            let judged = category.judged.iter();
            judged
                .filter(|(score, is_right)| *score >= threshold && *is_right == right)
                .count()
        };
        let objects = category.areas[0].as_ref().map_or(0, |all| all.positives);
        Self {
            found: kept(true),
            missed: objects - kept(true),
            wrong: kept(false),
        }
    }
}

/// The threshold of the highest F1; of equal ones the lowest. None where nothing right is found at any.
pub(super) fn best(thresholds: &[Kept]) -> Option<&Kept> {
    // `max_by` has the last of equals.
    let falling = thresholds.iter().rev().filter(|kept| kept.f1 > 0.0);
    falling.max_by(|a, b| a.f1.total_cmp(&b.f1))
}

/// Of each threshold 0.05, 0.10, .., 0.95; none where there is no object to be found, or scores are not between 0 and 1.
pub(super) fn kept(categories: &[CategoryCurves]) -> Vec<Kept> {
    let positives: usize = categories
        .iter()
        .filter_map(|category| category.areas[0].as_ref())
        .map(|curve| curve.positives)
        .sum();
    if positives == 0 {
        return Vec::new();
    }
    let judged = || categories.iter().flat_map(|category| &category.judged);
    // With room for rounding.
    if judged().any(|(score, _)| !(-1e-6..=1.0 + 1e-6).contains(score)) {
        return Vec::new();
    }
    let at = |step: u32| {
        let score = f64::from(step) / 20.0;
        let kept = judged().filter(|(of, _)| *of >= score);
        let (all, right) = kept.fold((0usize, 0usize), |(all, right), (_, is_right)| {
            (all + 1, right + usize::from(*is_right))
        });
        Kept {
            score,
            precision: right as f64 / all.max(1) as f64,
            recall: right as f64 / positives as f64,
            f1: 2.0 * right as f64 / (all + positives) as f64,
        }
    };
    (1..20).map(at).collect()
}
