//! Writes a model, once it is known to compute what the network it was made from computes.
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use intertwine_flow::random::{stream, Purpose};
use rand_distr::{Distribution, StandardNormal};
use serde_json::{json, Value};
use tract_onnx::prelude::*;

use super::detector::encode;
use super::reference::{forward, Outputs};
use super::spec::DetectorSpec;
use super::weights::{coordinates, Weights};
use super::ExportError;

/// The largest difference accepted between the exported model and its reference. For boxes it counts
/// in sides of the reference box, since the exponential that makes a distance multiplies its error
/// by the distance; for the other outputs it is absolute.
pub const TOLERANCE: f32 = 1e-3;

/// The metadata key of the model card.
const CARD_KEY: &str = "intertwine.model_card";

/// What the network gave for one input, in the program that trained it.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// Planes [3, S, S], normalised.
    pub image: &'a [f32],
    /// Its outputs.
    pub outputs: &'a Outputs,
}

/// How far the exported model was from its reference.
#[derive(Clone, Debug, PartialEq)]
pub struct ParityReport {
    /// The largest absolute difference of each output, by its name.
    pub max_abs_diff: Vec<(&'static str, f32)>,
}

impl ParityReport {
    /// The largest absolute difference of all outputs.
    pub fn max_abs_diff(&self) -> f32 {
        self.max_abs_diff
            .iter()
            .map(|&(_, diff)| diff)
            .fold(0.0, f32::max)
    }
}

/// Writes the detector to an ONNX file, after running it on the reference's input.
///
/// # Errors
/// [`ExportError::Parity`] when an output differs by more than [`TOLERANCE`], and every other
/// [`ExportError`]; then there is no new file, and an older one stays as it was.
pub fn export(
    spec: &DetectorSpec,
    weights: &Weights,
    card: &Value,
    reference: Reference,
    path: &Path,
) -> Result<ParityReport, ExportError> {
    let model = encode(spec, weights, &[(CARD_KEY, card.to_string())])?;
    let report = compare(
        spec,
        &run(spec, &model, reference.image)?,
        reference.outputs,
    )?;
    write(path, &model).map_err(|source| ExportError::Io {
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
    let card = json!({});
    export(
        spec,
        &weights,
        &card,
        Reference {
            image: &image,
            outputs: &outputs,
        },
        path,
    )
}

/// Runs a model in memory on one normalised picture.
fn run(spec: &DetectorSpec, model: &[u8], image: &[f32]) -> Result<Outputs, ExportError> {
    let s = spec.image_size;
    let expected = 3 * s * s;
    if image.len() != expected {
        return Err(ExportError::ReferenceLength {
            output: "image",
            found: image.len(),
            expected,
        });
    }
    let run = || -> TractResult<Vec<(String, Vec<f32>)>> {
        let model = tract_onnx::onnx().model_for_read(&mut &model[..])?;
        let names: Vec<_> = model
            .outputs
            .iter()
            .map(|o| model.node(o.node).name.clone())
            .collect();
        let model = model.into_optimized()?.into_runnable()?;
        let image = Tensor::from_shape(&[1, 3, s, s], image)?;
        let outputs = model.run(tvec!(image.into()))?;
        let plain = |t: &TValue| -> TractResult<_> {
            Ok(t.to_plain_array_view::<f32>()?.iter().copied().collect())
        };
        names
            .into_iter()
            .zip(&outputs)
            .map(|(name, t)| Ok((name, plain(t)?)))
            .collect()
    };
    let mut outputs = run().map_err(|e| ExportError::Engine(format!("{e:#}")))?;
    let mut take = |name: &str| {
        let place = outputs.iter().position(|(n, _)| n == name)?;
        Some(outputs.swap_remove(place).1)
    };
    Ok(Outputs {
        boxes: take("boxes").unwrap_or_default(),
        scores: take("scores").unwrap_or_default(),
        coefficients: take("coefficients"),
        prototypes: take("prototypes"),
    })
}

/// Holds the exported model's outputs against the reference's.
fn compare(
    spec: &DetectorSpec,
    exported: &Outputs,
    reference: &Outputs,
) -> Result<ParityReport, ExportError> {
    let (anchors, prototypes) = (spec.anchors(), spec.prototypes);
    let side = spec.mask_side().unwrap_or(0);
    let box_side = |i: usize| {
        let corners = &reference.boxes[i / 4 * 4..][..4];
        (corners[2] - corners[0]).max(corners[3] - corners[1])
    };
    let mut max_abs_diff = vec![
        (
            "boxes",
            difference(
                "boxes",
                &[anchors, 4],
                &exported.boxes,
                &reference.boxes,
                box_side,
            )?,
        ),
        (
            "scores",
            difference(
                "scores",
                &[anchors, spec.classes],
                &exported.scores,
                &reference.scores,
                |_| 1.0,
            )?,
        ),
    ];
    if prototypes > 0 {
        for (name, shape, exported, reference) in [
            (
                "coefficients",
                vec![anchors, prototypes],
                &exported.coefficients,
                &reference.coefficients,
            ),
            (
                "prototypes",
                vec![prototypes, side, side],
                &exported.prototypes,
                &reference.prototypes,
            ),
        ] {
            let (exported, reference) = (exported.as_deref(), reference.as_deref());
            let (exported, reference) =
                (exported.unwrap_or_default(), reference.unwrap_or_default());
            max_abs_diff.push((
                name,
                difference(name, &shape, exported, reference, |_| 1.0)?,
            ));
        }
    }
    Ok(ParityReport { max_abs_diff })
}

/// The largest absolute difference, if every one is within [`TOLERANCE`] times `scale`, which is at
/// least 1. A NaN on either side is never within it.
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
        let excess = if diff.is_nan() {
            f32::INFINITY
        } else {
            diff / tolerance
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

/// Writes a file beside its place and moves it there once it is on the disk.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("the path names no file"))?;
    let mut partial = name.to_owned();
    partial.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(partial);
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    });
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&partial);
    }
    written
}
