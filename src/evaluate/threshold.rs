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

/// Of each threshold 0.05, 0.10, .., 0.95; none where there is no object to be found.
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
