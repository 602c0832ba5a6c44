//! Which anchor point answers for which object.
//!
//! [`DynamicTopK`] is RTMDet's (Lyu et al. 2022, section 3.3, after OTA and SimOTA); [`Fcos`] is the static rule of
//! FCOS (Tian et al. 2019), its oracle and fallback. A config names one of them.

use intertwine_detect::iou;
use serde::{Deserialize, Serialize};

use super::boxes::{area, centre, contains};
use crate::export::DetectorSpec;

/// A location of a feature map that predicts one box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anchor {
    /// Centre in pixels of the input.
    pub x: f32,
    /// Centre in pixels of the input.
    pub y: f32,
    /// Pixels between neighbours of its map.
    pub stride: f32,
}

/// The anchor points of a detector, level after level, row-major.
pub fn anchors(spec: &DetectorSpec) -> Vec<Anchor> {
    let points = spec.anchor_points();
    points
        .map(|([x, y], stride)| Anchor { x, y, stride })
        .collect()
}

/// An object to be found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// `[x0, y0, x1, y1]` in pixels of the input.
    pub bbox: [f32; 4],
    /// Class index.
    pub class: usize,
}

/// What the network says at each anchor now.
#[derive(Clone, Copy, Debug)]
pub struct Predictions<'a> {
    /// `[anchors, classes]` logits.
    pub logits: &'a [f32],
    /// `[anchors]` boxes x0, y0, x1, y1.
    pub boxes: &'a [[f32; 4]],
    /// Classes.
    pub classes: usize,
}

/// Chooses, for each anchor, the index of its object, if any.
pub trait Assigner: Send + Sync {
    /// One entry an anchor.
    fn assign(
        &self,
        anchors: &[Anchor],
        predictions: Predictions<'_>,
        objects: &[Object],
    ) -> Vec<Option<usize>>;
}

/// Which rule chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// [`DynamicTopK`].
    #[default]
    Dynamic,
    /// [`Fcos`].
    Fcos,
}

/// How anchors are chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignConfig {
    /// The rule.
    pub rule: Rule,
    /// The most anchors for an object, at least 1, of the dynamic rule.
    pub top_k: usize,
}

impl Default for AssignConfig {
    fn default() -> Self {
        Self {
            rule: Rule::default(),
            top_k: DynamicTopK::default().top_k,
        }
    }
}

impl AssignConfig {
    /// Who chooses.
    pub fn assigner(&self) -> Box<dyn Assigner> {
        match self.rule {
            Rule::Dynamic => Box::new(DynamicTopK { top_k: self.top_k }),
            Rule::Fcos => Box::new(Fcos::default()),
        }
    }
}

/// Cost = soft-label classification + 3 * -log IoU + 10^(distance / stride - 3); each object takes as many
/// of its cheapest anchors as its best overlaps add up to, at most `top_k`.
#[derive(Clone, Copy, Debug)]
pub struct DynamicTopK {
    /// The most anchors for an object.
    pub top_k: usize,
}

impl Default for DynamicTopK {
    fn default() -> Self {
        Self { top_k: 13 }
    }
}

impl Assigner for DynamicTopK {
    fn assign(
        &self,
        anchors: &[Anchor],
        predictions: Predictions<'_>,
        objects: &[Object],
    ) -> Vec<Option<usize>> {
        let mut owner: Vec<Option<(f32, usize)>> = vec![None; anchors.len()];
        for (o, object) in objects.iter().enumerate() {
            let mut candidates: Vec<(f32, f32, usize)> = Vec::new();
            let (cx, cy) = centre(object.bbox);
            for (a, anchor) in anchors.iter().enumerate() {
                if !contains(object.bbox, anchor.x, anchor.y) {
                    continue;
                }
                let overlap = iou(predictions.boxes[a], object.bbox);
                let logit = predictions.logits[a * predictions.classes + object.class];
                let distance =
                    ((anchor.x - cx).powi(2) + (anchor.y - cy).powi(2)).sqrt() / anchor.stride;
                let cost = soft_label_cost(logit, overlap) - 3.0 * (overlap + 1e-7).ln()
                    + 10f32.powf((distance - 3.0).min(8.0));
                candidates.push((cost, overlap, a));
            }
            if candidates.is_empty() {
                // Smaller than the grid: the nearest point of the finest map, so that it is not lost.
                if let Some(a) = nearest(anchors, cx, cy) {
                    candidates.push((0.0, 0.0, a));
                }
            }
            let mut overlaps: Vec<f32> = candidates.iter().map(|c| c.1).collect();
            overlaps.sort_unstable_by(|a, b| b.total_cmp(a));
            let k = overlaps.iter().take(self.top_k).sum::<f32>() as usize;
            candidates.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.2.cmp(&b.2)));
            for &(cost, _, a) in candidates.iter().take(k.max(1)) {
                // An anchor wanted twice goes where it is cheaper.
                if owner[a].is_none_or(|(other, _)| cost < other) {
                    owner[a] = Some((cost, o));
                }
            }
        }
        owner
            .into_iter()
            .map(|o| o.map(|(_, object)| object))
            .collect()
    }
}

/// Binary cross-entropy against the overlap as soft label, times |overlap - score|^2.
fn soft_label_cost(logit: f32, overlap: f32) -> f32 {
    let score = 1.0 / (1.0 + (-logit).exp());
    let bce = logit.max(0.0) - logit * overlap + (-logit.abs()).exp().ln_1p();
    bce * (overlap - score).powi(2)
}

fn nearest(anchors: &[Anchor], x: f32, y: f32) -> Option<usize> {
    let finest = anchors
        .iter()
        .map(|a| a.stride)
        .fold(f32::INFINITY, f32::min);
    let distance = |a: &Anchor| (a.x - x).powi(2) + (a.y - y).powi(2);
    anchors
        .iter()
        .enumerate()
        .filter(|(_, a)| a.stride == finest)
        .min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)))
        .map(|(i, _)| i)
}

/// Inside the box, within `radius` strides of its centre, on the level whose range its largest distance to
/// a side falls in; ties go to the smaller object.
#[derive(Clone, Copy, Debug)]
pub struct Fcos {
    /// Centre radius in strides.
    pub radius: f32,
    /// A level takes distances up to this many strides (and from half of it).
    pub reach: f32,
}

impl Default for Fcos {
    fn default() -> Self {
        Self {
            radius: 1.5,
            reach: 8.0,
        }
    }
}

impl Assigner for Fcos {
    fn assign(
        &self,
        anchors: &[Anchor],
        _: Predictions<'_>,
        objects: &[Object],
    ) -> Vec<Option<usize>> {
        let finest = anchors
            .iter()
            .map(|a| a.stride)
            .fold(f32::INFINITY, f32::min);
        let coarsest = anchors.iter().map(|a| a.stride).fold(0.0, f32::max);
        let fits = |anchor: &Anchor, object: &Object| {
            let [x0, y0, x1, y1] = object.bbox;
            let (cx, cy) = centre(object.bbox);
            let reach = (anchor.x - x0)
                .max(anchor.y - y0)
                .max(x1 - anchor.x)
                .max(y1 - anchor.y);
            let (low, high) = (self.reach * anchor.stride / 2.0, self.reach * anchor.stride);
            contains(object.bbox, anchor.x, anchor.y)
                && (anchor.x - cx).abs() < self.radius * anchor.stride
                && (anchor.y - cy).abs() < self.radius * anchor.stride
                && (reach > low || anchor.stride == finest)
                && (reach <= high || anchor.stride == coarsest)
        };
        anchors
            .iter()
            .map(|anchor| {
                let candidates = objects.iter().enumerate().filter(|(_, o)| fits(anchor, o));
                candidates
                    .min_by(|a, b| area(a.1.bbox).total_cmp(&area(b.1.bbox)))
                    .map(|(i, _)| i)
            })
            .collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Anchor points of square maps; `maps` are (side, stride).
    pub fn anchors(maps: &[(usize, f32)]) -> Vec<Anchor> {
        maps.iter()
            .flat_map(|&(side, stride)| {
                (0..side * side).map(move |i| Anchor {
                    x: ((i % side) as f32 + 0.5) * stride,
                    y: ((i / side) as f32 + 0.5) * stride,
                    stride,
                })
            })
            .collect()
    }

    #[test]
    fn the_class_cost_by_hand() {
        let ln = |x: f32| x.ln();
        // Score 1/2 where 1 is wanted: ln 2, times (1 - 1/2)^2.
        assert!((soft_label_cost(0.0, 1.0) - 0.25 * ln(2.0)).abs() < 1e-6);
        // Logit ln 3 is a score of 3/4; 1/4 is wanted: -(ln(3/4) + 3 ln(1/4)) / 4, times 1/4.
        let expected = -0.25 * (ln(0.75) + 3.0 * ln(0.25)) / 4.0;
        assert!((soft_label_cost(ln(3.0), 0.25) - expected).abs() < 1e-6);
    }

    #[test]
    fn the_cheapest_anchor_by_hand() {
        // Two anchors in the box, 4 pixels left and right of its centre, all else equal. Left: overlap 1/2, score 1/2:
        // ln 2 * 0 + 3 ln 2 + 10^(4/8 - 3) = 2.08. Right: overlap 1/4, score 1/4: 3 ln 4 + .. = 4.16.
        let anchors = anchors(&[(2, 8.0)])[..2].to_vec();
        let object = Object {
            bbox: [0.0, 0.0, 16.0, 8.0],
            class: 0,
        };
        let boxes = [[0.0, 0.0, 8.0, 8.0], [12.0, 0.0, 16.0, 8.0]];
        let predictions = Predictions {
            logits: &[0.0, (1.0f32 / 3.0).ln()],
            boxes: &boxes,
            classes: 1,
        };
        // The overlaps add up to less than 1: one anchor.
        let owners = DynamicTopK::default().assign(&anchors, predictions, &[object]);
        assert_eq!(owners, [Some(0), None]);
        // With a sure right one, score near 1, the class costs it 0.56 * 6.9; with a box as good as the left one it
        // would still lose by that.
        let same = [boxes[0], [8.0, 0.0, 16.0, 8.0]];
        let predictions = Predictions {
            logits: &[0.0, 9.2],
            boxes: &same,
            classes: 1,
        };
        let owners = DynamicTopK { top_k: 1 }.assign(&anchors, predictions, &[object]);
        assert_eq!(owners, [Some(0), None]);
    }

    /// Boxes that every anchor predicts right, and indifferent scores.
    fn perfect(anchors: &[Anchor], objects: &[Object]) -> (Vec<f32>, Vec<[f32; 4]>) {
        let boxes = anchors
            .iter()
            .map(|a| {
                objects
                    .iter()
                    .find(|o| contains(o.bbox, a.x, a.y))
                    .map_or([0.0; 4], |o| o.bbox)
            })
            .collect();
        (vec![0.0; anchors.len() * 2], boxes)
    }

    #[test]
    fn an_object_takes_as_many_anchors_as_its_overlaps_add_up_to() {
        let anchors = anchors(&[(8, 8.0)]);
        let objects = [Object {
            bbox: [8.0, 8.0, 40.0, 40.0],
            class: 1,
        }];
        let (logits, boxes) = perfect(&anchors, &objects);
        let p = Predictions {
            logits: &logits,
            boxes: &boxes,
            classes: 2,
        };
        let owners = DynamicTopK::default().assign(&anchors, p, &objects);
        // 16 points lie inside, each overlapping wholly; 13 at most.
        assert_eq!(owners.iter().flatten().count(), 13);
        // As a config says; FCOS takes the four points that are closer to the centre than a stride and a half.
        for (rule, top_k, expected) in [(Rule::Dynamic, 5, 5), (Rule::Fcos, 5, 4)] {
            let assigner = AssignConfig { rule, top_k }.assigner();
            let owners = assigner.assign(&anchors, p, &objects);
            assert_eq!(owners.iter().flatten().count(), expected, "{rule:?}");
        }
        // With boxes that overlap by 0.1 each, 1.3 -> 1: the one nearest to the centre.
        let small: Vec<[f32; 4]> = boxes
            .iter()
            .map(|_| [8.0, 8.0, 8.0 + 32.0, 8.0 + 3.2])
            .collect();
        let p = Predictions {
            logits: &logits,
            boxes: &small,
            classes: 2,
        };
        let owners = DynamicTopK::default().assign(&anchors, p, &objects);
        let chosen: Vec<usize> = owners
            .iter()
            .enumerate()
            .filter_map(|(i, o)| o.map(|_| i))
            .collect();
        assert_eq!(chosen.len(), 1);
        let a = anchors[chosen[0]];
        assert_eq!((a.x - 24.0).abs().max((a.y - 24.0).abs()), 4.0);
    }

    #[test]
    fn objects_between_the_points_are_not_lost() {
        let anchors = anchors(&[(4, 8.0), (2, 16.0)]);
        let objects = [Object {
            bbox: [5.0, 5.0, 7.0, 7.0],
            class: 0,
        }];
        let (logits, boxes) = perfect(&anchors, &objects);
        let p = Predictions {
            logits: &logits,
            boxes: &boxes,
            classes: 2,
        };
        let owners = DynamicTopK::default().assign(&anchors, p, &objects);
        assert_eq!(owners.iter().flatten().count(), 1);
        assert!(owners[..16].iter().any(Option::is_some));
    }

    #[test]
    fn fcos_prefers_the_smaller_object_and_the_fitting_level() {
        let anchors = anchors(&[(8, 8.0), (4, 16.0)]);
        let objects = [
            Object {
                bbox: [0.0, 0.0, 64.0, 64.0],
                class: 0,
            },
            Object {
                bbox: [20.0, 20.0, 44.0, 44.0],
                class: 1,
            },
        ];
        let owners = Fcos {
            radius: 1.5,
            reach: 4.0,
        }
        .assign(
            &anchors,
            Predictions {
                logits: &[],
                boxes: &[],
                classes: 2,
            },
            &objects,
        );
        // The small one is 12 px from centre to side: the fine level (up to 32 px).
        assert!(owners[..64].iter().flatten().all(|o| *o == 1));
        assert!(owners[..64].iter().flatten().count() > 0);
        assert!(owners[64..].iter().flatten().all(|o| *o == 0));
        assert!(owners[64..].iter().flatten().count() > 0);
    }

    #[test]
    fn no_objects_no_owners() {
        let anchors = anchors(&[(2, 8.0)]);
        let p = Predictions {
            logits: &[0.0; 4],
            boxes: &[[0.0; 4]; 4],
            classes: 1,
        };
        assert!(DynamicTopK::default()
            .assign(&anchors, p, &[])
            .iter()
            .all(Option::is_none));
    }
}
