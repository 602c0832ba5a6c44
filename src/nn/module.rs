//! Parameters and their names.
//!
//! A module is a struct of tensors and modules; its field names are the names in a checkpoint, and they
//! are timm's. [`module!`](crate::nn::module) lists the fields once and both walks come from that list.

use super::Backend;
use dfdx::prelude::*;
use intertwine_flow::random::ChaCha8Rng;
use rand_distr::Distribution;
use std::any::Any;

use super::optim::Moments;
use intertwine_kernels::optim::AdamW;

/// How a tensor lies in memory, against how PyTorch would store it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As it is.
    Plain,
    /// `[out, (ky, kx, in)]` here, `[out, in, k, k]` in PyTorch.
    Conv {
        /// Kernel side.
        side: usize,
    },
    /// `[(dy, dx, out), in]` here, `[in, out, 2, 2]` in PyTorch.
    Deconv2x2,
    /// `[out, (channel, y, x)]` here and in memory there, but of shape `[out, channel, side, side]`.
    Patches,
    /// `[d]` or `[n, d]` here, `[1, 1, d]` or `[1, n, d]` there.
    Token,
}

/// A tensor of any shape, as the optimiser, the teacher and the checkpoint see it.
pub trait AnyTensor<D: Backend>: Any {
    /// The sizes.
    fn sizes(&self) -> Vec<usize>;
    /// The values, on the host, row-major.
    fn to_host(&self) -> Vec<f32>;
    /// Replaces the values; `values` must be as many.
    fn load(&mut self, values: &[f32]);
    /// Sum of squares of the gradient, 0 if none came.
    fn grad_sum_of_squares(&self, grad: &mut Gradients<f32, D>) -> f64 {
        let mut sum = D::Squares::default();
        self.add_grad_squares(grad, &mut sum);
        D::sum_of_squares(sum)
    }
    /// Adds the same to a sum.
    fn add_grad_squares(&self, grad: &mut Gradients<f32, D>, sum: &mut D::Squares);
    /// The gradient, on the host, row-major; zeros if none came.
    fn grad_to_host(&self, grad: &mut Gradients<f32, D>) -> Vec<f32>;
    /// One AdamW step; `teacher`, the same parameter of another copy, then follows with this momentum.
    fn adamw(
        &mut self,
        grad: &mut Gradients<f32, D>,
        moments: &mut Moments<D>,
        teacher: Option<(&mut dyn AnyTensor<D>, f32)>,
        step: &AdamW,
    );
    /// `self = momentum * self + (1 - momentum) * student`; `student` is the same parameter of another copy.
    fn ema(&mut self, student: &dyn AnyTensor<D>, momentum: f32);
    /// For downcasting.
    fn as_any(&self) -> &dyn Any;
    /// For downcasting.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// Why a downcast cannot fail: both walks come from the same type, so the shapes are the same type too.
const SAME_NETWORK: &str = "teacher and student are the same network";

impl<S: Shape, D: Backend> AnyTensor<D> for Tensor<S, f32, D> {
    fn sizes(&self) -> Vec<usize> {
        self.shape().concrete().into()
    }
    fn to_host(&self) -> Vec<f32> {
        D::to_host(self)
    }
    fn load(&mut self, values: &[f32]) {
        self.copy_from(values);
    }
    fn add_grad_squares(&self, grad: &mut Gradients<f32, D>, sum: &mut D::Squares) {
        D::add_grad_squares(self, grad, sum);
    }
    fn grad_to_host(&self, grad: &mut Gradients<f32, D>) -> Vec<f32> {
        match grad.get_or_alloc_mut(self) {
            Ok(_) => D::to_host(&grad.get(self)),
            Err(_) => vec![0.0; self.shape().num_elements()],
        }
    }
    fn adamw(
        &mut self,
        grad: &mut Gradients<f32, D>,
        moments: &mut Moments<D>,
        teacher: Option<(&mut dyn AnyTensor<D>, f32)>,
        step: &AdamW,
    ) {
        let teacher = teacher.map(|(t, momentum)| {
            let t = t.as_any_mut().downcast_mut::<Self>();
            (t.expect(SAME_NETWORK), momentum)
        });
        D::adamw(self, grad, moments, teacher, step);
    }
    fn ema(&mut self, student: &dyn AnyTensor<D>, momentum: f32) {
        let student = student.as_any().downcast_ref::<Self>();
        D::ema(self, student.expect(SAME_NETWORK), momentum);
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// A visit: the name, the kind and the tensor.
pub type Visit<'v, 'a, D> = &'v mut dyn FnMut(&str, Kind, &'a dyn AnyTensor<D>);
/// A visit that may change the tensor.
pub type VisitMut<'v, 'a, D> = &'v mut dyn FnMut(&str, Kind, &'a mut dyn AnyTensor<D>);

/// Something with parameters. The order of a walk never changes.
pub trait Module<D: Backend> {
    /// Visits every parameter; names are prefixed with `path`.
    fn walk<'a>(&'a self, path: &str, visit: Visit<'_, 'a, D>);
    /// Visits every parameter, mutably, in the same order.
    fn walk_mut<'a>(&'a mut self, path: &str, visit: VisitMut<'_, 'a, D>);

    /// The number of values.
    fn parameter_count(&self) -> usize {
        let mut sum = 0;
        self.walk("", &mut |_, _, t| {
            sum += t.sizes().iter().product::<usize>()
        });
        sum
    }
}

/// `path.name`, or `name` at the root.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

impl<S: Shape, D: Backend> Module<D> for Tensor<S, f32, D> {
    fn walk<'a>(&'a self, path: &str, visit: Visit<'_, 'a, D>) {
        visit(path, Kind::Plain, self);
    }
    fn walk_mut<'a>(&'a mut self, path: &str, visit: VisitMut<'_, 'a, D>) {
        visit(path, Kind::Plain, self);
    }
}

impl<D: Backend, M: Module<D>> Module<D> for Option<M> {
    fn walk<'a>(&'a self, path: &str, visit: Visit<'_, 'a, D>) {
        if let Some(m) = self {
            m.walk(path, visit);
        }
    }
    fn walk_mut<'a>(&'a mut self, path: &str, visit: VisitMut<'_, 'a, D>) {
        if let Some(m) = self {
            m.walk_mut(path, visit);
        }
    }
}

impl<D: Backend, M: Module<D>> Module<D> for Vec<M> {
    fn walk<'a>(&'a self, path: &str, visit: Visit<'_, 'a, D>) {
        for (i, m) in self.iter().enumerate() {
            m.walk(&join(path, &i.to_string()), visit);
        }
    }
    fn walk_mut<'a>(&'a mut self, path: &str, visit: VisitMut<'_, 'a, D>) {
        for (i, m) in self.iter_mut().enumerate() {
            m.walk_mut(&join(path, &i.to_string()), visit);
        }
    }
}

/// Implements [`Module`] for a struct: `module!([generics] Type { field, field as Kind, .. })`.
#[macro_export]
macro_rules! module {
    ([$($generics:tt)*] $ty:ty { $($field:ident $(as $kind:expr)?),* $(,)? }) => {
        impl<$($generics)*> $crate::nn::Module<D> for $ty {
            fn walk<'a>(&'a self, path: &str, visit: $crate::nn::module::Visit<'_, 'a, D>) {
                $( $crate::module!(@field walk, &self.$field, stringify!($field), path, visit $(, $kind)?); )*
            }
            fn walk_mut<'a>(&'a mut self, path: &str, visit: $crate::nn::module::VisitMut<'_, 'a, D>) {
                $( $crate::module!(@field walk_mut, &mut self.$field, stringify!($field), path, visit $(, $kind)?); )*
            }
        }
    };
    (@field $walk:ident, $field:expr, $name:expr, $path:ident, $visit:ident) => {
        $crate::nn::Module::<D>::$walk($field, &$crate::nn::module::join($path, $name), $visit)
    };
    (@field $walk:ident, $field:expr, $name:expr, $path:ident, $visit:ident, $kind:expr) => {
        $visit(&$crate::nn::module::join($path, $name), $kind, $field)
    };
}

/// Makes initial values, one after another from one keyed stream.
#[derive(Debug)]
pub struct Init<D: Backend> {
    /// Where the tensors will live.
    pub dev: D,
    rng: ChaCha8Rng,
}

impl<D: Backend> Init<D> {
    /// Initial values on `dev`, the same for the same seed.
    pub fn new(dev: &D, seed: u64) -> Self {
        use intertwine_flow::random::{stream, Purpose};
        Self {
            dev: dev.clone(),
            rng: stream(seed, Purpose::Weights, 0, 0),
        }
    }
    /// All zero.
    pub fn zeros<S: Shape>(&mut self, shape: S) -> Tensor<S, f32, D> {
        self.dev.zeros_like(&shape)
    }
    /// All `value`.
    pub fn constant<S: Shape>(&mut self, shape: S, value: f32) -> Tensor<S, f32, D> {
        self.values(shape, vec![value; shape.num_elements()])
    }
    /// These values.
    pub fn values<S: Shape>(&mut self, shape: S, values: Vec<f32>) -> Tensor<S, f32, D> {
        self.dev.tensor_from_vec(values, shape)
    }
    /// Normal, drawn again beyond two standard deviations (timm's `trunc_normal_` cuts at +-2, which for
    /// std 0.02 cuts nothing; cutting at two deviations is JAX's and TensorFlow's reading).
    pub fn trunc_normal<S: Shape>(&mut self, shape: S, std: f32) -> Tensor<S, f32, D> {
        let values = (0..shape.num_elements())
            .map(|_| loop {
                let z: f32 = rand_distr::StandardNormal.sample(&mut self.rng);
                if z.abs() <= 2.0 {
                    break z * std;
                }
            })
            .collect();
        self.values(shape, values)
    }
    /// Uniform in +-bound.
    pub fn uniform<S: Shape>(&mut self, shape: S, bound: f32) -> Tensor<S, f32, D> {
        use rand::RngExt;
        let values = (0..shape.num_elements())
            .map(|_| self.rng.random_range(-bound..=bound))
            .collect();
        self.values(shape, values)
    }
}
