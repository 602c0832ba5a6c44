//! A graph: a chain with its ends, to be extended, drawn and executed.

use alloc::vec::Vec;
use core::marker::PhantomData;
#[cfg(feature = "std")]
use core::num::NonZeroUsize;

use crate::{
    chain::{Chain, Input, Then},
    describe::{Description, Kind, Node},
    Inline, Stage,
};
#[cfg(feature = "std")]
use crate::{
    chain::{Reorder, Sourced},
    BatchGraph,
};

/// A graph that takes `In`; with a source, `In` is the position.
#[derive(Clone, Debug)]
#[must_use = "a graph does nothing until it is run"]
pub struct Graph<In, C> {
    pub(crate) chain: C,
    pub(crate) ends: Ends,
    input: PhantomData<fn(In)>,
}

/// What lies around the chain of a graph.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// Name of what takes the results.
    pub sink: &'static str,
    /// Most items in flight.
    #[cfg(feature = "std")]
    pub window: Option<NonZeroUsize>,
}

impl Ends {
    pub(crate) fn sink_node(&self) -> Node {
        Node {
            name: self.sink,
            kind: Kind::Sink,
            output: "",
        }
    }
}

/// Starts a graph whose items are pushed from outside, such as frames of a camera.
///
/// The type says what is pushed; for borrowed items any lifetime will do:
/// `input::<&Frame>("Frame")`.
pub fn input<In>(name: &'static str) -> Graph<In, Input> {
    Graph::new(Input {
        name,
        kind: Kind::Input,
    })
}

impl<In, C: Chain<In>> Graph<In, C> {
    pub(crate) fn new(chain: C) -> Self {
        let ends = Ends {
            sink: "Output",
            #[cfg(feature = "std")]
            window: None,
        };
        Self {
            chain,
            ends,
            input: PhantomData,
        }
    }

    /// Joins one more stage. Compiles only if `stage` takes what the graph gives.
    pub fn then<S: Stage<C::Out>>(self, stage: S) -> Graph<In, Then<C, S>> {
        Graph {
            chain: Then {
                before: self.chain,
                stage,
            },
            ends: self.ends,
            input: PhantomData,
        }
    }

    /// Names what takes the results, such as `Step` or `Detections`; shown by [`describe`](Self::describe).
    pub fn sink(mut self, name: &'static str) -> Self {
        self.ends.sink = name;
        self
    }

    /// The graph as data, to be drawn as Mermaid or DOT.
    pub fn describe(&self) -> Description {
        let mut nodes = Vec::new();
        self.chain.nodes(&mut nodes);
        nodes.push(self.ends.sink_node());
        Description::new(nodes)
    }

    /// Executes the graph on the caller's thread, one pushed item at a time.
    pub fn inline(self) -> Inline<C, C::Scratch> {
        Inline::new::<In>(self.chain)
    }
}

#[cfg(feature = "std")]
impl<C: Sourced> Graph<u64, C> {
    /// Visits the source's positions in another order: the item at position `p` is the source's item
    /// `order(p)`.
    ///
    /// `order` is a bijection on the source's positions, such as a permutation within each epoch; then
    /// every item still comes exactly once, and a run still resumes from one integer.
    pub fn reorder<F: Fn(u64) -> u64>(
        self,
        name: &'static str,
        order: F,
    ) -> Graph<u64, Reorder<C, F>> {
        Graph {
            chain: Reorder {
                before: self.chain,
                name,
                order,
            },
            ends: self.ends,
            input: PhantomData,
        }
    }

    /// Gathers `size` consecutive items at a time; the last batch holds what remains.
    pub fn batch(self, size: NonZeroUsize) -> BatchGraph<C> {
        BatchGraph::new(self, size, false)
    }

    /// Gathers `size` consecutive items at a time; drops what remains at the end, so that every batch is
    /// full.
    pub fn batch_exact(self, size: NonZeroUsize) -> BatchGraph<C> {
        BatchGraph::new(self, size, true)
    }

    /// Sets the most items in flight: being worked on, or finished and not yet taken. This bounds memory.
    /// Default: twice the number of threads, or the batch size if that is more.
    pub fn window(mut self, items: NonZeroUsize) -> Self {
        self.ends.window = Some(items);
        self
    }
}
