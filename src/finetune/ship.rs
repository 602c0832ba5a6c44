//! What a run leaves: the exported detector, checked against training, and its weights.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use dfdx::prelude::*;
use intertwine_datasets::PackedSet;
use intertwine_detect::{Class, RawOutputs};

use super::config::FinetuneConfig;
use super::error::FinetuneError;
use super::learner::Learner;
use super::loss::decode;
use super::objective::on_host;
use crate::export::{export, ExportError, ParityReport, Reference, Weights};
use crate::nn::arch::Arch;
use crate::nn::normalisation;
use crate::nn::usual::Usual;
use crate::nn::weights::StateDict;
use crate::nn::Backend;
use crate::run::RunFolder;

/// Exports the model, and keeps its weights.
///
/// # Errors
/// As [`onnx`].
pub(super) fn ship<A: Arch, D: Backend>(
    learner: &Learner<A, D>,
    config: &FinetuneConfig,
    data: &PackedSet,
    folder: &RunFolder,
) -> Result<(PathBuf, ParityReport), FinetuneError> {
    let path = folder.path().join("model.onnx");
    let mut dict = learner.weights();
    let parity = onnx(learner, &dict, config, data, &path)?;
    dict.metadata
        .insert("format".into(), "intertwine-detector-1".into());
    // So that another fine-tuning can start from its encoder.
    let encoder = toml::to_string(&config.model).expect("a config is plain data");
    dict.metadata.insert("model".into(), encoder);
    let usual = Usual {
        side: Some(learner.spec.image_size),
        window: Some(config.data.window),
    };
    usual.note(&mut dict.metadata);
    normalisation::note(config.data.normalisation(), &mut dict.metadata);
    dict.write(&folder.model())?;
    Ok((path, parity))
}

/// Exports the model, with its [weights](Learner::weights), to `path`, after checking it against training on a picture of the data.
///
/// # Errors
/// If the two differ, or the file cannot be written.
pub(super) fn onnx<A: Arch, D: Backend>(
    learner: &Learner<A, D>,
    dict: &StateDict,
    config: &FinetuneConfig,
    data: &PackedSet,
    path: &Path,
) -> Result<ParityReport, FinetuneError> {
    let Learner {
        model,
        spec,
        positions,
        anchors,
        ..
    } = learner;
    let mut weights = Weights::new();
    for (name, tensor) in &dict.tensors {
        if !["mask_token", "pos_mask_token", "pos_field.weight"].contains(&name.as_str()) {
            weights.insert(
                name.clone(),
                &tensor.shape,
                Cow::Borrowed(&tensor.values[..]),
            )?;
        }
    }
    let grid = spec.grid();
    let field = dict.tensors.get("pos_field.weight");
    let baked = positions.bake(field.map_or(&[], |f| &f.values), A::WIDTH);
    weights.insert("pos_embed", &[grid * grid, A::WIDTH], baked)?;
    let classes = data
        .categories()
        .iter()
        .map(|c| Class {
            id: c.id,
            name: c.name.clone(),
        })
        .collect();
    let card = spec.card(classes, config.data.normalisation());

    let picture = data.read(0)?.image;
    let mut preprocessor = intertwine_detect::Preprocessor::new(&card);
    let mut image = vec![0.0; preprocessor.input_len()];
    preprocessor
        .apply(&picture, &mut image)
        .map_err(intertwine_detect::DetectError::from)
        .map_err(ExportError::from)?;
    let patches = cut(&image, spec.image_size, spec.patch);
    let (outputs, NoneTape) = model.forward(patches, positions.view(), 1, grid, None, NoneTape);
    let host = on_host(&outputs, 1).remove(0);
    let boxes: Vec<f32> = anchors
        .iter()
        .zip(host.distances.chunks_exact(4))
        .flat_map(|(a, d)| decode(a, d))
        .collect();
    let scores: Vec<f32> = host
        .logits
        .iter()
        .map(|z| 1.0 / (1.0 + (-z).exp()))
        .collect();
    let coefficients: Vec<f32> = host.coefficients.iter().map(|v| v.tanh()).collect();
    // Rows to planes, as the exported network has them.
    let count = spec.prototypes.max(1);
    let cells = host.prototypes.len() / count;
    let prototypes: Vec<f32> = (0..count)
        .flat_map(|p| (0..cells).map(move |i| (i, p)))
        .map(|(i, p)| host.prototypes[i * count + p])
        .collect();
    let has_masks = spec.prototypes > 0;
    let outputs = RawOutputs {
        boxes: &boxes,
        scores: &scores,
        coefficients: has_masks.then_some(&coefficients[..]),
        prototypes: has_masks.then_some(&prototypes[..]),
    };
    Ok(export(
        spec,
        &weights,
        &card,
        Reference {
            image: &image,
            outputs,
        },
        path,
    )?)
}

/// A planar picture as rows of patches, columns in (channel, y, x) order.
fn cut(image: &[f32], side: usize, patch: usize) -> Vec<f32> {
    let grid = side / patch;
    let mut out = Vec::with_capacity(image.len());
    for cell in 0..grid * grid {
        let (row, column) = (cell / grid * patch, cell % grid * patch);
        for channel in 0..3 {
            for y in row..row + patch {
                out.extend_from_slice(&image[(channel * side + y) * side + column..][..patch]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};
    use intertwine_detect::Preprocessor;
    use intertwine_flow::random::{stream, Purpose};

    use super::super::config::PRESETS;
    use super::*;
    use crate::augment::detection::{DetectionAugment, DetectionScratch, TrainImage};
    use crate::config::resolve;
    use crate::nn::arch::Tiny;

    #[test]
    fn the_edge_sees_the_colours_that_training_saw() {
        let set = ["data.mean=[0.5, 0.4, 0.3]", "data.std=[0.5, 0.6, 0.7]"].map(String::from);
        let config: FinetuneConfig = resolve(PRESETS, "pico", None, &set).unwrap();
        let spec = config.spec::<Tiny>(&config.model, 2, false);
        let side = spec.image_size as u32;
        let picture = RgbImage::from_fn(side, side, |x, y| {
            Rgb([3 * x as u8, 2 * y as u8, (x * y) as u8])
        });
        let mut trained = TrainImage::default();
        let (mut rng, mut scratch) = (
            stream(0, Purpose::Augment, 0, 0),
            DetectionScratch::default(),
        );
        DetectionAugment::new(config.augmentation(&spec).plain())
            .unwrap()
            .apply(&picture, &[], &mut rng, &mut scratch, &mut trained)
            .unwrap();
        let mut preprocessor =
            Preprocessor::new(&spec.card(Vec::new(), config.data.normalisation()));
        let mut image = vec![0.0; preprocessor.input_len()];
        preprocessor.apply(&picture, &mut image).unwrap();
        let seen = cut(&image, spec.image_size, spec.patch);
        let pairs = seen.iter().zip(trained.view.patches());
        let largest = pairs.fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(largest < 1e-5, "{largest}");
        // Black is as far below 0 as was said.
        assert!((seen[0] + 1.0).abs() < 1e-6, "{}", seen[0]);
    }
}
