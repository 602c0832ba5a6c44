//! Everything a stopped run needs to go on as if it had never stopped.

use std::path::Path;

use dfdx::shapes::HasShape;

use super::network::Network;
use super::objective::Centres;
use crate::nn::arch::Arch;
use crate::nn::optim::Optimizer;
use crate::nn::weights::{HostTensor, StateDict, WeightsError};
use crate::nn::Backend;

const FORMAT: &str = "intertwine-pretrain-1";

/// The moving parts of a run. The position in the data is `step * batch`; no generator has a state.
#[derive(Clone, Debug)]
pub struct State<A: Arch, D: Backend> {
    /// Learns.
    pub student: Network<A, D>,
    /// Follows.
    pub teacher: Network<A, D>,
    /// AdamW's averages.
    pub optimizer: Optimizer<D>,
    /// The teacher's centres.
    pub centres: Centres,
    /// Steps done.
    pub step: u64,
}

/// Why a checkpoint cannot be gone on from.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Not readable, or tensors that do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Readable, but not one of ours, or of other data.
    #[error("{path}: {problem}")]
    Foreign {
        /// The file.
        path: String,
        /// What is wrong, what was expected.
        problem: String,
    },
}

impl<A: Arch, D: Backend> State<A, D> {
    /// Writes the checkpoint; `data` identifies the data set.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, path: &Path, data: &str) -> Result<(), WeightsError> {
        let mut dict = StateDict::default();
        dict.insert_module("student", &self.student);
        dict.insert_module("teacher", &self.teacher);
        self.optimizer.walk(&self.student, |name, t| {
            let values = D::to_host(t);
            dict.tensors.insert(format!("optimizer.{name}"), HostTensor { shape: vec![values.len()], values });
        });
        for (name, centre) in [("image", &self.centres.image), ("patch", &self.centres.patch)] {
            let tensor = HostTensor { shape: vec![centre.len()], values: centre.clone() };
            dict.tensors.insert(format!("centres.{name}"), tensor);
        }
        let notes = [
            ("format", FORMAT.to_owned()),
            ("step", self.step.to_string()),
            ("optimizer_steps", self.optimizer.steps.to_string()),
            ("data", data.to_owned()),
        ];
        dict.metadata.extend(notes.map(|(k, v)| (k.to_owned(), v)));
        dict.write(path)
    }

    /// Replaces the state by a checkpoint's.
    ///
    /// # Errors
    /// A damaged or foreign file, or one of other data. The state must then not be used.
    pub fn load(&mut self, path: &Path, data: &str) -> Result<(), CheckpointError> {
        let dict = StateDict::read(path)?;
        let foreign = |problem: String| CheckpointError::Foreign { path: path.display().to_string(), problem };
        let note = |key: &str| {
            dict.metadata.get(key).ok_or_else(|| foreign(format!("no `{key}` in its metadata, expected a checkpoint of a pretraining run")))
        };
        if note("format")? != FORMAT {
            return Err(foreign(format!("format `{}`, expected `{FORMAT}`", note("format")?)));
        }
        if note("data")? != data {
            return Err(foreign("it was made on another data set; resume with the data of the run, or start a new run".into()));
        }
        let number = |key: &str| -> Result<u64, CheckpointError> {
            let text = note(key)?;
            text.parse().map_err(|_| foreign(format!("`{key}` is `{text}`, expected a number")))
        };
        self.step = number("step")?;
        self.optimizer.steps = number("optimizer_steps")?;
        dict.load_module("student", &mut self.student, |_| false)?;
        dict.load_module("teacher", &mut self.teacher, |_| false)?;
        let mut missing = None;
        let mut take = |name: String, len: usize| match dict.tensors.get(&name) {
            Some(t) if t.values.len() == len => Some(&t.values),
            _ => {
                missing.get_or_insert(name);
                None
            }
        };
        self.optimizer.walk_mut(&self.student, |name, t| {
            if let Some(values) = take(format!("optimizer.{name}"), t.shape().0) {
                t.copy_from(values);
            }
        });
        for (name, centre) in [("image", &mut self.centres.image), ("patch", &mut self.centres.patch)] {
            if let Some(values) = take(format!("centres.{name}"), centre.len()) {
                centre.copy_from_slice(values);
            }
        }
        match missing {
            Some(name) => Err(foreign(format!("tensor `{name}` is missing or of another size"))),
            None => Ok(()),
        }
    }
}
