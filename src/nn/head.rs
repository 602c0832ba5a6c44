//! The projection head: a three-layer perceptron, L2 normalisation, and a weight-normed linear layer onto
//! K prototypes (METHOD section 3, as DINO).

use dfdx::prelude::*;

use super::backend::Activation;
use super::module::Init;
use super::ops::cross_entropy::SoftTarget;
use super::vit::Linear;
use super::{Backend, Matrix, Rows, Scalar};
use crate::module;

/// The sizes of a head.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadConfig {
    /// Width of the two hidden layers.
    pub hidden: usize,
    /// Width before the prototypes.
    pub bottleneck: usize,
    /// K.
    pub prototypes: usize,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct ProjectionHead<C: Dim, D: Backend> {
    /// First layer.
    pub fc1: Linear<C, usize, D>,
    /// Second layer.
    pub fc2: Linear<usize, usize, D>,
    /// To the bottleneck.
    pub fc3: Linear<usize, usize, D>,
    /// The prototypes' directions, `[K, bottleneck]`; their lengths are fixed at 1.
    pub prototypes: Matrix<usize, usize, D>,
}
module!([C: Dim, D: Backend] ProjectionHead<C, D> { fc1, fc2, fc3, prototypes });

impl<C: Dim, D: Backend> ProjectionHead<C, D> {
    /// A fresh head on features of the given width.
    pub fn new(init: &mut Init<D>, width: C, config: &HeadConfig) -> Self {
        Self {
            fc1: Linear::new(init, width, config.hidden),
            fc2: Linear::new(init, config.hidden, config.hidden),
            fc3: Linear::new(init, config.hidden, config.bottleneck),
            prototypes: init.trunc_normal((config.prototypes, config.bottleneck), 0.02),
        }
    }

    /// `[rows, C] -> logits [rows, K]`, cosines in [-1, 1].
    pub fn forward<T: Tape<f32, D>>(&self, x: Rows<C, D, T>) -> Rows<usize, D, T> {
        let (x, directions) = self.before_logits(x);
        D::linear(x, &directions, None)
    }

    /// The cross-entropy of `x` against a target and that of each row, see
    /// [`cross_entropy`](super::ops::cross_entropy).
    pub fn cross_entropy<T: Tape<f32, D>>(
        &self,
        x: Rows<C, D, T>,
        target: &SoftTarget<usize, D>,
        temperature: f32,
    ) -> (Scalar<D, T>, Vec<f64>) {
        let (x, directions) = self.before_logits(x);
        D::prototype_cross_entropy(x, &directions, target, temperature)
    }

    /// The unit features in the bottleneck and the unit prototypes, `[K, bottleneck]`.
    fn before_logits<T: Tape<f32, D>>(
        &self,
        x: Rows<C, D, T>,
    ) -> (Rows<usize, D, T>, Matrix<usize, usize, D>) {
        let x = D::activation(self.fc1.forward(x), Activation::Gelu);
        let x = D::activation(self.fc2.forward(x), Activation::Gelu);
        let (x, tape) = D::l2_normalize(self.fc3.forward(x), 1e-6).split_tape();
        let (directions, tape) =
            D::l2_normalize(self.prototypes.clone().put_tape(tape), 1e-6).split_tape();
        (x.put_tape(tape), directions)
    }
}
