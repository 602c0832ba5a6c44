//! From raw outputs to detections: candidates above the threshold, non-maximum suppression, masks.

use intertwine_rle::Rle;

use crate::card::{MaskCard, ModelCard};
use crate::error::DetectError;
use crate::letterbox::Letterbox;
use crate::mask::MaskAssembler;

/// What the network says about one picture, as flat row-major slices.
#[derive(Clone, Copy, Debug)]
pub struct RawOutputs<'a> {
    /// `[A, 4]`: a box `[x0, y0, x1, y1]` for each of the A anchor points, input pixels.
    pub boxes: &'a [f32],
    /// `[A, C]`: the probability of each class at each anchor point.
    pub scores: &'a [f32],
    /// `[A, P]`: the weights of the prototypes, when the model has masks.
    pub coefficients: Option<&'a [f32]>,
    /// `[P, Hm, Wm]`: the mask prototypes, when the model has masks.
    pub prototypes: Option<&'a [f32]>,
}

/// A thing found in a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// `[x0, y0, x1, y1]` in source pixels, inside the picture, of positive width and height.
    pub bbox: [f32; 4],
    /// Probability, 0..=1.
    pub score: f32,
    /// Index into the card's classes.
    pub class: usize,
    /// The pixels that belong to it, in the size of the source picture, when the model has masks.
    pub mask: Option<Rle>,
}

/// Which detections are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Lowest score kept, 0..=1.
    pub score: f32,
    /// Intersection over union above which the weaker of two boxes of one class is dropped, 0..=1.
    pub nms_iou: f32,
    /// Most detections kept in a picture.
    pub max_detections: usize,
    /// Most candidates that enter non-maximum suppression, the strongest first.
    pub pre_nms: usize,
}

impl Thresholds {
    /// For measuring: a low score threshold, since average precision looks at the whole ranking.
    pub fn evaluation(card: &ModelCard) -> Self {
        Self {
            score: card.score_threshold,
            nms_iou: card.nms_iou,
            max_detections: card.max_detections,
            pre_nms: card.pre_nms,
        }
    }

    /// For people: only what is likely there.
    pub fn display(card: &ModelCard) -> Self {
        Self {
            score: card.display_threshold,
            ..Self::evaluation(card)
        }
    }
}

/// A box and class that may become a detection.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    score: f32,
    anchor: u32,
    class: u32,
    /// Input pixels, clipped to the picture.
    bbox: [f32; 4],
}

/// The steps after the network, with buffers kept from one picture to the next.
#[derive(Default)]
pub struct Postprocessor {
    ranked: Vec<(f32, usize)>,
    candidates: Vec<Candidate>,
    kept: Vec<Candidate>,
    masks: MaskAssembler,
}

impl Postprocessor {
    /// Empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the content of `detections` by what the outputs say about one picture, strongest first.
    ///
    /// Every (anchor point, class) pair is a candidate of its own. Equal scores rank by anchor point, then
    /// class, so the result does not depend on the machine. A score or box that is not finite, and a box
    /// without area inside the picture, is no detection.
    ///
    /// # Errors
    /// Outputs whose lengths do not fit each other or the card.
    pub fn apply(
        &mut self,
        raw: &RawOutputs<'_>,
        card: &ModelCard,
        letterbox: &Letterbox,
        thresholds: &Thresholds,
        detections: &mut Vec<Detection>,
    ) -> Result<(), DetectError> {
        self.decode(raw, card, letterbox, thresholds)?;
        self.suppress(thresholds);
        self.finish(raw, card, letterbox, detections);
        Ok(())
    }

    /// Fills `candidates` with the strongest `pre_nms` pairs above the threshold, in ranking order.
    pub(crate) fn decode(
        &mut self,
        raw: &RawOutputs<'_>,
        card: &ModelCard,
        letterbox: &Letterbox,
        thresholds: &Thresholds,
    ) -> Result<(), DetectError> {
        check_lengths(raw, card)?;
        let classes = card.classes.len();
        self.ranked.clear();
        // NaN fails the comparison, so it never becomes a candidate.
        let above = raw
            .scores
            .iter()
            .enumerate()
            .filter(|(_, &s)| s >= thresholds.score && s.is_finite());
        self.ranked
            .extend(above.map(|(pair, &score)| (score, pair)));
        let order = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if self.ranked.len() > thresholds.pre_nms {
            self.ranked
                .select_nth_unstable_by(thresholds.pre_nms, order);
            self.ranked.truncate(thresholds.pre_nms);
        }
        self.ranked.sort_unstable_by(order);

        let (width, height) = letterbox.content();
        let (width, height) = (width as f32, height as f32);
        self.candidates.clear();
        self.candidates
            .extend(self.ranked.iter().filter_map(|&(score, pair)| {
                let (anchor, class) = (pair / classes, pair % classes);
                let [x0, y0, x1, y1] = *raw.boxes[4 * anchor..].first_chunk::<4>()?;
                if ![x0, y0, x1, y1].iter().all(|v| v.is_finite()) {
                    return None;
                }
                // Clipped before suppression, so that overlap is judged on what will be seen.
                let bbox = [
                    x0.clamp(0.0, width),
                    y0.clamp(0.0, height),
                    x1.clamp(0.0, width),
                    y1.clamp(0.0, height),
                ];
                let visible = bbox[2] > bbox[0] && bbox[3] > bbox[1];
                visible.then_some(Candidate {
                    score,
                    anchor: anchor as u32,
                    class: class as u32,
                    bbox,
                })
            }));
        Ok(())
    }

    /// Greedy non-maximum suppression within each class, from `candidates` into `kept`.
    pub(crate) fn suppress(&mut self, thresholds: &Thresholds) {
        self.kept.clear();
        for candidate in &self.candidates {
            if self.kept.len() == thresholds.max_detections {
                break;
            }
            let hidden = self.kept.iter().any(|stronger| {
                stronger.class == candidate.class
                    && iou(stronger.bbox, candidate.bbox) > thresholds.nms_iou
            });
            if !hidden {
                self.kept.push(*candidate);
            }
        }
    }

    /// Turns what was `kept` into detections in source pixels, with masks.
    pub(crate) fn finish(
        &mut self,
        raw: &RawOutputs<'_>,
        card: &ModelCard,
        letterbox: &Letterbox,
        detections: &mut Vec<Detection>,
    ) {
        let Self { kept, masks, .. } = self;
        masks.recycle(detections.drain(..).filter_map(|old| old.mask));
        detections.extend(kept.iter().map(|candidate| {
            let bbox = letterbox.to_source(candidate.bbox);
            let mask = match (raw.coefficients, raw.prototypes, card.masks) {
                (
                    Some(coefficients),
                    Some(prototypes),
                    Some(MaskCard {
                        prototypes: count,
                        stride,
                    }),
                ) => {
                    let row = &coefficients[candidate.anchor as usize * count..][..count];
                    Some(masks.assemble(row, prototypes, stride, letterbox, bbox))
                }
                _ => None,
            };
            Detection {
                bbox,
                score: candidate.score,
                class: candidate.class as usize,
                mask,
            }
        }));
    }
}

/// [`Postprocessor::apply`] for a single picture, allocating its buffers.
///
/// # Errors
/// Outputs whose lengths do not fit each other or the card.
pub fn postprocess(
    raw: &RawOutputs<'_>,
    card: &ModelCard,
    letterbox: &Letterbox,
    thresholds: &Thresholds,
) -> Result<Vec<Detection>, DetectError> {
    let mut detections = Vec::new();
    Postprocessor::new().apply(raw, card, letterbox, thresholds, &mut detections)?;
    Ok(detections)
}

/// Intersection over union of two boxes `[x0, y0, x1, y1]`; 0 when both are empty.
pub fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let overlap = |a0: f32, a1: f32, b0: f32, b1: f32| (a1.min(b1) - a0.max(b0)).max(0.0);
    let area = |c: [f32; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    let intersection = overlap(a[0], a[2], b[0], b[2]) * overlap(a[1], a[3], b[1], b[3]);
    let union = area(a) + area(b) - intersection;
    if union > 0.0 {
        intersection / union
    } else {
        0.0
    }
}

fn check_lengths(raw: &RawOutputs<'_>, card: &ModelCard) -> Result<(), DetectError> {
    let check = |name, found, expected| match found == expected {
        true => Ok(()),
        false => Err(DetectError::OutputLength {
            name,
            found,
            expected,
        }),
    };
    let anchors = raw.scores.len() / card.classes.len();
    check("scores", raw.scores.len(), anchors * card.classes.len())?;
    check("boxes", raw.boxes.len(), 4 * anchors)?;
    let (per_anchor, cells) = match (card.masks, card.prototype_side()) {
        (Some(masks), Some(side)) => (masks.prototypes, masks.prototypes * side * side),
        _ => (0, 0),
    };
    check(
        "coefficients",
        raw.coefficients.map_or(0, <[f32]>::len),
        anchors * per_anchor,
    )?;
    check("prototypes", raw.prototypes.map_or(0, <[f32]>::len), cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Class;

    const SIZE: u32 = 100;

    fn card(classes: u32) -> ModelCard {
        let class = |id| Class {
            id,
            name: format!("class {id}"),
        };
        ModelCard::new(SIZE, (0..classes).map(class).collect())
    }

    fn run(
        boxes: &[[f32; 4]],
        scores: &[f32],
        thresholds: Thresholds,
    ) -> Vec<(usize, f32, [f32; 4])> {
        let card = card((scores.len() / boxes.len()) as u32);
        let boxes = boxes.concat();
        let raw = RawOutputs {
            boxes: &boxes,
            scores,
            coefficients: None,
            prototypes: None,
        };
        let letterbox = Letterbox::new(SIZE, SIZE, SIZE).unwrap();
        let detections = postprocess(&raw, &card, &letterbox, &thresholds).unwrap();
        detections
            .into_iter()
            .map(|d| (d.class, d.score, d.bbox))
            .collect()
    }

    fn thresholds() -> Thresholds {
        Thresholds {
            score: 0.1,
            nms_iou: 0.5,
            max_detections: 100,
            pre_nms: 1000,
        }
    }

    // a and b overlap in 5 x 10 of 15 x 10 (IoU 1/3); a and c in 8 x 10 of 12 x 10 (IoU 2/3).
    const A: [f32; 4] = [10.0, 10.0, 20.0, 20.0];
    const B: [f32; 4] = [15.0, 10.0, 25.0, 20.0];
    const C: [f32; 4] = [12.0, 10.0, 22.0, 20.0];

    #[test]
    fn hand_worked_suppression() {
        assert!((iou(A, B) - 1.0 / 3.0).abs() < 1e-6);
        assert!((iou(A, C) - 2.0 / 3.0).abs() < 1e-6);
        // C is the strongest: it hides A (2/3) and B (7 of 13, 0.54); at 0.6 it hides A alone.
        let scores = [0.5, 0.6, 0.9];
        assert_eq!(run(&[A, B, C], &scores, thresholds()), [(0, 0.9, C)]);
        let loose = Thresholds {
            nms_iou: 0.6,
            ..thresholds()
        };
        assert_eq!(run(&[A, B, C], &scores, loose), [(0, 0.9, C), (0, 0.6, B)]);
        // A hides C, so C does not hide B: suppression is greedy.
        assert_eq!(
            run(&[A, B, C], &[0.9, 0.5, 0.6], thresholds()),
            [(0, 0.9, A), (0, 0.5, B)]
        );
    }

    #[test]
    fn classes_do_not_hide_each_other() {
        // One row of scores per box, one column per class.
        let found = run(&[A, C], &[0.9, 0.2, 0.05, 0.8], thresholds());
        assert_eq!(found, [(0, 0.9, A), (1, 0.8, C)]); // (1, 0.2, A) is hidden by C
    }

    #[test]
    fn equal_scores_rank_by_anchor_then_class() {
        let far = [60.0, 60.0, 70.0, 70.0];
        let found = run(&[far, A], &[0.5, 0.5, 0.5, 0.5], thresholds());
        assert_eq!(
            found,
            [(0, 0.5, far), (1, 0.5, far), (0, 0.5, A), (1, 0.5, A)]
        );
        // Also when the selection before suppression has to choose among equals.
        let two = Thresholds {
            pre_nms: 2,
            ..thresholds()
        };
        assert_eq!(run(&[far, A], &[0.5, 0.5, 0.5, 0.5], two), found[..2]);
    }

    #[test]
    fn selection_keeps_the_strongest() {
        let boxes: Vec<[f32; 4]> = (0..90)
            .map(|i| [i as f32, 0.0, i as f32 + 0.9, 1.0])
            .collect();
        let scores: Vec<f32> = (0..90)
            .map(|i| 0.2 + (i * 37 % 90) as f32 / 200.0)
            .collect();
        let all = run(&boxes, &scores, thresholds());
        assert_eq!(all.len(), 90);
        assert!(all.is_sorted_by(|a, b| a.1 >= b.1));
        assert_eq!(
            run(
                &boxes,
                &scores,
                Thresholds {
                    pre_nms: 7,
                    ..thresholds()
                }
            ),
            all[..7]
        );
        assert_eq!(
            run(
                &boxes,
                &scores,
                Thresholds {
                    max_detections: 5,
                    ..thresholds()
                }
            ),
            all[..5]
        );
    }

    #[test]
    fn nothing_that_is_not_a_number_or_outside_is_a_detection() {
        let nan = f32::NAN;
        let boxes = [
            [nan, 0.0, 5.0, 5.0],
            [0.0, 0.0, f32::INFINITY, 5.0],
            [120.0, 0.0, 140.0, 5.0],
            [9.0, 9.0, 3.0, 3.0],
            [-5.0, 90.0, 5.0, 130.0],
            A,
            A,
        ];
        let scores = [0.9, 0.9, 0.9, 0.9, 0.8, nan, f32::INFINITY];
        assert_eq!(
            run(&boxes, &scores, thresholds()),
            [(0, 0.8, [0.0, 90.0, 5.0, 100.0])]
        );
    }

    #[test]
    fn the_score_threshold_is_inclusive() {
        assert_eq!(run(&[A], &[0.1], thresholds()).len(), 1);
        assert_eq!(run(&[A], &[0.099], thresholds()).len(), 0);
    }

    #[test]
    fn lengths_that_do_not_fit_are_errors_that_name_the_output() {
        let mut card = card(2);
        let letterbox = Letterbox::new(SIZE, SIZE, SIZE).unwrap();
        let fails =
            |card: &ModelCard, boxes: &[f32], scores: &[f32], coefficients: Option<&[f32]>| {
                let raw = RawOutputs {
                    boxes,
                    scores,
                    coefficients,
                    prototypes: None,
                };
                postprocess(&raw, card, &letterbox, &thresholds())
                    .unwrap_err()
                    .to_string()
            };
        assert!(fails(&card, &A, &[0.5; 3], None).contains("`scores` has 3 values, expected 2"));
        assert!(fails(&card, &A, &[0.5; 4], None).contains("`boxes` has 4 values, expected 8"));
        assert!(fails(&card, &A, &[0.5; 2], Some(&[1.0])).contains("`coefficients` has 1"));
        card.masks = Some(MaskCard {
            prototypes: 1,
            stride: 50,
        });
        assert!(fails(&card, &A, &[0.5; 2], Some(&[1.0]))
            .contains("`prototypes` has 0 values, expected 4"));
    }
}
