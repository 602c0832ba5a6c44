//! A chain: stages joined end to end, as one type.
//!
//! `Then<Then<Origin<Shards>, Augment>, Mask>` *is* the wiring: it exists only if every stage takes what
//! the stage before it gives. Running it is one call that the compiler can inline; nothing is boxed.

use alloc::{string::String, vec::Vec};
use core::any::type_name;

use crate::{
    describe::{Kind, Node},
    probe::Probe,
    BoxError, Source, Stage,
};

mod sealed {
    pub trait Sealed {}
}
use sealed::Sealed;

/// Stages joined end to end. Implemented by the types of this module only.
pub trait Chain<In>: Sealed {
    /// What the last stage gives.
    type Out;
    /// The scratch of every stage.
    type Scratch;
    /// Number of stages; the last one has index `STAGES - 1`.
    const STAGES: usize;

    /// Makes the scratch of one more worker.
    #[doc(hidden)]
    fn scratch(&self, probe: &mut Probe<'_>) -> Self::Scratch;

    /// Takes one item through all stages. After an error, `probe` knows which stage it was.
    #[doc(hidden)]
    fn run(
        &self,
        input: In,
        scratch: &mut Self::Scratch,
        probe: &mut Probe<'_>,
    ) -> Result<Self::Out, BoxError>;

    /// Appends the description of every stage, in order.
    #[doc(hidden)]
    fn nodes(&self, nodes: &mut Vec<Node>);
}

/// A chain that starts at a [`Source`], so that it can run by itself.
// As for a source: whether a position exists is asked, never whether it is empty.
#[allow(clippy::len_without_is_empty)]
pub trait Sourced: Chain<u64> {
    /// How many positions the source has; `None` when there is no end.
    fn len(&self) -> Option<u64>;
    /// What the source calls the item at `position` of the run.
    fn label(&self, position: u64) -> Option<String>;
}

/// A chain that many threads can run: for naming a graph that a function returns,
/// `Graph<u64, impl Parallel<Out = Sample>>`.
#[cfg(feature = "std")]
pub trait Parallel: Sourced<Out: Send, Scratch: Send> + Send + Sync + 'static {}

#[cfg(feature = "std")]
impl<C: Sourced<Out: Send, Scratch: Send> + Send + Sync + 'static> Parallel for C {}

/// The start of a chain whose items are given from outside.
#[derive(Clone, Debug)]
pub struct Input {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

impl Sealed for Input {}
impl<In> Chain<In> for Input {
    type Out = In;
    type Scratch = ();
    const STAGES: usize = 0;

    fn scratch(&self, _: &mut Probe<'_>) {}

    fn run(&self, input: In, (): &mut (), _: &mut Probe<'_>) -> Result<In, BoxError> {
        Ok(input)
    }

    fn nodes(&self, nodes: &mut Vec<Node>) {
        nodes.push(Node {
            name: self.name,
            kind: self.kind,
            output: type_name::<In>(),
        });
    }
}

/// The start of a chain at a source.
#[derive(Clone, Debug)]
pub struct Origin<S>(pub(crate) S);

impl<S> Sealed for Origin<S> {}
impl<S: Source> Chain<u64> for Origin<S> {
    type Out = S::Out;
    type Scratch = S::Scratch;
    const STAGES: usize = 1;

    fn scratch(&self, probe: &mut Probe<'_>) -> S::Scratch {
        probe.prepare(0, || self.0.scratch())
    }

    fn run(
        &self,
        position: u64,
        scratch: &mut S::Scratch,
        probe: &mut Probe<'_>,
    ) -> Result<S::Out, BoxError> {
        probe
            .stage(0, || self.0.run(position, scratch))
            .map_err(Into::into)
    }

    fn nodes(&self, nodes: &mut Vec<Node>) {
        nodes.push(Node {
            name: self.0.name(),
            kind: Kind::Source,
            output: type_name::<S::Out>(),
        });
    }
}

impl<S: Source> Sourced for Origin<S> {
    fn len(&self) -> Option<u64> {
        self.0.len()
    }

    fn label(&self, position: u64) -> Option<String> {
        self.0.label(position)
    }
}

/// A chain and one more stage.
#[derive(Clone, Debug)]
pub struct Then<C, S> {
    pub(crate) before: C,
    pub(crate) stage: S,
}

impl<C, S> Sealed for Then<C, S> {}
impl<In, C: Chain<In>, S: Stage<C::Out>> Chain<In> for Then<C, S> {
    type Out = S::Out;
    type Scratch = (C::Scratch, S::Scratch);
    const STAGES: usize = C::STAGES + 1;

    fn scratch(&self, probe: &mut Probe<'_>) -> Self::Scratch {
        let before = self.before.scratch(probe);
        (before, probe.prepare(C::STAGES, || self.stage.scratch()))
    }

    fn run(
        &self,
        input: In,
        scratch: &mut Self::Scratch,
        probe: &mut Probe<'_>,
    ) -> Result<S::Out, BoxError> {
        let item = self.before.run(input, &mut scratch.0, probe)?;
        probe
            .stage(C::STAGES, || self.stage.run(item, &mut scratch.1))
            .map_err(Into::into)
    }

    fn nodes(&self, nodes: &mut Vec<Node>) {
        self.before.nodes(nodes);
        nodes.push(Node {
            name: self.stage.name(),
            kind: Kind::Stage,
            output: type_name::<S::Out>(),
        });
    }
}

impl<C: Sourced, S: Stage<C::Out>> Sourced for Then<C, S> {
    fn len(&self) -> Option<u64> {
        self.before.len()
    }

    fn label(&self, position: u64) -> Option<String> {
        self.before.label(position)
    }
}

/// A chain whose positions are visited in another order.
#[derive(Clone, Debug)]
pub struct Reorder<C, F> {
    pub(crate) before: C,
    pub(crate) name: &'static str,
    pub(crate) order: F,
}

impl<C, F> Sealed for Reorder<C, F> {}
impl<C: Sourced, F: Fn(u64) -> u64> Chain<u64> for Reorder<C, F> {
    type Out = C::Out;
    type Scratch = C::Scratch;
    const STAGES: usize = C::STAGES + 1;

    fn scratch(&self, probe: &mut Probe<'_>) -> C::Scratch {
        self.before.scratch(probe)
    }

    fn run(
        &self,
        position: u64,
        scratch: &mut C::Scratch,
        probe: &mut Probe<'_>,
    ) -> Result<C::Out, BoxError> {
        let position = probe.stage(C::STAGES, || (self.order)(position));
        self.before.run(position, scratch, probe)
    }

    fn nodes(&self, nodes: &mut Vec<Node>) {
        self.before.nodes(nodes);
        nodes.push(Node {
            name: self.name,
            kind: Kind::Stage,
            output: type_name::<C::Out>(),
        });
    }
}

impl<C: Sourced, F: Fn(u64) -> u64> Sourced for Reorder<C, F> {
    fn len(&self) -> Option<u64> {
        self.before.len()
    }

    fn label(&self, position: u64) -> Option<String> {
        self.before.label((self.order)(position))
    }
}
