//! Encoders in files: where they lie, and what the files say of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::normalisation;
use super::usual::Usual;
use super::vit::VitConfig;
use super::weights::{StateDict, WeightsError};
use crate::config::Validate;
use crate::field::Normalisation;
use crate::run::CHECKPOINT;

/// The teacher's encoder in the checkpoint of a pretraining.
const TEACHER: &str = "teacher.vit.";

/// Reads the weights of an encoder, and says from which file: that of a run's folder, its checkpoint if the run has not ended, or
/// the file itself. Of a pretraining's checkpoint they are its teacher's.
///
/// # Errors
/// As [`StateDict::read`]; a checkpoint that holds no encoder.
pub fn read(path: &Path) -> Result<(PathBuf, StateDict), WeightsError> {
    let (model, checkpoint) = (path.join("model.safetensors"), path.join(CHECKPOINT));
    let unfinished = !model.exists() && checkpoint.exists();
    let file = match path.is_dir() {
        true if unfinished => checkpoint,
        true => model,
        false => path.to_owned(),
    };
    let mut weights = StateDict::read(&file)?;
    let is_checkpoint = weights.tensors.keys().any(|name| name.starts_with(TEACHER));
    match is_checkpoint && weights.metadata.contains_key("model") {
        true => {
            let all = std::mem::take(&mut weights.tensors).into_iter();
            let of_teacher = all.filter_map(|(name, tensor)| {
                let name = name.strip_prefix(TEACHER)?;
                Some((name.to_owned(), tensor))
            });
            weights.tensors = of_teacher.collect();
        }
        false if unfinished || is_checkpoint => {
            return Err(WeightsError::Unfinished { path: file });
        }
        false => {}
    }
    Ok((file, weights))
}

/// Steps that the pretraining had done of whose checkpoint these weights are.
pub fn stopped_after(weights: &StateDict) -> Option<u64> {
    weights.metadata.get("step")?.parse().ok()
}

/// What the notes of an encoder's file say: the network, and how it sees pictures. `None` for a file that is not ours.
///
/// # Errors
/// Notes that cannot be.
pub fn notes(
    notes: &BTreeMap<String, String>,
) -> Result<Option<(VitConfig, Normalisation, Usual)>, String> {
    let Some(model) = notes.get("model") else {
        return Ok(None);
    };
    let (colours, usual) = (normalisation::noted(notes)?, Usual::noted(notes)?);
    Ok(Some((noted(model)?, colours, usual)))
}

/// The config in the note `model` of an encoder's file.
///
/// # Errors
/// If there is no such network.
fn noted(model: &str) -> Result<VitConfig, String> {
    let wrong = |e: &dyn std::fmt::Display| format!("its note `model` is no encoder's config: {e}");
    let config: VitConfig = toml::from_str(model).map_err(|e| wrong(&e))?;
    config.validate().map_err(|e| wrong(&e))?;
    Ok(config)
}
