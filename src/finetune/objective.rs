//! The loss of a batch: the outputs come to the host, [`picture_loss`] judges each picture, and the slopes go back
//! onto the tape.

use dfdx::prelude::*;
use rayon::prelude::*;

use super::assign::Anchor;
use super::config::FinetuneConfig;
use super::loss::{picture_loss, RawPicture, Sums, Target};
use super::model::Outputs;
use crate::export::DetectorSpec;
use crate::nn::ops::host_loss::host_loss;
use crate::nn::{Backend, Rows, Scalar};

/// The figures of one step.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Losses {
    /// The weighted sum.
    pub loss: f64,
    /// Quality focal loss.
    pub class: f64,
    /// 1 - GIoU.
    pub bbox: f64,
    /// Masks, where the detector makes any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<f64>,
    /// Assigned anchors a picture.
    pub positives: f64,
}

impl Losses {
    /// Adds a share of each figure.
    pub fn add(&mut self, other: &Self, share: f64) {
        for (sum, value) in [
            (&mut self.loss, other.loss),
            (&mut self.class, other.class),
            (&mut self.bbox, other.bbox),
            (&mut self.positives, other.positives),
        ] {
            *sum += share * value;
        }
        if let Some(mask) = other.mask {
            *self.mask.get_or_insert_default() += share * mask;
        }
    }
}

/// The outputs of one picture, gathered from the levels.
pub(super) struct HostOutputs {
    pub logits: Vec<f32>,
    pub distances: Vec<f32>,
    pub coefficients: Vec<f32>,
    pub prototypes: Vec<f32>,
}

/// Level tensors `[batch * cells, c]` as one vector a picture.
fn per_picture<D: Backend>(levels: &[Rows<usize, D>], batch: usize) -> Vec<Vec<f32>> {
    let host: Vec<Vec<f32>> = levels.iter().map(D::to_host).collect();
    (0..batch)
        .map(|b| {
            host.iter()
                .flat_map(|l| &l[l.len() / batch * b..l.len() / batch * (b + 1)])
                .copied()
                .collect()
        })
        .collect()
}

/// The inverse: gradients of each picture back to the levels.
fn per_level<D: Backend>(
    levels: &[Rows<usize, D>],
    pictures: &[Vec<f32>],
    scale: f32,
) -> Vec<Vec<f32>> {
    let mut first = 0;
    levels
        .iter()
        .map(|level| {
            let (rows, c) = *level.shape();
            let len = rows * c / pictures.len().max(1);
            let out = pictures
                .iter()
                .flat_map(|p| &p[first..first + len])
                .map(|v| v * scale)
                .collect();
            first += len;
            out
        })
        .collect()
}

pub(super) fn on_host<D: Backend>(outputs: &Outputs<D>, batch: usize) -> Vec<HostOutputs> {
    let prototypes = match &outputs.prototypes {
        Some(p) => per_picture(std::slice::from_ref(p), batch),
        None => vec![Vec::new(); batch],
    };
    let coefficients = per_picture(&outputs.coefficients, batch);
    let rest = per_picture(&outputs.logits, batch)
        .into_iter()
        .zip(per_picture(&outputs.distances, batch));
    rest.zip(coefficients.into_iter().zip(prototypes))
        .map(
            |((logits, distances), (coefficients, prototypes))| HostOutputs {
                logits,
                distances,
                coefficients,
                prototypes,
            },
        )
        .collect()
}

/// The loss of a batch on the tape, and its figures.
pub fn batch_loss<D: Backend>(
    spec: &DetectorSpec,
    config: &FinetuneConfig,
    anchors: &[Anchor],
    outputs: Outputs<D>,
    tape: OwnedTape<f32, D>,
    targets: &[Target],
) -> (Scalar<D, OwnedTape<f32, D>>, Losses) {
    let count = targets.len();
    let host = on_host(&outputs, count);
    let (weights, assigner) = (&config.loss, config.assign.assigner());
    let results: Vec<_> = host
        .par_iter()
        .zip(targets)
        .map(|(h, target)| {
            let raw = RawPicture {
                logits: &h.logits,
                distances: &h.distances,
                coefficients: &h.coefficients,
                prototypes: &h.prototypes,
            };
            picture_loss(
                anchors,
                raw,
                target,
                spec.image_size as f32,
                &*assigner,
                weights,
            )
        })
        .collect();
    let mut sums = Sums::default();
    for (s, _) in &results {
        sums.class += s.class;
        sums.bbox += s.bbox;
        sums.mask += s.mask;
        sums.weight += s.weight;
        sums.positives += s.positives;
    }
    let (weight, positives) = (sums.weight.max(1.0), sums.positives.max(1.0));
    let (class, bbox, mask) = (
        sums.class / weight,
        sums.bbox / weight,
        sums.mask / positives,
    );
    let losses = Losses {
        loss: f64::from(weights.class) * class
            + f64::from(weights.bbox) * bbox
            + f64::from(weights.mask) * mask,
        class,
        bbox,
        mask: (spec.prototypes > 0).then_some(mask),
        positives: sums.positives / count as f64,
    };

    let (mut logits, mut distances, mut coefficients, mut prototypes) =
        (vec![], vec![], vec![], vec![]);
    for (_, g) in results {
        logits.push(g.logits);
        distances.push(g.distances);
        coefficients.push(g.coefficients);
        prototypes.push(g.prototypes);
    }
    let (by_weight, by_positives) = ((1.0 / weight) as f32, (1.0 / positives) as f32);
    let mut nodes: Vec<(Rows<usize, D>, Vec<f32>)> = Vec::new();
    let mut add = |levels: Vec<Rows<usize, D>>, pictures: &[Vec<f32>], scale| {
        let gradients = per_level(&levels, pictures, scale);
        nodes.extend(levels.into_iter().zip(gradients));
    };
    add(outputs.logits, &logits, by_weight);
    add(outputs.distances, &distances, by_weight);
    add(outputs.coefficients, &coefficients, by_positives);
    add(
        outputs.prototypes.into_iter().collect(),
        &prototypes,
        by_positives,
    );
    // The value stands in the first node; the others add their slopes alone.
    let (mut value, mut tape, mut total) = (losses.loss as f32, tape, None::<Scalar<D>>);
    for (x, gradient) in nodes {
        let part = host_loss(x.put_tape(tape), std::mem::take(&mut value), gradient);
        let (sum, t) = match total {
            None => part,
            Some(before) => part + before,
        }
        .split_tape();
        (total, tape) = (Some(sum), t);
    }
    (
        total.expect("a detector has outputs").put_tape(tape),
        losses,
    )
}
