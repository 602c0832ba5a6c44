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

/// Implements [`Stage`] for a unit struct whose items bring their tools along: loans of buffers that live as long as the
/// item, `'a`, so that the stage needs no scratch and nothing is copied between stages.
///
/// ```
/// use intertwine_flow::{input, lending_stage};
///
/// /// A word, and room for the answer.
/// struct Asked<'a>(&'a str, &'a mut String);
/// struct Shout;
/// lending_stage!(Shout, "Shout", Asked => &'a str, std::fmt::Error, |asked| {
///     asked.1.clear();
///     asked.1.extend(asked.0.chars().flat_map(char::to_uppercase));
///     Ok(asked.1.as_str())
/// });
///
/// let (mut room, mut graph) = (String::new(), input::<Asked<'static>>("Word").then(Shout).inline());
/// assert_eq!(graph.push(Asked("loud", &mut room)).unwrap(), "LOUD");
/// ```
#[macro_export]
macro_rules! lending_stage {
    ($stage:ty, $name:literal, $in:ident => $out:ty, $error:ty, |$item:ident| $body:expr) => {
        impl<'a> $crate::Stage<$in<'a>> for $stage {
            type Out = $out;
            type Scratch = ();
            type Error = $error;

            fn name(&self) -> &'static str {
                $name
            }

            fn scratch(&self) {}

            fn run(&self, $item: $in<'a>, (): &mut ()) -> ::core::result::Result<$out, $error> {
                $body
            }
        }
    };
}
