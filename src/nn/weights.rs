//! Weights in and out of safetensors files, under timm's names and in PyTorch's layouts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::View;
use safetensors::{Dtype, SafeTensors};

use super::{Backend, Kind, Module};

/// The one entry of a file's metadata in which all our notes are kept, as JSON: the library writes entries
/// in an order that differs from run to run, and equal runs shall write equal files.
const NOTES: &str = "intertwine";

/// Why weights could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// Not a safetensors file, or a damaged one.
    #[error("{}: not a readable safetensors file: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A run that has not come so far.
    #[error("{}: the checkpoint of a run that has not ended, without an encoder to start from; go on with it (--resume)", path.display())]
    Unfinished {
        /// The checkpoint.
        path: PathBuf,
    },
    /// A tensor has another shape than the network.
    #[error("{origin}: tensor `{name}` has shape {found:?}, the network needs {expected:?}; check `arch`, `depth` and the head sizes in the config")]
    Shape {
        /// Where the weights come from.
        origin: String,
        /// The tensor.
        name: String,
        /// Its sizes.
        found: Vec<usize>,
        /// The sizes needed.
        expected: Vec<usize>,
    },
    /// Tensors that the network needs are not there.
    #[error("{origin}: {} tensors are missing, the first is `{}`; {hint}", names.len(), names[0])]
    Missing {
        /// Where the weights come from.
        origin: String,
        /// What is missing, never empty.
        names: Vec<String>,
        /// What the file has instead.
        hint: String,
    },
    /// A number type we do not read.
    #[error("{origin}: tensor `{name}` is stored as {dtype}, expected F32 or BF16")]
    Dtype {
        /// Where the weights come from.
        origin: String,
        /// The tensor.
        name: String,
        /// Its number type.
        dtype: String,
    },
}

/// One tensor on the host, in PyTorch's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Sizes.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub values: Vec<f32>,
}

impl View for &HostTensor {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if cfg!(target_endian = "little") {
            // Lent, since a checkpoint can be large against the memory, and is copied into the file's bytes already.
            Cow::Borrowed(bytemuck::cast_slice(&self.values))
        } else {
            Cow::Owned(self.values.iter().flat_map(|v| v.to_le_bytes()).collect())
        }
    }

    fn data_len(&self) -> usize {
        size_of_val(&self.values[..])
    }
}

/// Named tensors on the host, in PyTorch's layouts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    /// Where they come from, for messages.
    pub origin: String,
    /// The tensors.
    pub tensors: BTreeMap<String, HostTensor>,
    /// The file's own notes.
    pub metadata: BTreeMap<String, String>,
}

impl StateDict {
    /// Adds a module's parameters, their names behind `prefix`.
    pub fn insert_module<D: Backend>(&mut self, prefix: &str, module: &impl Module<D>) {
        module.walk(prefix, &mut |name, kind, t| {
            let (shape, values) = to_pytorch(kind, &t.sizes(), t.to_host());
            self.tensors
                .insert(name.to_owned(), HostTensor { shape, values });
        });
    }

    /// Loads a module's parameters from the names behind `prefix`. `optional(name)` lets a parameter be
    /// missing; it then keeps its value. Other tensors of the dictionary are left alone.
    ///
    /// # Errors
    /// A missing tensor or a wrong shape; the module is then partly loaded and must not be used.
    pub fn load_module<D: Backend>(
        &self,
        prefix: &str,
        module: &mut impl Module<D>,
        optional: impl Fn(&str) -> bool,
    ) -> Result<(), WeightsError> {
        let (mut missing, mut wrong) = (Vec::new(), None);
        module.walk_mut(prefix, &mut |name, kind, t| {
            let sizes = t.sizes();
            match self.tensors.get(name) {
                None if optional(name) => {}
                None => missing.push(name.to_owned()),
                Some(found) => {
                    let expected = pytorch_shape(kind, &sizes);
                    if found.shape == expected {
                        t.load(&from_pytorch(kind, &sizes, &found.values));
                    } else if wrong.is_none() {
                        wrong = Some(WeightsError::Shape {
                            origin: self.origin.clone(),
                            name: name.to_owned(),
                            found: found.shape.clone(),
                            expected,
                        });
                    }
                }
            }
        });
        if !missing.is_empty() {
            let some: Vec<&str> = self.tensors.keys().take(3).map(String::as_str).collect();
            let hint = format!(
                "the file has {} tensors ({}, ..)",
                self.tensors.len(),
                some.join(", ")
            );
            return Err(WeightsError::Missing {
                origin: self.origin.clone(),
                names: missing,
                hint,
            });
        }
        wrong.map_or(Ok(()), Err)
    }

    /// Reads a safetensors file.
    ///
    /// # Errors
    /// As [`WeightsError`]; a damaged file is an error, never a panic.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        let bytes = std::fs::read(path).map_err(|source| WeightsError::Io {
            path: path.to_owned(),
            source,
        })?;
        let format = |e: safetensors::SafeTensorError| WeightsError::Format {
            path: path.to_owned(),
            reason: e.to_string(),
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(format)?;
        let file = SafeTensors::deserialize(&bytes).map_err(format)?;
        let origin = path.display().to_string();
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let values = match view.dtype() {
                Dtype::F32 => view
                    .data()
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect(),
                Dtype::BF16 => view
                    .data()
                    .chunks_exact(2)
                    .map(|b| f32::from_le_bytes([0, 0, b[0], b[1]]))
                    .collect(),
                other => {
                    return Err(WeightsError::Dtype {
                        origin,
                        name,
                        dtype: format!("{other:?}"),
                    })
                }
            };
            tensors.insert(
                name,
                HostTensor {
                    shape: view.shape().to_vec(),
                    values,
                },
            );
        }
        let mut metadata: BTreeMap<String, String> = header
            .metadata()
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        if let Some(notes) = metadata.remove(NOTES) {
            let notes: BTreeMap<String, String> =
                serde_json::from_str(&notes).map_err(|e| WeightsError::Format {
                    path: path.to_owned(),
                    reason: format!("its note `{NOTES}` cannot be read: {e}"),
                })?;
            metadata.extend(notes);
        }
        Ok(Self {
            origin,
            tensors,
            metadata,
        })
    }

    /// Writes a safetensors file: beside, then renamed, so that a reader never sees half of it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, path: &Path) -> Result<(), WeightsError> {
        let format = |e: safetensors::SafeTensorError| WeightsError::Format {
            path: path.to_owned(),
            reason: e.to_string(),
        };
        let notes = serde_json::to_string(&self.metadata).expect("strings are JSON");
        let metadata = std::iter::once((NOTES.to_owned(), notes)).collect();
        let file = safetensors::serialize(&self.tensors, Some(metadata)).map_err(format)?;
        intertwine_files::own_bytes(path, &file).map_err(|source| WeightsError::Io {
            path: path.to_owned(),
            source,
        })
    }
}

/// The sizes that PyTorch gives a parameter.
fn pytorch_shape(kind: Kind, sizes: &[usize]) -> Vec<usize> {
    match kind {
        Kind::Plain => sizes.to_vec(),
        Kind::Conv { side } => vec![sizes[0], sizes[1] / (side * side), side, side],
        Kind::Deconv2x2 => vec![sizes[1], sizes[0] / 4, 2, 2],
        Kind::Patches => {
            let side = (sizes[1] / 3).isqrt();
            vec![sizes[0], 3, side, side]
        }
        Kind::Token => match *sizes {
            [width] => vec![1, 1, width],
            _ => [&[1], sizes].concat(),
        },
    }
}

/// Sizes and values as PyTorch has them.
fn to_pytorch(kind: Kind, sizes: &[usize], values: Vec<f32>) -> (Vec<usize>, Vec<f32>) {
    let shape = pytorch_shape(kind, sizes);
    let values = match permutation(kind, sizes) {
        None => values,
        Some(ours) => ours.map(|i| values[i]).collect(),
    };
    (shape, values)
}

/// Values as we have them.
fn from_pytorch(kind: Kind, sizes: &[usize], values: &[f32]) -> Vec<f32> {
    match permutation(kind, sizes) {
        None => values.to_vec(),
        Some(ours) => {
            let mut out = vec![0.0; values.len()];
            ours.zip(values).for_each(|(i, v)| out[i] = *v);
            out
        }
    }
}

/// For each element in PyTorch's order, its index in ours; `None` where the orders agree.
fn permutation(kind: Kind, sizes: &[usize]) -> Option<Box<dyn Iterator<Item = usize>>> {
    match kind {
        Kind::Plain | Kind::Patches | Kind::Token => None,
        Kind::Conv { side } => {
            let (out, taps) = (sizes[0], side * side);
            let inp = sizes[1] / taps;
            Some(Box::new((0..out).flat_map(move |o| {
                (0..inp).flat_map(move |i| (0..taps).map(move |t| (o * taps + t) * inp + i))
            })))
        }
        Kind::Deconv2x2 => {
            let (out, inp) = (sizes[0] / 4, sizes[1]);
            Some(Box::new((0..inp).flat_map(move |i| {
                (0..out).flat_map(move |o| (0..4).map(move |t| (t * out + o) * inp + i))
            })))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_travels_to_pytorch_and_back() {
        // [out 1, (4 taps, 2 channels)] with value 10 * tap + channel
        let ours: Vec<f32> = (0..4)
            .flat_map(|t| (0..2).map(move |c| (10 * t + c) as f32))
            .collect();
        let (shape, theirs) = to_pytorch(Kind::Conv { side: 2 }, &[1, 8], ours.clone());
        assert_eq!(shape, [1, 2, 2, 2]);
        assert_eq!(theirs, [0.0, 10.0, 20.0, 30.0, 1.0, 11.0, 21.0, 31.0]);
        assert_eq!(from_pytorch(Kind::Conv { side: 2 }, &[1, 8], &theirs), ours);
    }

    #[test]
    fn a_deconvolution_travels_to_pytorch_and_back() {
        // [(4 taps, 1 out), 2 in]
        let ours: Vec<f32> = (0..4)
            .flat_map(|t| (0..2).map(move |i| (10 * t + i) as f32))
            .collect();
        let (shape, theirs) = to_pytorch(Kind::Deconv2x2, &[4, 2], ours.clone());
        assert_eq!(shape, [2, 1, 2, 2]);
        assert_eq!(theirs, [0.0, 10.0, 20.0, 30.0, 1.0, 11.0, 21.0, 31.0]);
        assert_eq!(from_pytorch(Kind::Deconv2x2, &[4, 2], &theirs), ours);
    }

    #[test]
    fn damaged_files_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let mut dict = StateDict::default();
        let values = vec![1.0, -2.0, 3.5, 0.0];
        dict.tensors.insert(
            "a".into(),
            HostTensor {
                shape: vec![2, 2],
                values,
            },
        );
        dict.metadata.insert("step".into(), "7".into());
        dict.write(&path).unwrap();
        let read = StateDict::read(&path).unwrap();
        assert_eq!(read.tensors, dict.tensors);
        assert_eq!(read.metadata, dict.metadata);
        let whole = std::fs::read(&path).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert!(
                StateDict::read(&path).is_err(),
                "truncated to {len} of {} bytes",
                whole.len()
            );
        }
    }
}
