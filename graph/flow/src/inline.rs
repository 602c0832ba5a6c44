//! The inline executor: one item at a time through the whole graph, on the caller's thread.

use alloc::vec::Vec;

use crate::{
    chain::Chain,
    describe::{Kind, Node},
    probe::Probe,
    FlowError,
};

/// Executes a graph on the caller's thread; made by [`Graph::inline`](crate::Graph::inline).
///
/// It allocates nothing of its own: what a push allocates, its stages allocate. It needs no operating
/// system. A panic of a stage goes through to the caller; after it, build the graph anew.
///
/// To keep one in a struct without naming the type of the graph, box the call:
///
/// ```
/// use intertwine_flow::{input, stage, FlowError};
/// struct Detector {
///     detect: Box<dyn FnMut(&[u8]) -> Result<usize, FlowError> + Send>,
/// }
/// let mut graph = input::<&[u8]>("Frame").then(stage("Count", <[u8]>::len)).inline();
/// let mut detector = Detector { detect: Box::new(move |frame| graph.push(frame)) };
/// assert_eq!((detector.detect)(&[1, 2, 3]).unwrap(), 3);
/// ```
#[derive(Debug)]
pub struct Inline<C, Scratch> {
    chain: C,
    scratch: Scratch,
    pushed: u64,
    #[cfg(feature = "std")]
    counters: crate::Counters,
}

impl<C, Scratch> Inline<C, Scratch> {
    pub(crate) fn new<In>(chain: C) -> Self
    where
        C: Chain<In, Scratch = Scratch>,
    {
        #[cfg(feature = "std")]
        {
            let counters = crate::Counters::new(&nodes::<In, C>(&chain), 0);
            let scratch = chain.scratch(&mut Probe::new(0, &counters));
            Self {
                chain,
                scratch,
                pushed: 0,
                counters,
            }
        }
        #[cfg(not(feature = "std"))]
        {
            let scratch = chain.scratch(&mut Probe::new());
            Self {
                chain,
                scratch,
                pushed: 0,
            }
        }
    }

    /// Takes one item through the graph.
    ///
    /// # Errors
    /// The error of the stage that failed, with its name; the position counts the pushes from 0. The graph
    /// can be pushed again.
    pub fn push<In>(&mut self, item: In) -> Result<C::Out, FlowError>
    where
        C: Chain<In, Scratch = Scratch>,
    {
        let position = self.pushed;
        self.pushed += 1;
        #[cfg(feature = "std")]
        let mut probe = Probe::new(0, &self.counters);
        #[cfg(not(feature = "std"))]
        let mut probe = Probe::new();
        self.chain
            .run(item, &mut self.scratch, &mut probe)
            .map_err(|source| FlowError {
                stage: stage_name::<In, C>(&self.chain, probe.last_stage()),
                position,
                label: None,
                source,
            })
    }

    /// The graph's counters, which stay connected to it.
    #[cfg(feature = "std")]
    pub fn counters(&self) -> crate::Counters {
        self.counters.clone()
    }
}

pub(crate) fn nodes<In, C: Chain<In>>(chain: &C) -> Vec<Node> {
    let mut nodes = Vec::new();
    chain.nodes(&mut nodes);
    nodes
}

/// The name of a chain's stage; looked up only when it has failed.
pub(crate) fn stage_name<In, C: Chain<In>>(chain: &C, index: usize) -> &'static str {
    let mut stages = nodes::<In, C>(chain)
        .into_iter()
        .filter(|node| matches!(node.kind, Kind::Source | Kind::Stage));
    stages.nth(index).map_or("(none)", |node| node.name)
}
