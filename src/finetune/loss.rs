//! The detection loss of one picture, with its gradient: quality focal loss, generalised IoU, and masks
//! from prototypes (METHOD section 6).

use super::assign::{Anchor, Assigner, Object, Predictions};
use super::boxes::giou;
use crate::export::spec::MAX_LOG_DISTANCE;
use intertwine_detect::iou;

/// Weights of the parts.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossWeights {
    /// Of the quality focal loss.
    pub class: f32,
    /// Of 1 - GIoU.
    pub bbox: f32,
    /// Of the masks.
    pub mask: f32,
}

/// What the network says about one picture. Anchors as in [`super::assign::anchors`].
#[derive(Clone, Copy, Debug)]
pub struct RawPicture<'a> {
    /// `[anchors, classes]` logits.
    pub logits: &'a [f32],
    /// `[anchors, 4]`: the logarithm of the distances to left, top, right, bottom in strides, before clamping.
    pub distances: &'a [f32],
    /// `[anchors, prototypes]` before tanh.
    pub coefficients: &'a [f32],
    /// `[mask_side * mask_side, prototypes]`.
    pub prototypes: &'a [f32],
}

/// What should be found in one picture.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Boxes in pixels of the input, and classes.
    pub objects: Vec<Object>,
    /// A bitmap an object, `mask_side * mask_side`, row-major, or nothing for an object without a mask.
    pub masks: Vec<Vec<u8>>,
}

/// Gradients with respect to the four tensors of [`RawPicture`], not yet divided by the batch's weight.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// Of the logits.
    pub logits: Vec<f32>,
    /// Of the distances.
    pub distances: Vec<f32>,
    /// Of the coefficients.
    pub coefficients: Vec<f32>,
    /// Of the prototypes.
    pub prototypes: Vec<f32>,
}

/// Sums over one picture; the losses of a batch are the sums over its pictures divided by `weight`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    /// Quality focal loss.
    pub class: f64,
    /// 1 - GIoU, weighted by overlap.
    pub bbox: f64,
    /// Mask cross-entropy over box area; divided by `positives` instead.
    pub mask: f64,
    /// Sum of the overlaps of assigned anchors: the normaliser of class and box.
    pub weight: f64,
    /// Assigned anchors.
    pub positives: f64,
}

/// The box that an anchor predicts.
pub fn decode(anchor: &Anchor, log_distances: &[f32]) -> [f32; 4] {
    let d = |i: usize| log_distances[i].min(MAX_LOG_DISTANCE).exp() * anchor.stride;
    [
        anchor.x - d(0),
        anchor.y - d(1),
        anchor.x + d(2),
        anchor.y + d(3),
    ]
}

/// The sums and gradients of one picture. The gradients are those of
/// `weights.class * class + weights.bbox * bbox` (to be divided by the batch's `weight`) for logits and
/// distances, and of `weights.mask * mask` (to be divided by the batch's `positives`) for the other two.
pub fn picture_loss(
    anchors: &[Anchor],
    raw: RawPicture<'_>,
    target: &Target,
    input_side: f32,
    assigner: &dyn Assigner,
    weights: &LossWeights,
) -> (Sums, Gradients) {
    let classes = raw.logits.len() / anchors.len().max(1);
    let boxes: Vec<[f32; 4]> = anchors
        .iter()
        .zip(raw.distances.chunks_exact(4))
        .map(|(a, d)| decode(a, d))
        .collect();
    let predictions = Predictions {
        logits: raw.logits,
        boxes: &boxes,
        classes,
    };
    let owners = assigner.assign(anchors, predictions, &target.objects);

    let mut sums = Sums::default();
    let mut g = Gradients {
        logits: vec![0.0; raw.logits.len()],
        distances: vec![0.0; raw.distances.len()],
        coefficients: vec![0.0; raw.coefficients.len()],
        prototypes: vec![0.0; raw.prototypes.len()],
    };
    for (a, owner) in owners.iter().enumerate() {
        let quality = owner.map(|o| (target.objects[o], iou(boxes[a], target.objects[o].bbox)));
        for class in 0..classes {
            let i = a * classes + class;
            let label = quality.map_or(0.0, |(o, q)| if o.class == class { q } else { 0.0 });
            let (value, slope) = quality_focal(raw.logits[i], label);
            sums.class += f64::from(value);
            g.logits[i] = weights.class * slope;
        }
        let Some((object, quality)) = quality else {
            continue;
        };
        sums.positives += 1.0;
        // An anchor whose box is still far off counts a little, or it would never be pulled in.
        let importance = quality.max(0.05);
        sums.weight += f64::from(importance);
        let (value, slope) = giou(boxes[a], object.bbox);
        sums.bbox += f64::from(importance * (1.0 - value));
        for (side, slope) in slope.into_iter().enumerate() {
            let v = raw.distances[a * 4 + side];
            if v < MAX_LOG_DISTANCE {
                // Left and top are subtracted from the anchor.
                let sign = if side < 2 { -1.0 } else { 1.0 };
                let d_box = -weights.bbox * importance * slope;
                g.distances[a * 4 + side] = d_box * sign * v.exp() * anchors[a].stride;
            }
        }
    }
    if !target.masks.is_empty() && !raw.prototypes.is_empty() {
        sums.mask = mask_loss(&raw, target, &owners, input_side, weights.mask, &mut g);
    }
    (sums, g)
}

/// `|y - s|^2 * BCE(s, y)` with `s = sigmoid(z)` (Li et al. 2020, beta = 2), and its derivative in z.
fn quality_focal(z: f32, y: f32) -> (f32, f32) {
    let s = 1.0 / (1.0 + (-z).exp());
    let bce = z.max(0.0) - z * y + (-z.abs()).exp().ln_1p();
    let gap = s - y;
    (
        gap * gap * bce,
        2.0 * gap * s * (1.0 - s) * bce + gap * gap * gap,
    )
}

/// YOLACT's mask loss (Bolya et al. 2019): binary cross-entropy of `sigmoid(prototypes . coefficients)`
/// inside the object's box, divided by the box's area, summed over assigned anchors.
fn mask_loss(
    raw: &RawPicture<'_>,
    target: &Target,
    owners: &[Option<usize>],
    input_side: f32,
    weight: f32,
    g: &mut Gradients,
) -> f64 {
    let count = raw.coefficients.len() / owners.len();
    let side = (raw.prototypes.len() / count).isqrt();
    let scale = side as f32 / input_side;
    let mut sum = 0.0;
    let mut coefficients = vec![0.0f32; count];
    let mut d_coefficients = vec![0.0f32; count];
    for (a, owner) in owners.iter().enumerate() {
        let Some(o) = *owner else { continue };
        let Some(mask) = target.masks.get(o).filter(|m| !m.is_empty()) else {
            continue;
        };
        let [x0, y0, x1, y1] = target.objects[o].bbox.map(|v| v * scale);
        let columns = x0.floor().max(0.0) as usize..(x1.ceil().max(0.0) as usize).min(side);
        let rows = y0.floor().max(0.0) as usize..(y1.ceil().max(0.0) as usize).min(side);
        let pixels = rows.len() * columns.len();
        if pixels == 0 {
            continue;
        }
        for (c, v) in coefficients
            .iter_mut()
            .zip(&raw.coefficients[a * count..][..count])
        {
            *c = v.tanh();
        }
        d_coefficients.fill(0.0);
        for row in rows {
            for column in columns.clone() {
                let i = row * side + column;
                let prototype = &raw.prototypes[i * count..][..count];
                let z: f32 = prototype
                    .iter()
                    .zip(&coefficients)
                    .map(|(p, c)| p * c)
                    .sum();
                let y = f32::from(mask[i] != 0);
                let bce = z.max(0.0) - z * y + (-z.abs()).exp().ln_1p();
                sum += f64::from(bce / pixels as f32);
                let dz = weight * (1.0 / (1.0 + (-z).exp()) - y) / pixels as f32;
                for ((dc, p), (dp, c)) in d_coefficients
                    .iter_mut()
                    .zip(prototype)
                    .zip(g.prototypes[i * count..].iter_mut().zip(&coefficients))
                {
                    *dc += dz * p;
                    *dp += dz * c;
                }
            }
        }
        for ((g, d), c) in g.coefficients[a * count..]
            .iter_mut()
            .zip(&d_coefficients)
            .zip(&coefficients)
        {
            *g += d * (1.0 - c * c);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::super::assign::tests::anchors;
    use super::*;
    use intertwine_flow::random::{stream, Purpose};
    use rand::RngExt;

    /// Owners that do not depend on the predictions, so that the loss is smooth.
    struct Fixed(Vec<Option<usize>>);
    impl Assigner for Fixed {
        fn assign(&self, _: &[Anchor], _: Predictions<'_>, _: &[Object]) -> Vec<Option<usize>> {
            self.0.clone()
        }
    }

    #[test]
    fn quality_focal_matches_hand_and_difference() {
        // s = 1/2, y = 1: 1/4 ln 2
        assert!((quality_focal(0.0, 1.0).0 - 0.25 * 2f32.ln()).abs() < 1e-6);
        for (z, y) in [(0.3, 0.0), (-1.2, 0.7), (2.0, 1.0), (5.0, 0.1)] {
            let numeric = (quality_focal(z + 1e-2, y).0 - quality_focal(z - 1e-2, y).0) / 2e-2;
            assert!(
                (quality_focal(z, y).1 - numeric).abs() < 1e-3,
                "z {z} y {y}"
            );
        }
    }

    #[test]
    fn a_mask_by_hand() {
        // The box covers the upper two of four values. The coefficient is tanh(ln(3) / 2) = 1/2, so the logits there
        // are 1/2 and -1/2, rightly; each costs ln(1 + e^-0.5), and so does their mean.
        let anchors = anchors(&[(1, 4.0)]);
        let raw = RawPicture {
            logits: &[0.0],
            distances: &[0.0; 4],
            coefficients: &[3f32.ln() / 2.0],
            prototypes: &[1.0, -1.0, 5.0, 5.0],
        };
        let target = Target {
            objects: vec![Object {
                bbox: [0.0, 0.0, 4.0, 2.0],
                class: 0,
            }],
            masks: vec![vec![1, 0, 1, 1]],
        };
        let weights = LossWeights {
            class: 1.0,
            bbox: 2.0,
            mask: 6.125,
        };
        let assigner = Fixed(vec![Some(0)]);
        let (sums, _) = picture_loss(&anchors, raw, &target, 4.0, &assigner, &weights);
        assert!(
            (sums.mask - f64::exp(-0.5).ln_1p()).abs() < 1e-6,
            "{}",
            sums.mask
        );
        assert_eq!(sums.positives, 1.0);
    }

    #[test]
    fn gradients_match_finite_differences() {
        let anchors = anchors(&[(2, 8.0), (1, 16.0)]);
        let mut rng = stream(3, Purpose::Probe, 0, 0);
        let mut draw =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let (classes, prototypes, side) = (2, 3, 4);
        let mut tensors = [
            draw(5 * classes),
            draw(5 * 4),
            draw(5 * prototypes),
            draw(side * side * prototypes),
        ];
        let target = Target {
            objects: vec![
                Object {
                    bbox: [1.0, 2.0, 9.0, 13.0],
                    class: 1,
                },
                Object {
                    bbox: [6.0, 5.0, 15.0, 12.0],
                    class: 0,
                },
            ],
            masks: vec![
                (0..16).map(|i| u8::from(i % 3 == 0)).collect(),
                (0..16).map(|i| u8::from(i < 9)).collect(),
            ],
        };
        let weights = LossWeights {
            class: 1.0,
            bbox: 2.0,
            mask: 6.125,
        };
        let assigner = Fixed(vec![Some(0), None, Some(1), None, Some(0)]);
        let run = |t: &[Vec<f32>; 4]| {
            let raw = RawPicture {
                logits: &t[0],
                distances: &t[1],
                coefficients: &t[2],
                prototypes: &t[3],
            };
            picture_loss(&anchors, raw, &target, 16.0, &assigner, &weights)
        };
        let (_, g) = run(&tensors);
        let analytic = [g.logits, g.distances, g.coefficients, g.prototypes];
        for which in 0..4 {
            for i in 0..tensors[which].len() {
                let h = 4e-3;
                let mut at = |d: f32| {
                    let kept = tensors[which][i];
                    tensors[which][i] += d;
                    let (s, _) = run(&tensors);
                    tensors[which][i] = kept;
                    // The label (overlap) and the importance are constants of the loss, so for the distances only
                    // the part that is differentiated is compared: see below.
                    (s.class, s.bbox, s.mask)
                };
                let (hi, lo) = (at(h), at(-h));
                let d = |a: f64, b: f64| (a - b) / f64::from(2.0 * h);
                let numeric = match which {
                    0 => d(hi.0, lo.0),
                    1 => continue,
                    _ => f64::from(weights.mask) * d(hi.2, lo.2),
                };
                let found = f64::from(analytic[which][i]);
                assert!(
                    (found - numeric).abs() < 5e-3 * (1.0 + numeric.abs()),
                    "{which}[{i}]: {found} against {numeric}"
                );
            }
        }
        // Distances: 1 - GIoU alone, times the importance held fixed.
        for i in 0..tensors[1].len() {
            let a = i / 4;
            let Some(o) = assigner.0[a] else {
                assert_eq!(analytic[1][i], 0.0);
                continue;
            };
            let bbox = target.objects[o].bbox;
            let importance = iou(decode(&anchors[a], &tensors[1][a * 4..]), bbox).max(0.05);
            let at = |d: f32| {
                let mut v = tensors[1].clone();
                v[i] += d;
                1.0 - giou(decode(&anchors[a], &v[a * 4..]), bbox).0
            };
            let numeric = weights.bbox * importance * (at(4e-3) - at(-4e-3)) / 8e-3;
            assert!(
                (analytic[1][i] - numeric).abs() < 1e-2 * (1.0 + numeric.abs()),
                "distance {i}: {} against {numeric}",
                analytic[1][i]
            );
        }
    }
}
