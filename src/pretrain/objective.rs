//! The loss of one step (METHOD section 3): `L_image + L_content + L_pos + lambda L_KoLeo`.

use std::ops::Range;

use dfdx::prelude::*;
use intertwine_kernels::{koleo, softmax_ce};

use super::batch::Batch;
use super::centres::{Centre, Centres};
use super::config::{Centring, LossConfig};
use super::entropy::{Entropies, Entropy};
use super::network::Network;
use crate::nn::arch::Arch;
use crate::nn::head::ProjectionHead;
use crate::nn::ops::cross_entropy::SoftTarget;
use crate::nn::ops::host_loss::host_loss;
use crate::nn::vit::DropPath;
use crate::nn::{Backend, Rows, Scalar};

/// The figures of one step. All follow from config and data alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Losses {
    /// The weighted sum.
    pub loss: f64,
    /// Cross-entropy of views against the teacher's CLS.
    pub image: f64,
    /// Cross-entropy of content-masked patches.
    pub content: f64,
    /// Cross-entropy of position-masked patches.
    pub position: f64,
    /// Nearest-neighbour spread of the student's CLS.
    pub koleo: f64,
    /// How the outputs of the teacher's heads are spread.
    pub entropy: Entropies,
    /// Deviation of the teacher's normalised CLS feature over the batch, times sqrt(D); near 0 at collapse.
    pub feature_std: f64,
}

impl Losses {
    /// Adds a share of each figure, and counts the outputs in.
    pub fn add(&mut self, other: &Self, share: f64) {
        for (sum, value) in [
            (&mut self.loss, other.loss),
            (&mut self.image, other.image),
            (&mut self.content, other.content),
            (&mut self.position, other.position),
            (&mut self.koleo, other.koleo),
            (&mut self.feature_std, other.feature_std),
        ] {
            *sum += share * value;
        }
        self.entropy.add(&other.entropy);
    }
}

/// What the teacher wants, and the logits the centres follow.
struct Targets<D: Backend> {
    /// For globals: the other globals' probabilities; for locals: all globals'. `[(globals + 1) * batch, K]`.
    image: Rows<usize, D>,
    /// For each masked patch, content first, then position. `[masked, K]`.
    patch: Option<Rows<usize, D>>,
}

/// The teacher's side: logits, centring or Sinkhorn-Knopp, temperature; the centres see the logits.
fn teacher_targets<A: Arch, D: Backend>(
    teacher: &Network<A, D>,
    batch: &Batch,
    config: &LossConfig,
    temperature: f32,
    centres: &mut Centres,
    losses: &mut Losses,
) -> Targets<D> {
    let views = batch.globals * batch.size;
    let wanted: Vec<u32> = [&batch.cls[..views], &batch.masked].concat();
    let (input, tape) = (batch.teacher_input(), NoneTape);
    let tokens = teacher.vit.forward_rows(input, &wanted, None, tape);
    let cls = D::gather_rows(tokens.clone(), &row_range(0, views));
    losses.feature_std = feature_std(&D::host(&D::l2_normalize(cls.clone(), 1e-6)), A::WIDTH);
    let probabilities = |logits: Rows<usize, D>, centre: &mut Centre| -> Vec<f32> {
        let k = logits.shape().1;
        let z = D::host(&logits);
        let mut p = vec![0.0; z.len()];
        match config.centring {
            Centring::None => softmax_ce::teacher_softmax(&z, None, temperature, k, &mut p),
            Centring::Ema => {
                softmax_ce::teacher_softmax(&z, Some(&centre.mean), temperature, k, &mut p);
                centre.see(&z);
            }
            Centring::SinkhornKnopp => {
                softmax_ce::sinkhorn(&z, temperature, config.sinkhorn_rounds, k, &mut p);
            }
        }
        p
    };
    let dev = tokens.device().clone();
    let p = probabilities(teacher.image_head.forward(cls), &mut centres.image);
    let k = centres.image.mean.len();
    if config.image > 0.0 && pairs(batch) > 0 {
        losses.entropy.image = Entropy::of(&p, k);
    }
    let image = cross_view_targets(&p, batch.globals, batch.size * k);
    let rows = image.len() / k;
    let image = dev.tensor_from_vec(image, (rows, k));

    let (content, all) = (batch.content_masked, batch.masked.len());
    // Only outputs whose loss has a weight are learnt from, and only they tell whether the head still learns.
    let learnt = [
        if config.content > 0.0 { 0 } else { content },
        if config.position > 0.0 { all } else { content },
    ];
    let patches = |range: Range<usize>, head: &ProjectionHead<A::Width, D>, centre: &mut Centre| {
        if range.is_empty() {
            return (Vec::new(), None);
        }
        let rows = row_range(views + range.start, range.len());
        let p = probabilities(head.forward(D::gather_rows(tokens.clone(), &rows)), centre);
        let [from, to] = learnt.map(|row| (row.clamp(range.start, range.end) - range.start) * k);
        let entropy = Entropy::of(&p[from..to], k);
        (p, entropy)
    };
    let patch;
    (patch, losses.entropy.patch) = match (&teacher.position_head, &mut centres.position) {
        // Prototypes of their own are balanced among themselves.
        (Some(head), Some(centre)) => {
            let (without_content, entropy) =
                patches(0..content, &teacher.patch_head, &mut centres.patch);
            let without_position;
            (without_position, losses.entropy.position) = patches(content..all, head, centre);
            ([without_content, without_position].concat(), entropy)
        }
        _ => patches(0..all, &teacher.patch_head, &mut centres.patch),
    };
    let patch = (all > 0).then(|| dev.tensor_from_vec(patch, (all, k)));
    Targets { image, patch }
}

/// From `p = [globals, batch * K]`: for global v, the sum over the other globals; then the sum over all.
fn cross_view_targets(p: &[f32], globals: usize, stride: usize) -> Vec<f32> {
    let mut out = vec![0.0; (globals + 1) * stride];
    for v in 0..=globals {
        let row = &mut out[v * stride..][..stride];
        for q in (0..globals).filter(|q| *q != v) {
            row.iter_mut()
                .zip(&p[q * stride..][..stride])
                .for_each(|(o, p)| *o += p);
        }
    }
    out
}

/// The loss on the tape, and its parts.
#[allow(clippy::too_many_arguments)]
pub fn objective<A: Arch, D: Backend>(
    student: &Network<A, D>,
    teacher: &Network<A, D>,
    batch: &Batch,
    config: &LossConfig,
    teacher_temperature: f32,
    centres: &mut Centres,
    drop_path: DropPath,
    tape: OwnedTape<f32, D>,
) -> (Scalar<D, OwnedTape<f32, D>>, Losses) {
    let mut losses = Losses::default();
    let targets = teacher_targets(
        teacher,
        batch,
        config,
        teacher_temperature,
        centres,
        &mut losses,
    );
    let (b, g) = (batch.size, batch.globals);

    let views = batch.cls.len();
    let wanted: Vec<u32> = [&batch.cls[..], &batch.masked].concat();
    let input = batch.student_input();
    let tokens = student
        .vit
        .forward_rows(input, &wanted, Some(drop_path), tape);
    let (tokens, tape) = tokens.split_tape();

    // L_image: the mean over ordered pairs (global q, view v != q) and over pictures.
    let cls = D::gather_rows(tokens.clone().put_tape(tape), &row_range(0, views));
    let (cls, tape) = cls.split_tape();
    let pairs = pairs(batch);
    let target = SoftTarget {
        probabilities: targets.image,
        row: (0..g + batch.locals)
            .flat_map(|v| (0..b).map(move |i| (v.min(g) * b + i) as u32))
            .collect(),
        weight: vec![1.0 / (pairs.max(1) * b) as f32; cls.shape().0],
    };
    let (x, at) = (cls.clone().put_tape(tape), config.student_temperature);
    let (image, each) = student.image_head.cross_entropy(x, &target, at);
    let weighted = each.iter().zip(&target.weight);
    losses.image = weighted
        .map(|(loss, weight)| loss * f64::from(*weight))
        .sum();
    let mut total = image * config.image;

    // L_KoLeo on the global views' CLS, a group a view.
    if config.koleo > 0.0 {
        let (sum, tape) = total.split_tape();
        let globals: Vec<u32> = (0..(g * b) as u32).collect();
        let x = D::l2_normalize(D::gather_rows(cls.put_tape(tape), &globals), 1e-6);
        let (x, tape) = x.split_tape();
        let host = D::to_host(&x);
        let mut gradient = vec![0.0; host.len()];
        losses.koleo = koleo::loss(&host, b, A::WIDTH, Some(&mut gradient));
        gradient.iter_mut().for_each(|v| *v *= config.koleo);
        total = host_loss(
            x.put_tape(tape),
            config.koleo * losses.koleo as f32,
            gradient,
        ) + sum;
    }

    // L_content and L_pos: each masked patch against the teacher, which saw all of it.
    if let Some(probabilities) = targets.patch {
        let (content, all) = (batch.content_masked, batch.masked.len());
        let scale = |i: usize| {
            if i < content {
                config.content
            } else {
                config.position
            }
        };
        let parts = match &student.position_head {
            None => vec![(0..all, &student.patch_head)],
            Some(head) => vec![(0..content, &student.patch_head), (content..all, head)],
        };
        for (range, head) in parts.into_iter().filter(|(range, _)| !range.is_empty()) {
            let (sum, tape) = total.split_tape();
            let rows = row_range(views + range.start, range.len());
            let x = D::gather_rows(tokens.clone().put_tape(tape), &rows);
            let weight = range.clone().map(|i| batch.masked_weight[i] * scale(i));
            let target = SoftTarget {
                probabilities: probabilities.clone(),
                row: row_range(range.start, range.len()),
                weight: weight.collect(),
            };
            let (loss, each) = head.cross_entropy(x, &target, at);
            for (i, loss) in range.zip(each) {
                let part = if i < content {
                    &mut losses.content
                } else {
                    &mut losses.position
                };
                *part += f64::from(batch.masked_weight[i]) * loss;
            }
            total = loss + sum;
        }
    }
    // From its parts: a device would have to be waited for.
    losses.loss = [
        (config.image, losses.image),
        (config.content, losses.content),
        (config.position, losses.position),
        (config.koleo, losses.koleo),
    ]
    .into_iter()
    .map(|(weight, part)| f64::from(weight) * part)
    .sum();
    (total, losses)
}

/// Ordered pairs of a global view and another view of a picture.
fn pairs(batch: &Batch) -> usize {
    batch.globals * (batch.globals + batch.locals).saturating_sub(1)
}

/// The indices of `count` rows from `first` on.
fn row_range(first: usize, count: usize) -> Vec<u32> {
    (first..first + count).map(|row| row as u32).collect()
}

/// Mean over channels of the deviation over rows, times sqrt(D): 1 for features spread over the sphere.
fn feature_std(x: &[f32], d: usize) -> f64 {
    let rows = (x.len() / d).max(1) as f64;
    let (mut sum, mut squares) = (vec![0.0f64; d], vec![0.0f64; d]);
    for row in x.chunks_exact(d) {
        for ((s, q), v) in sum.iter_mut().zip(&mut squares).zip(row) {
            *s += f64::from(*v);
            *q += f64::from(*v).powi(2);
        }
    }
    let deviation = |(s, q): (&f64, &f64)| (q / rows - (s / rows).powi(2)).max(0.0).sqrt();
    sum.iter().zip(&squares).map(deviation).sum::<f64>() / d as f64 * (d as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_pair_each_view_with_the_others() {
        // two globals, one picture, K = 2
        let p = [0.9, 0.1, 0.4, 0.6];
        let t = cross_view_targets(&p, 2, 2);
        assert_eq!(t[..2], [0.4, 0.6]);
        assert_eq!(t[2..4], [0.9, 0.1]);
        assert!((t[4] - 1.3).abs() < 1e-6 && (t[5] - 0.7).abs() < 1e-6);
    }

    #[test]
    fn features_that_are_the_same_do_not_deviate() {
        assert_eq!(feature_std(&[0.6, 0.8, 0.6, 0.8], 2), 0.0);
        // Each channel deviates by 1/2 from its mean, times the root of 2.
        assert!((feature_std(&[1.0, 0.0, 0.0, 1.0], 2) - 0.5f64.sqrt()).abs() < 1e-9);
        // Both ends of each axis: by the root of 1/2, which makes 1.
        let spread = [1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0];
        assert!((feature_std(&spread, 2) - 1.0).abs() < 1e-9);
    }
}
