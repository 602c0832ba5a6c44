//! Writes a model, once it is known to compute what the network it was made from computes.
use std::path::Path;

use intertwine_detect::{Class, Detector, EngineKind, ModelCard, Options, RawOutputs};
use intertwine_flow::random::{stream, Purpose};
use rand_distr::{Distribution, StandardNormal};

use super::detector::encode;
use super::reference::forward;
use super::spec::DetectorSpec;
use super::weights::{coordinates, Weights};
use super::ExportError;
use crate::field::Normalisation;

/// The largest difference accepted between the exported model and its reference. For boxes it counts
/// in sides of the reference box, since the exponential that makes a distance multiplies its error
/// by the distance; for the other outputs it is absolute.
pub const TOLERANCE: f32 = 1e-3;

/// What the network gave for one input, in the program that trained it.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// Planes [3, S, S], normalised.
    pub image: &'a [f32],
    /// Its outputs.
    pub outputs: RawOutputs<'a>,
}

/// How far the exported model was from its reference.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParityReport {
    /// The largest absolute difference of each output, by its name.
    pub max_abs_diff: Vec<(&'static str, f32)>,
}

impl ParityReport {
    /// Keeps the larger difference of each output.
    fn join(&mut self, other: Self) {
        if self.max_abs_diff.is_empty() {
            self.max_abs_diff = other.max_abs_diff;
            return;
        }
        for (mine, others) in self.max_abs_diff.iter_mut().zip(other.max_abs_diff) {
            mine.1 = mine.1.max(others.1);
        }
    }

    /// The largest absolute difference of all outputs.
    pub fn max_abs_diff(&self) -> f32 {
        self.max_abs_diff
            .iter()
            .map(|&(_, diff)| diff)
            .fold(0.0, f32::max)
    }
}

/// Writes the detector to an ONNX file, after running it on the reference's input as `detect` will, with our layers and with
/// tract alone.
/// The card starts as [`DetectorSpec::card`].
///
/// # Errors
/// [`ExportError::Parity`] when an output differs by more than [`TOLERANCE`], and every other
/// [`ExportError`]; then there is no new file, and an older one stays as it was.
pub fn export(
    spec: &DetectorSpec,
    weights: &Weights,
    card: &ModelCard,
    reference: Reference,
    path: &Path,
) -> Result<ParityReport, ExportError> {
    let model = encode(spec, weights, card)?;
    let mut report = ParityReport::default();
    for engine in [EngineKind::Tract, EngineKind::Fused] {
        let options = Options {
            engine,
            ..Options::default()
        };
        let mut detector = Detector::from_bytes_with(&model, options)?;
        let outputs = detector.run_raw(reference.image)?;
        report.join(compare(spec, &outputs, &reference.outputs)?);
    }
    intertwine_files::bytes(path, &model).map_err(|source| ExportError::Io {
        path: path.to_owned(),
        source,
    })?;
    Ok(report)
}

/// Writes an untrained detector, for benchmarks; its classes are `class 1`, `class 2`, ...
///
/// # Errors
/// As [`export`].
pub fn export_random(
    spec: &DetectorSpec,
    normalisation: Normalisation,
    seed: u64,
    path: &Path,
) -> Result<ParityReport, ExportError> {
    spec.validate()?;
    let weights = Weights::random(spec, seed);
    let mut random = stream(seed, Purpose::Probe, 0, 0);
    let pixels = 3 * spec.image_size * spec.image_size;
    let image: Vec<f32> = StandardNormal
        .sample_iter(&mut random)
        .take(pixels)
        .collect();
    let outputs = forward(spec, &weights, &image)?;
    let classes = (1..).take(spec.classes).map(|id| Class {
        id,
        name: format!("class {id}"),
    });
    let mut card = spec.card(classes.collect(), normalisation);
    card.training
        .insert("weights".into(), format!("random, seed {seed}").into());
    let reference = Reference {
        image: &image,
        outputs: outputs.raw(),
    };
    export(spec, &weights, &card, reference, path)
}

/// Holds the exported model's outputs against the reference's.
fn compare(
    spec: &DetectorSpec,
    exported: &RawOutputs,
    reference: &RawOutputs,
) -> Result<ParityReport, ExportError> {
    let (anchors, side) = (spec.anchors(), spec.mask_side());
    let box_side = |i: usize| {
        let corners = &reference.boxes[i / 4 * 4..][..4];
        (corners[2] - corners[0]).max(corners[3] - corners[1])
    };
    let absolute = |_: usize| 1.0;
    let boxes = difference(
        "boxes",
        &[anchors, 4],
        exported.boxes,
        reference.boxes,
        box_side,
    )?;
    let scores = difference(
        "scores",
        &[anchors, spec.classes],
        exported.scores,
        reference.scores,
        absolute,
    )?;
    let mut max_abs_diff = vec![("boxes", boxes), ("scores", scores)];
    if let Some(side) = side {
        let p = spec.prototypes;
        for (name, shape, a, b) in [
            (
                "coefficients",
                vec![anchors, p],
                exported.coefficients,
                reference.coefficients,
            ),
            (
                "prototypes",
                vec![p, side, side],
                exported.prototypes,
                reference.prototypes,
            ),
        ] {
            let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
            max_abs_diff.push((name, difference(name, &shape, a, b, absolute)?));
        }
    }
    Ok(ParityReport { max_abs_diff })
}

/// The largest absolute difference, if every one is within [`TOLERANCE`] times `scale`, which is at
/// least 1. A NaN or an infinity on either side never is.
fn difference(
    output: &'static str,
    shape: &[usize],
    exported: &[f32],
    reference: &[f32],
    scale: impl Fn(usize) -> f32,
) -> Result<f32, ExportError> {
    let expected = shape.iter().product();
    for found in [exported.len(), reference.len()] {
        if found != expected {
            return Err(ExportError::ReferenceLength {
                output,
                found,
                expected,
            });
        }
    }
    let (mut largest, mut worst) = (0.0f32, None);
    for (i, (&a, &b)) in exported.iter().zip(reference).enumerate() {
        let diff = (a - b).abs();
        let tolerance = TOLERANCE * scale(i).max(1.0);
        // Infinities and NaNs compare with nothing.
        let excess = if diff.is_finite() {
            diff / tolerance
        } else {
            f32::INFINITY
        };
        if excess > worst.map_or(1.0, |(_, _, most)| most) {
            worst = Some((i, tolerance, excess));
        }
        largest = largest.max(diff);
    }
    match worst {
        None => Ok(largest),
        Some((i, tolerance, _)) => Err(ExportError::Parity {
            output,
            index: coordinates(i, shape),
            exported: exported[i],
            reference: reference[i],
            tolerance,
        }),
    }
}
