//! A step at which something was not finite: kept when it fails, and taken again to see where that began.
//!
//! ```text
//! failed/step-000123/state.safetensors    the state before the step, as in a checkpoint
//! failed/step-000123/part-0.safetensors   the batch, a file for each of its parts
//! ```
//!
//! The last good checkpoint stays as it is. `seen` looks at the tensors.

mod seen;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dfdx::prelude::*;
use intertwine_datasets::{Mix, Rank};

use super::batch::Batch;
use super::checkpoint::{Inputs, State};
use super::config::PretrainConfig;
use super::data::batches;
use super::error::PretrainError;
use super::step::step;
use crate::config::{ConfigError, Validate};
use crate::nn::arch::{self, Arch, WithArch};
use crate::nn::positions::Encoding;
use crate::nn::weights::StateDict;
use crate::nn::Backend;
use crate::run::{RunError, RunFolder};

pub use seen::{Kind, Seen};

const FOLDER: &str = "failed";
const STATE: &str = "state.safetensors";
/// The note of a kept state that says how long the run was to be: rates depend on it.
const STEPS: &str = "steps";

/// What became of a step that was taken again.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// The step.
    pub step: u64,
    /// What was not finite, as training says it; none if all was.
    pub failure: Option<String>,
}

fn part_file(folder: &Path, part: u64) -> PathBuf {
    folder.join(format!("part-{part}.safetensors"))
}

/// Keeps the step that `state` is to take, of `steps`. Its batch is read again from the data, which gives the same: so
/// no step has to hold on to its own in case it fails. The state is written last; with it the step is whole.
pub(super) fn keep<A: Arch, D: Backend>(
    run: &RunFolder,
    state: &State<A, D>,
    config: &PretrainConfig,
    steps: u64,
    (data, inputs): (&Arc<Mix>, &Inputs),
) -> Result<PathBuf, PretrainError> {
    let folder = run
        .path()
        .join(FOLDER)
        .join(format!("step-{:06}", state.step));
    fs::create_dir_all(&folder).map_err(|source| RunError::Io {
        path: folder.clone(),
        source,
    })?;
    let encoding = (Encoding::of(&config.model), A::WIDTH);
    let mut feed = batches(data, config, encoding, Rank::ALONE, state.step)?;
    for part in 0..config.optim.accumulate as u64 {
        let batch = feed.next_part()?.to_dict();
        batch.write(&part_file(&folder, part))?;
    }
    let mut dict = state.to_dict(inputs);
    dict.metadata.insert(STEPS.into(), steps.to_string());
    dict.write(&folder.join(STATE))?;
    Ok(folder)
}

/// The first tensor of a step that was kept that is not finite, as far as the losses; none if all are, or the step cannot be
/// read. (Gradients are not shown in the order in which they are computed.)
pub(super) fn began<A: Arch, D: Backend>(
    folder: &Path,
    state: &State<A, D>,
    config: &PretrainConfig,
    steps: u64,
) -> Option<String> {
    let mut first = None;
    let mut see = |seen: Seen| {
        let forward = matches!(seen.kind, Kind::Weight | Kind::Activation);
        if forward && seen.not_finite > 0 {
            first.get_or_insert(seen.name);
        }
    };
    seen::walk(
        state,
        config,
        steps,
        |at| part::<A>(folder, config, at),
        &mut see,
    )
    .ok()?;
    first
}

/// A part of the batch of a step that was kept.
fn part<A: Arch>(
    folder: &Path,
    config: &PretrainConfig,
    part: u64,
) -> Result<Batch, PretrainError> {
    let dict = StateDict::read(&part_file(folder, part))?;
    let encoding = (Encoding::of(&config.model), A::WIDTH);
    let values = 3 * config.model.patch().pow(2);
    Ok(Batch::from_dict(&dict, encoding, values)?)
}

/// Takes the last step that a run has kept again, and shows `see` its tensors in the order in which they are computed.
///
/// # Errors
/// If the run has kept no step, or what it has kept cannot be read.
pub fn replay(run: &Path, see: &mut dyn FnMut(Seen)) -> Result<Replay, PretrainError> {
    struct Run<'a>(&'a PretrainConfig, &'a Path, &'a mut dyn FnMut(Seen));
    impl WithArch for Run<'_> {
        type Output = Result<Replay, PretrainError>;
        fn run<A: Arch>(self) -> Self::Output {
            again::<A>(self.0, self.1, self.2)
        }
    }
    let folder = last_kept(run)?;
    let path = run.join("config.toml");
    let text = fs::read_to_string(&path).map_err(|source| ConfigError::Io {
        path: path.clone(),
        source,
    })?;
    let config: PretrainConfig = toml::from_str(&text).map_err(|e| ConfigError::Syntax {
        origin: path.display().to_string(),
        reason: e.to_string().trim().to_owned(),
    })?;
    config.validate()?;
    arch::dispatch(&config.model.arch, Run(&config, &folder, see))?
}

/// The folder of the last step that was kept.
fn last_kept(run: &Path) -> Result<PathBuf, PretrainError> {
    let folder = run.join(FOLDER);
    let kept = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let step = path.file_name()?.to_str()?.strip_prefix("step-")?;
            let step: u64 = step.parse().ok()?;
            path.join(STATE).exists().then_some((step, path))
        })
        .max();
    let (_, path) = kept.ok_or(PretrainError::NothingKept { path: folder })?;
    Ok(path)
}

fn again<A: Arch>(
    config: &PretrainConfig,
    folder: &Path,
    see: &mut dyn FnMut(Seen),
) -> Result<Replay, PretrainError> {
    let mut state = State::<A, Cpu>::new(&Cpu::default(), config);
    let dict = StateDict::read(&folder.join(STATE))?;
    state.load_dict(&dict)?;
    let steps = dict.number(STEPS)?;
    let part = |at| part::<A>(folder, config, at);
    seen::walk(&state, config, steps, part, see)?;
    let (at, mut next) = (state.step, 0..);
    let taken = step(&mut state, config, steps, || {
        part(next.next().expect("there is always a next number"))
    });
    let failure = match taken {
        Ok(_) => None,
        Err(PretrainError::NotFinite { what, .. }) => Some(what),
        Err(e) => return Err(e),
    };
    Ok(Replay { step: at, failure })
}
