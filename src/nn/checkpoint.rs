//! What checkpoints of all kinds of run share: optimiser state, loose vectors, notes, and their checks.

use std::path::Path;

use dfdx::shapes::HasShape;

use super::optim::Optimizer;
use super::weights::{HostTensor, StateDict, WeightsError};
use super::{Backend, Module};

/// Why a checkpoint cannot be gone on from.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Not readable, or tensors that do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Readable, but not what was expected.
    #[error("{path}: {problem}")]
    Foreign {
        /// The file.
        path: String,
        /// What is wrong, what was expected.
        problem: String,
    },
}

impl StateDict {
    /// A dictionary with the notes that every checkpoint has; `data` identifies the data set.
    pub fn checkpoint(format: &str, step: u64, data: &str) -> Self {
        let mut dict = Self::default();
        let notes = [
            ("format", format.to_owned()),
            ("step", step.to_string()),
            ("data", data.to_owned()),
        ];
        dict.metadata.extend(notes.map(|(k, v)| (k.to_owned(), v)));
        dict
    }

    /// Reads a checkpoint made with the same `format` and `data`; returns it with its step.
    ///
    /// # Errors
    /// A damaged or foreign file, or one of other data.
    pub fn read_checkpoint(
        path: &Path,
        format: &str,
        data: &str,
    ) -> Result<(Self, u64), CheckpointError> {
        let dict = Self::read(path)?;
        if dict.note("format")? != format {
            return Err(dict.foreign(format!(
                "format `{}`, expected `{format}`",
                dict.note("format")?
            )));
        }
        if dict.note("data")? != data {
            let problem = "it was made on another data set; resume with the data of the run, or start a new run";
            return Err(dict.foreign(problem.into()));
        }
        let step = dict.number("step")?;
        Ok((dict, step))
    }

    /// The error of a file that is not what was expected.
    pub(crate) fn foreign(&self, problem: String) -> CheckpointError {
        CheckpointError::Foreign {
            path: self.origin.clone(),
            problem,
        }
    }

    fn note(&self, key: &str) -> Result<&str, CheckpointError> {
        let note = self.metadata.get(key).map(String::as_str);
        note.ok_or_else(|| {
            self.foreign(format!(
                "no `{key}` in its metadata, expected a checkpoint of a run"
            ))
        })
    }

    /// A note that is a number.
    ///
    /// # Errors
    /// If it is missing, or none.
    pub(crate) fn number(&self, key: &str) -> Result<u64, CheckpointError> {
        let text = self.note(key)?;
        text.parse()
            .map_err(|_| self.foreign(format!("`{key}` is `{text}`, expected a number")))
    }

    /// Adds values without a module.
    pub fn insert_vector(&mut self, name: &str, values: &[f32]) {
        let tensor = HostTensor {
            shape: vec![values.len()],
            values: values.to_vec(),
        };
        self.tensors.insert(name.to_owned(), tensor);
    }

    /// Reads what [`insert_vector`](Self::insert_vector) added.
    ///
    /// # Errors
    /// If it is missing or of another length.
    pub fn load_vector(&self, name: &str, into: &mut [f32]) -> Result<(), CheckpointError> {
        match self.tensors.get(name) {
            Some(t) if t.values.len() == into.len() => {
                into.copy_from_slice(&t.values);
                Ok(())
            }
            Some(t) => Err(self.foreign(format!(
                "`{name}` has {} values, expected {}",
                t.values.len(),
                into.len()
            ))),
            None => Err(self.foreign(format!("tensor `{name}` is missing"))),
        }
    }

    /// Adds an optimiser's state for the parameters of `module`.
    pub fn insert_optimizer<D: Backend>(
        &mut self,
        optimizer: &Optimizer<D>,
        module: &impl Module<D>,
    ) {
        optimizer.walk(module, |name, t| {
            self.insert_vector(&format!("optimizer.{name}"), &D::to_host(t))
        });
        self.metadata
            .insert("optimizer_steps".into(), optimizer.steps.to_string());
    }

    /// Reads what [`insert_optimizer`](Self::insert_optimizer) added.
    ///
    /// # Errors
    /// If something is missing or of another size.
    pub fn load_optimizer<D: Backend>(
        &self,
        optimizer: &mut Optimizer<D>,
        module: &impl Module<D>,
    ) -> Result<(), CheckpointError> {
        optimizer.steps = self.number("optimizer_steps")?;
        let mut result = Ok(());
        optimizer.walk_mut(module, |name, t| {
            let mut values = vec![0.0; t.shape().0];
            match self.load_vector(&format!("optimizer.{name}"), &mut values) {
                Ok(()) => t.copy_from(&values),
                Err(e) => result = Err(e),
            }
        });
        result
    }
}
