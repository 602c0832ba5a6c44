//! A source: where items come from, addressed by position.

use alloc::string::String;

use crate::{
    chain::{Origin, Then},
    Graph, Stage,
};

/// A stage that makes items from positions: the start of a graph that runs by itself.
///
/// A position is one integer and the item at a position is always the same. That is all the state a run
/// has: to resume, start at the position where it stopped. For epochs, let positions go on beyond the
/// data (`epoch = position / records`).
// A source is asked whether a position exists, never whether it is empty.
#[allow(clippy::len_without_is_empty)]
pub trait Source: Stage<u64> {
    /// How many positions there are; `None` when there is no end.
    fn len(&self) -> Option<u64>;

    /// What a person calls the item at `position`, such as its file name. Asked only for errors.
    fn label(&self, position: u64) -> Option<String> {
        let _ = position;
        None
    }

    /// The graph that consists of this source alone.
    fn graph(self) -> Graph<u64, Origin<Self>>
    where
        Self: Sized,
    {
        Graph::new(Origin(self))
    }

    /// Joins the first stage to this source.
    fn then<S: Stage<Self::Out>>(self, stage: S) -> Graph<u64, Then<Origin<Self>, S>>
    where
        Self: Sized,
    {
        self.graph().then(stage)
    }
}

impl<S: Source + ?Sized> Source for &S {
    fn len(&self) -> Option<u64> {
        (**self).len()
    }

    fn label(&self, position: u64) -> Option<String> {
        (**self).label(position)
    }
}

#[cfg(feature = "std")]
impl<S: Source + ?Sized> Source for std::sync::Arc<S> {
    fn len(&self) -> Option<u64> {
        (**self).len()
    }

    fn label(&self, position: u64) -> Option<String> {
        (**self).label(position)
    }
}
