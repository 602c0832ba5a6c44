//! What a device must do.
//!
//! [`Backend`] lists our operations beyond dfdx's own. The provided methods are the composed forms, so a
//! new device implements little to begin with; the CPU overrides them with the fused forms, and `nn::cuda` those that
//! matter on a GPU.

use std::borrow::Cow;

use dfdx::prelude::*;

use super::arch::Arch;
use super::ops;
use super::vit::Block;
pub use intertwine_kernels::activation::Activation;
use intertwine_kernels::attention::Group;
pub use intertwine_kernels::optim::AdamW;

/// Rows of `C` values: one row a token, a location or a picture.
pub type Rows<C, D, T = NoneTape> = Tensor<(usize, C), f32, D, T>;
/// A weight of `O` outputs and `I` inputs, in PyTorch's order.
pub type Matrix<O, I, D> = Tensor<(O, I), f32, D>;
/// A bias, a norm's gain, a token.
pub type Vector<C, D> = Tensor<(C,), f32, D>;
/// A loss.
pub type Scalar<D, T = NoneTape> = Tensor<Rank0, f32, D, T>;

/// How the rows of a matrix fall into sequences: groups of equally long sequences, one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(pub Vec<Group>);

impl Groups {
    /// One group of `count` sequences of `len` rows.
    pub fn uniform(count: usize, len: usize) -> Self {
        Self(vec![Group { count, len }])
    }
    /// Rows in all.
    pub fn rows(&self) -> usize {
        self.0.iter().map(|g| g.count * g.len).sum()
    }
    /// As many sequences, each longer by so many rows.
    pub fn lengthened(&self, by: usize) -> Self {
        let longer = |g: &Group| Group {
            count: g.count,
            len: g.len + by,
        };
        Self(self.0.iter().map(longer).collect())
    }
    /// Sequences in all.
    pub fn sequences(&self) -> usize {
        self.0.iter().map(|g| g.count).sum()
    }
    /// The first row of each sequence and its length, in order.
    pub fn starts(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let mut row = 0;
        self.0
            .iter()
            .flat_map(|g| std::iter::repeat_n(g.len, g.count))
            .map(move |len| {
                let start = row;
                row += len;
                (start, len)
            })
    }
}

/// Height and width of `batch` feature maps whose locations are the rows of a matrix (NHWC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maps {
    /// Pictures.
    pub batch: usize,
    /// Rows of locations.
    pub height: usize,
    /// Columns of locations.
    pub width: usize,
}

impl Maps {
    /// Locations in all.
    pub fn rows(&self) -> usize {
        self.batch * self.height * self.width
    }
}

/// A device that trains: dfdx's operations on f32, and ours.
#[allow(missing_docs)] // each operation is documented where it is implemented, in `ops`
pub trait Backend: Device<f32> + Device<f64> {
    /// A sum of squares of gradients, of which the host may not know yet.
    type Squares: Default;
    /// Whether products of `bf16` are faster on it than those of `f32`.
    fn has_bf16(&self) -> bool {
        false
    }
    fn linear<I: Dim, O: Dim, T: Tape<f32, Self>>(
        x: Rows<I, Self, T>,
        w: &Matrix<O, I, Self>,
        b: Option<&Vector<O, Self>>,
    ) -> Rows<O, Self, T> {
        ops::linear::composed(x, w, b)
    }
    fn linear_of_data<I: Dim, O: Dim, T: Tape<f32, Self>>(
        x: Rows<I, Self>,
        w: &Matrix<O, I, Self>,
        b: Option<&Vector<O, Self>>,
        tape: T,
    ) -> Rows<O, Self, T> {
        // The tape of stock operations computes the gradient of everything.
        ops::linear::composed(x.put_tape(tape), w, b)
    }
    fn layer_norm<C: Dim, T: Tape<f32, Self>>(
        x: Rows<C, Self, T>,
        gain: &Vector<C, Self>,
        bias: &Vector<C, Self>,
        eps: f32,
    ) -> Rows<C, Self, T> {
        ops::layer_norm::composed(x, gain, bias, eps)
    }
    fn activation<C: Dim, T: Tape<f32, Self>>(
        x: Rows<C, Self, T>,
        kind: Activation,
    ) -> Rows<C, Self, T> {
        ops::activation::composed(x, kind)
    }
    fn attention<Q: Dim, C: Dim, T: Tape<f32, Self>>(
        qkv: Rows<Q, Self, T>,
        groups: &Groups,
        heads: usize,
        width: C,
    ) -> Rows<C, Self, T> {
        ops::attention::composed(qkv, groups, heads, width)
    }
    fn residual<C: Dim, T: Tape<f32, Self>>(
        x: Rows<C, Self>,
        branch: Rows<C, Self, T>,
        gain: Option<&Vector<C, Self>>,
        row_scale: Option<&[f32]>,
    ) -> Rows<C, Self, T> {
        ops::residual::composed(x, branch, gain, row_scale)
    }
    fn block<A: Arch, T: Tape<f32, Self>>(
        x: Rows<A::Width, Self, T>,
        block: &Block<A, Self>,
        groups: &Groups,
        row_scales: ops::block::RowScales,
        recompute: bool,
    ) -> Rows<A::Width, Self, T> {
        // The tape of stock operations keeps everything.
        let _ = recompute;
        ops::block::composed(x, block, groups, &row_scales)
    }
    fn block_rows<A: Arch, T: Tape<f32, Self>>(
        x: Rows<A::Width, Self, T>,
        block: &Block<A, Self>,
        groups: &Groups,
        row_scales: ops::block::RowScales,
        rows: &[u32],
    ) -> Rows<A::Width, Self, T> {
        ops::block::rows_composed(x, block, groups, &row_scales, rows)
    }
    fn gather_rows<C: Dim, T: Tape<f32, Self>>(
        x: Rows<C, Self, T>,
        index: &[u32],
    ) -> Rows<C, Self, T> {
        ops::gather::rows_composed(x, index)
    }
    fn gather_taps<C: Dim, T: Tape<f32, Self>>(
        table: Rows<C, Self, T>,
        index: &[[u32; 4]],
        weight: &[[f32; 4]],
    ) -> Rows<C, Self, T> {
        ops::gather::taps_composed(table, index, weight)
    }
    fn assemble<C: Dim, T: Tape<f32, Self>>(
        content: Rows<C, Self, T>,
        position: Rows<C, Self>,
        tokens: ops::assemble::SpecialTokens<'_, C, Self>,
        plan: &ops::assemble::Plan,
    ) -> Rows<C, Self, T> {
        ops::assemble::composed(content, position, tokens, plan)
    }
    fn l2_normalize<C: Dim, T: Tape<f32, Self>>(x: Rows<C, Self, T>, eps: f32) -> Rows<C, Self, T> {
        ops::l2_normalize::composed(x, eps)
    }
    fn prototype_cross_entropy<C: Dim, K: Dim, T: Tape<f32, Self>>(
        x: Rows<C, Self, T>,
        prototypes: &Matrix<K, C, Self>,
        target: &ops::cross_entropy::SoftTarget<K, Self>,
        temperature: f32,
    ) -> (Scalar<Self, T>, Vec<f64>) {
        ops::cross_entropy::composed(x, prototypes, target, temperature)
    }
    fn conv3x3<I: Dim, O: Dim, T: Tape<f32, Self>>(
        x: Rows<I, Self, T>,
        w: &Matrix<O, usize, Self>,
        b: Option<&Vector<O, Self>>,
        maps: Maps,
    ) -> Rows<O, Self, T> {
        ops::conv::composed(x, w, b, maps)
    }
    fn adamw<S: Shape>(
        p: &mut Tensor<S, f32, Self>,
        grad: &mut Gradients<f32, Self>,
        moments: &mut super::optim::Moments<Self>,
        teacher: Option<(&mut Tensor<S, f32, Self>, f32)>,
        step: &AdamW,
    ) {
        super::optim::adamw_composed(p, grad, moments, teacher, step)
    }
    fn add_grad_squares<S: Shape>(
        p: &Tensor<S, f32, Self>,
        grad: &mut Gradients<f32, Self>,
        sum: &mut Self::Squares,
    );
    /// The sum.
    fn sum_of_squares(sum: Self::Squares) -> f64;
    fn ema<S: Shape>(
        teacher: &mut Tensor<S, f32, Self>,
        student: &Tensor<S, f32, Self>,
        momentum: f32,
    ) {
        teacher.axpy(f64::from(momentum), student, f64::from(1.0 - momentum));
    }
    /// A tensor of the values, which are copied once if they are borrowed.
    fn tensor_from<S: Shape>(dev: &Self, values: Cow<'_, [f32]>, shape: S) -> Tensor<S, f32, Self> {
        dev.tensor_from_vec(values.into_owned(), shape)
    }
    /// The values of a tensor as the host sees them, without a copy where that is possible.
    fn host<S: Shape>(t: &Tensor<S, f32, Self>) -> Cow<'_, [f32]> {
        Cow::Owned(Self::to_host(t))
    }
    /// The values of a tensor, on the host.
    fn to_host<S: Shape>(t: &Tensor<S, f32, Self>) -> Vec<f32> {
        let mut out = vec![0.0; t.shape().num_elements()];
        t.copy_into(&mut out);
        out
    }
}

/// An empty tape whose backward pass adds to `gradients`.
pub fn tape_onto<D: Backend>(dev: &D, gradients: Gradients<f32, D>) -> OwnedTape<f32, D> {
    let nothing: Scalar<D> = dev.zeros();
    nothing.trace(gradients).split_tape().1
}

/// The fused forms.
impl Backend for Cpu {
    type Squares = f64;
    fn has_bf16(&self) -> bool {
        intertwine_kernels::cpu::path().has_bf16()
    }
    fn linear<I: Dim, O: Dim, T: Tape<f32, Self>>(
        x: Rows<I, Self, T>,
        w: &Matrix<O, I, Self>,
        b: Option<&Vector<O, Self>>,
    ) -> Rows<O, Self, T> {
        ops::linear::fused(x, w, b)
    }
    fn linear_of_data<I: Dim, O: Dim, T: Tape<f32, Self>>(
        x: Rows<I, Self>,
        w: &Matrix<O, I, Self>,
        b: Option<&Vector<O, Self>>,
        tape: T,
    ) -> Rows<O, Self, T> {
        ops::linear::of_data_fused(x, w, b, tape)
    }
    fn layer_norm<C: Dim, T: Tape<f32, Self>>(
        x: Rows<C, Self, T>,
        gain: &Vector<C, Self>,
        bias: &Vector<C, Self>,
        eps: f32,
    ) -> Rows<C, Self, T> {
        ops::layer_norm::fused(x, gain, bias, eps)
    }
    fn activation<C: Dim, T: Tape<f32, Self>>(
        x: Rows<C, Self, T>,
        kind: Activation,
    ) -> Rows<C, Self, T> {
        ops::activation::fused(x, kind)
    }
    fn attention<Q: Dim, C: Dim, T: Tape<f32, Self>>(
        qkv: Rows<Q, Self, T>,
        groups: &Groups,
        heads: usize,
        width: C,
    ) -> Rows<C, Self, T> {
        ops::attention::fused(qkv, groups, heads, width)
    }
    fn residual<C: Dim, T: Tape<f32, Self>>(
        x: Rows<C, Self>,
        branch: Rows<C, Self, T>,
        gain: Option<&Vector<C, Self>>,
        row_scale: Option<&[f32]>,
    ) -> Rows<C, Self, T> {
        ops::residual::fused(x, branch, gain, row_scale)
    }
    fn block<A: Arch, T: Tape<f32, Self>>(
        x: Rows<A::Width, Self, T>,
        block: &Block<A, Self>,
        groups: &Groups,
        row_scales: ops::block::RowScales,
        recompute: bool,
    ) -> Rows<A::Width, Self, T> {
        ops::block::fused(x, block, groups, row_scales, recompute)
    }
    fn block_rows<A: Arch, T: Tape<f32, Self>>(
        x: Rows<A::Width, Self, T>,
        block: &Block<A, Self>,
        groups: &Groups,
        row_scales: ops::block::RowScales,
        rows: &[u32],
    ) -> Rows<A::Width, Self, T> {
        ops::block::rows_fused(x, block, groups, row_scales, rows)
    }
    fn gather_rows<C: Dim, T: Tape<f32, Self>>(
        x: Rows<C, Self, T>,
        index: &[u32],
    ) -> Rows<C, Self, T> {
        ops::gather::rows_fused(x, index)
    }
    fn gather_taps<C: Dim, T: Tape<f32, Self>>(
        table: Rows<C, Self, T>,
        index: &[[u32; 4]],
        weight: &[[f32; 4]],
    ) -> Rows<C, Self, T> {
        ops::gather::taps_fused(table, index, weight)
    }
    fn assemble<C: Dim, T: Tape<f32, Self>>(
        content: Rows<C, Self, T>,
        position: Rows<C, Self>,
        tokens: ops::assemble::SpecialTokens<'_, C, Self>,
        plan: &ops::assemble::Plan,
    ) -> Rows<C, Self, T> {
        ops::assemble::fused(content, position, tokens, plan)
    }
    fn l2_normalize<C: Dim, T: Tape<f32, Self>>(x: Rows<C, Self, T>, eps: f32) -> Rows<C, Self, T> {
        ops::l2_normalize::fused(x, eps)
    }
    fn prototype_cross_entropy<C: Dim, K: Dim, T: Tape<f32, Self>>(
        x: Rows<C, Self, T>,
        prototypes: &Matrix<K, C, Self>,
        target: &ops::cross_entropy::SoftTarget<K, Self>,
        temperature: f32,
    ) -> (Scalar<Self, T>, Vec<f64>) {
        ops::cross_entropy::fused(x, prototypes, target, temperature)
    }
    fn conv3x3<I: Dim, O: Dim, T: Tape<f32, Self>>(
        x: Rows<I, Self, T>,
        w: &Matrix<O, usize, Self>,
        b: Option<&Vector<O, Self>>,
        maps: Maps,
    ) -> Rows<O, Self, T> {
        ops::conv::fused(x, w, b, maps)
    }
    fn adamw<S: Shape>(
        p: &mut Tensor<S, f32, Self>,
        grad: &mut Gradients<f32, Self>,
        moments: &mut super::optim::Moments<Self>,
        teacher: Option<(&mut Tensor<S, f32, Self>, f32)>,
        step: &AdamW,
    ) {
        super::optim::adamw_fused(p, grad, moments, teacher, step)
    }
    fn add_grad_squares<S: Shape>(
        p: &Tensor<S, f32, Self>,
        grad: &mut Gradients<f32, Self>,
        sum: &mut f64,
    ) {
        *sum += super::optim::sum_of_squares_fused(p, grad);
    }
    fn sum_of_squares(sum: f64) -> f64 {
        sum
    }
    fn host<S: Shape>(t: &Tensor<S, f32, Self>) -> Cow<'_, [f32]> {
        Cow::Borrowed(super::view::slice(t))
    }
    fn ema<S: Shape>(
        teacher: &mut Tensor<S, f32, Self>,
        student: &Tensor<S, f32, Self>,
        momentum: f32,
    ) {
        let student = super::view::slice(student);
        intertwine_kernels::optim::ema(super::view::slice_mut(teacher), student, momentum);
    }
}
