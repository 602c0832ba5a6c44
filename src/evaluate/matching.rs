//! One category in one picture: which detections hit which objects.

use std::borrow::Cow;
use std::cmp::Ordering;

use intertwine_rle::Rle;

use super::{AREA_RANGES, IOU_THRESHOLDS, MAX_DETECTIONS};

/// Where something is.
pub(super) enum Region<'a> {
    Box([f64; 4]),
    /// Area and box are kept beside the mask, as each is compared many times.
    Mask {
        mask: Cow<'a, Rle>,
        area: u64,
        bounds: [f64; 4],
    },
}

impl<'a> Region<'a> {
    /// `[x, y, width, height]` in pixels.
    pub fn from_box(bbox: [f64; 4]) -> Self {
        Self::Box(bbox)
    }

    pub fn from_mask(mask: Cow<'a, Rle>) -> Self {
        Self::Mask {
            area: mask.area(),
            bounds: mask.bbox(),
            mask,
        }
    }

    /// Intersection over union, or over this region alone where the other is a crowd.
    fn iou(&self, target: &Region, crowd: bool) -> f64 {
        let (a, b) = (self.bounds(), target.bounds());
        let shared = box_intersection(a, b);
        if shared == 0.0 {
            return 0.0;
        }
        if let (
            Region::Mask { mask, area, .. },
            Region::Mask {
                mask: other,
                area: other_area,
                ..
            },
        ) = (self, target)
        {
            return match mask.intersection_area(other) {
                0 => 0.0,
                shared if crowd => shared as f64 / *area as f64,
                shared => shared as f64 / (area + other_area - shared) as f64,
            };
        }
        // In pycocotools' order of operations: thresholds are met or missed by the last bit.
        let area = a[2] * a[3];
        shared
            / if crowd {
                area
            } else {
                area + b[2] * b[3] - shared
            }
    }

    fn bounds(&self) -> &[f64; 4] {
        match self {
            Self::Box(bounds) | Self::Mask { bounds, .. } => bounds,
        }
    }
}

/// Shared area of two boxes `[x, y, width, height]`; 0 where they only touch.
fn box_intersection(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let width = (a[0] + a[2]).min(b[0] + b[2]) - a[0].max(b[0]);
    let height = (a[1] + a[3]).min(b[1] + b[3]) - a[1].max(b[1]);
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    width * height
}

/// An annotation to be found.
pub(super) struct Target<'a> {
    pub region: Region<'a>,
    /// In square pixels.
    pub area: f64,
    pub crowd: bool,
}

/// A detection to be judged.
pub(super) struct Candidate<'a> {
    pub region: Region<'a>,
    /// In square pixels.
    pub area: f64,
    pub score: f64,
}

/// The judgement of one picture's detections of one category.
pub(super) struct ImageMatches {
    /// Of the detections that count, falling.
    pub scores: Vec<f64>,
    /// By area range.
    pub areas: [AreaMatches; AREA_RANGES.len()],
}

/// The part of [`ImageMatches`] for objects of one range of areas.
pub(super) struct AreaMatches {
    /// Objects to be found.
    pub positives: usize,
    /// By detection, in the order of the scores.
    pub outcomes: Vec<Outcome>,
}

/// What became of a detection, one bit an IoU threshold. Neither bit is set where it is ignored: on a
/// crowd or an object of another size, or itself of another size and on nothing.
#[derive(Clone, Copy, Default)]
pub(super) struct Outcome {
    pub true_positive: u16,
    pub false_positive: u16,
}

/// Gives each detection, best score first, the object it overlaps most, if that is enough and nobody
/// took it before: for each area range and IoU threshold anew.
pub(super) fn match_image(targets: &[&Target], mut candidates: Vec<&Candidate>) -> ImageMatches {
    // Stable: of equal scores the earlier one goes first.
    candidates.sort_by(|a, b| falling(a.score, b.score));
    candidates.truncate(MAX_DETECTIONS);
    let overlaps: Vec<Vec<Overlap>> = candidates
        .iter()
        .map(|candidate| overlaps(candidate, targets))
        .collect();
    ImageMatches {
        scores: candidates.iter().map(|candidate| candidate.score).collect(),
        areas: AREA_RANGES.map(|range| match_area(range, targets, &candidates, &overlaps)),
    }
}

/// An object that a detection overlaps enough for the lowest threshold.
struct Overlap {
    target: usize,
    iou: f64,
}

fn overlaps(candidate: &Candidate, targets: &[&Target]) -> Vec<Overlap> {
    let all = targets.iter().enumerate().map(|(target, t)| {
        let iou = candidate.region.iou(&t.region, t.crowd);
        Overlap { target, iou }
    });
    all.filter(|overlap| overlap.iou >= IOU_THRESHOLDS[0])
        .collect()
}

fn match_area(
    [smallest, largest]: [f64; 2],
    targets: &[&Target],
    candidates: &[&Candidate],
    overlaps: &[Vec<Overlap>],
) -> AreaMatches {
    let outside = |area: f64| area < smallest || area > largest;
    let ignored: Vec<bool> = targets
        .iter()
        .map(|target| target.crowd || outside(target.area))
        .collect();
    let mut outcomes = vec![Outcome::default(); candidates.len()];
    let mut taken = vec![false; targets.len()];
    for (bit, &threshold) in IOU_THRESHOLDS.iter().enumerate() {
        taken.fill(false);
        for ((candidate, overlaps), outcome) in candidates.iter().zip(overlaps).zip(&mut outcomes) {
            // Objects to be found come before ignored ones, whatever the overlap.
            let best = |among_ignored: bool| {
                overlaps
                    .iter()
                    .filter(|o| ignored[o.target] == among_ignored && o.iou >= threshold)
                    .filter(|o| !taken[o.target] || targets[o.target].crowd)
                    // Of equal overlaps the last, as `max_by` has it.
                    .max_by(|a, b| a.iou.total_cmp(&b.iou))
            };
            match best(false).or_else(|| best(true)) {
                Some(overlap) => {
                    taken[overlap.target] = true;
                    outcome.true_positive |= u16::from(!ignored[overlap.target]) << bit;
                }
                None => outcome.false_positive |= u16::from(!outside(candidate.area)) << bit,
            }
        }
    }
    AreaMatches {
        positives: ignored.iter().filter(|&&ignored| !ignored).count(),
        outcomes,
    }
}

/// The order of falling scores. They are finite, and 0 equals -0, which it does not in `total_cmp`.
pub(super) fn falling(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}
