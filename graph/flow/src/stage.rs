//! A stage: one typed step of a graph.

use crate::BoxError;

/// One step of a graph: takes an `In`, gives an [`Out`](Stage::Out).
///
/// A stage is shared by all workers (`&self`); what it writes to lives in its
/// [`Scratch`](Stage::Scratch), of which every worker has its own. Parallelism is across items: a stage
/// is best serial inside.
///
/// **Invariant.** The output depends on the stage and the input alone. Scratch is for buffers and engines
/// that would be costly to build again; it never carries meaning from one item to the next, because which
/// items share a scratch depends on the threads.
///
/// `In` is a parameter, not an associated type, so that a stage can take borrowed items:
/// `impl<'a> Stage<&'a Frame> for Letterbox`.
#[diagnostic::on_unimplemented(
    message = "the stage `{Self}` does not take `{In}`",
    label = "this stage cannot be joined here: the stage before gives `{In}`",
    note = "a stage's input type must be the output type of the stage before it"
)]
pub trait Stage<In> {
    /// What the stage gives for one item.
    type Out;
    /// Buffers and other state of one worker; `()` when there is none.
    type Scratch;
    /// Why an item can fail; [`core::convert::Infallible`] when none can.
    type Error: Into<BoxError>;

    /// The name shown in errors, counters and pictures of the graph.
    fn name(&self) -> &'static str;

    /// Makes the scratch of one more worker.
    fn scratch(&self) -> Self::Scratch;

    /// Works on one item.
    ///
    /// # Errors
    /// Whatever makes this item unusable. In a run it surfaces, in order, as a
    /// [`FlowError`](crate::FlowError) and ends the run; to skip bad items, give an `Option` or a `Result`
    /// as the output.
    fn run(&self, input: In, scratch: &mut Self::Scratch) -> Result<Self::Out, Self::Error>;
}

macro_rules! forward {
    ($($(#[$gate:meta])? $pointer:ty),*) => {$(
        $(#[$gate])?
        impl<In, S: Stage<In> + ?Sized> Stage<In> for $pointer {
            type Out = S::Out;
            type Scratch = S::Scratch;
            type Error = S::Error;

            fn name(&self) -> &'static str {
                (**self).name()
            }

            fn scratch(&self) -> Self::Scratch {
                (**self).scratch()
            }

            fn run(&self, input: In, scratch: &mut Self::Scratch) -> Result<S::Out, S::Error> {
                (**self).run(input, scratch)
            }
        }
    )*};
}
forward!(&S, #[cfg(feature = "std")] std::sync::Arc<S>);
