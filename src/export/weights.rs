//! Named weights, borrowed from a checkpoint or owned.
use std::borrow::Cow;
use std::collections::BTreeMap;

use intertwine_flow::random::{stream, Purpose};
use rand_distr::{Distribution, StandardNormal};

use super::spec::DetectorSpec;
use super::ExportError;

/// A network's weights by name, each with its shape; row-major, in PyTorch's order of dimensions.
#[derive(Clone, Debug, Default)]
pub struct Weights<'a>(BTreeMap<String, Weight<'a>>);

#[derive(Clone, Debug)]
struct Weight<'a> {
    shape: Vec<usize>,
    data: Cow<'a, [f32]>,
}

impl<'a> Weights<'a> {
    /// No weights.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a weight, in place of one of the same name.
    ///
    /// # Errors
    /// [`ExportError::WeightLength`] when the data does not fill the shape.
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        data: impl Into<Cow<'a, [f32]>>,
    ) -> Result<(), ExportError> {
        let (name, data) = (name.into(), data.into());
        if data.len() != shape.iter().product::<usize>() {
            return Err(ExportError::WeightLength {
                name,
                found: data.len(),
                shape: shape.to_vec(),
            });
        }
        self.0.insert(
            name,
            Weight {
                shape: shape.to_vec(),
                data,
            },
        );
        Ok(())
    }

    /// The data of a weight, which must have this shape.
    ///
    /// # Errors
    /// [`ExportError::MissingWeight`] with the most similar name there is, or
    /// [`ExportError::WeightShape`].
    pub fn get(&self, name: &str, expected: &[usize]) -> Result<&[f32], ExportError> {
        let Some(weight) = self.0.get(name) else {
            let similarity = |other: &&String| (strsim::jaro_winkler(name, other) * 1e6) as u64;
            return Err(ExportError::MissingWeight {
                name: name.to_owned(),
                expected: expected.to_vec(),
                nearest: self.0.keys().max_by_key(similarity).cloned(),
            });
        };
        if weight.shape != expected {
            return Err(ExportError::WeightShape {
                name: name.to_owned(),
                found: weight.shape.clone(),
                expected: expected.to_vec(),
            });
        }
        Ok(&weight.data)
    }

    /// Takes a weight out.
    pub fn remove(&mut self, name: &str) -> Option<(Vec<usize>, Cow<'a, [f32]>)> {
        self.0
            .remove(name)
            .map(|weight| (weight.shape, weight.data))
    }

    /// Names, shapes and data, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[usize], &[f32])> {
        self.0
            .iter()
            .map(|(name, w)| (name.as_str(), w.shape.as_slice(), w.data.as_ref()))
    }

    /// Checks that these are exactly the weights of a network, and that every value is finite.
    ///
    /// Weights without a place are an error because they are how a checkpoint of a deeper network
    /// shows; a caller whose checkpoint holds more than the detector inserts only
    /// [`DetectorSpec::weights`].
    ///
    /// # Errors
    /// The errors of [`get`](Self::get), [`ExportError::UnexpectedWeights`] and
    /// [`ExportError::NotFinite`].
    pub fn check(&self, spec: &DetectorSpec) -> Result<(), ExportError> {
        let expected = spec.weights();
        for weight in &expected {
            let data = self.get(&weight.name, &weight.shape)?;
            if let Some(i) = data.iter().position(|v| !v.is_finite()) {
                return Err(ExportError::NotFinite {
                    name: weight.name.clone(),
                    index: coordinates(i, &weight.shape),
                    value: data[i],
                });
            }
        }
        let known: std::collections::BTreeSet<_> =
            expected.iter().map(|w| w.name.as_str()).collect();
        let names: Vec<_> = self
            .0
            .keys()
            .filter(|name| !known.contains(name.as_str()))
            .cloned()
            .collect();
        if !names.is_empty() {
            return Err(ExportError::UnexpectedWeights { names });
        }
        Ok(())
    }

    /// Untrained weights at which activations neither vanish nor explode and no weight is neutral,
    /// so that benchmarks and comparisons exercise everything: matrices are normal with variance
    /// 1 / inputs, gains lie around 1, biases around 0. The same seed gives the same weights.
    pub fn random(spec: &DetectorSpec, seed: u64) -> Weights<'static> {
        let weights = spec.weights().into_iter().enumerate().map(|(i, weight)| {
            let mut random = stream(seed, Purpose::Weights, 0, i as u64);
            let (mean, deviation) = distribution(&weight.name, &weight.shape);
            let draw = |_| {
                let normal: f32 = StandardNormal.sample(&mut random);
                mean + deviation * normal
            };
            let data: Vec<f32> = (0..weight.shape.iter().product()).map(draw).collect();
            (
                weight.name,
                Weight {
                    shape: weight.shape,
                    data: Cow::Owned(data),
                },
            )
        });
        Weights(weights.collect())
    }
}

/// Mean and standard deviation of an untrained weight.
fn distribution(name: &str, shape: &[usize]) -> (f32, f32) {
    match (name, shape) {
        ("cls_token" | "reg_token" | "pos_embed", _) => (0.0, 0.5),
        // A transposed convolution without overlap: each output sums over the input channels.
        (_, [inputs, _, 2, 2]) => (0.0, (*inputs as f32).powf(-0.5)),
        (_, [_, inputs @ ..]) if !inputs.is_empty() => {
            (0.0, (inputs.iter().product::<usize>() as f32).powf(-0.5))
        }
        // A detector starts sure of nothing (Lin et al. 2017, section 3.3).
        ("head.cls.bias", _) => (-2.0, 0.1),
        _ if name.ends_with(".bias") => (0.0, 0.1),
        _ => (1.0, 0.1),
    }
}

/// The coordinates of the value at a place in a row-major array.
pub(super) fn coordinates(mut place: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, dim) in index.iter_mut().zip(shape).rev() {
        *i = place % dim;
        place /= dim;
    }
    index
}
