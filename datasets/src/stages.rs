//! A packed set as the start of a graph: where records come from, and their pictures.

use std::sync::Arc;

use image::RgbImage;
use intertwine_flow::{Pool, Pooled, Source, Stage};

use crate::error::DatasetError;
use crate::packed_set::PackedSet;
use crate::permutation::Permutation;
use crate::pixels::Scratch;

/// Which record, and in which epoch: with the run's seed, the key of its random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef {
    /// How often the whole set had been gone through before.
    pub epoch: u64,
    /// Number of the record in its packed set.
    pub record: usize,
}

/// The records of a packed set by position: once in their order, or shuffled anew in each epoch without
/// end. Position `p` belongs to epoch `p / len`, so resuming needs nothing but the position.
///
/// ```no_run
/// use std::sync::Arc;
/// use intertwine_datasets::{Decode, PackedSet, Shards};
/// use intertwine_flow::{stage, Source};
/// let set = Arc::new(PackedSet::open("data/packed".as_ref())?);
/// let graph = Shards::shuffled(set.clone(), 7)
///     .then(Decode::new(set))
///     .then(stage("Size", |picture: intertwine_datasets::Picture| picture.image.dimensions()));
/// for size in graph.run(1000..1010) {
///     println!("{:?}", size?);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Shards {
    set: Arc<PackedSet>,
    seed: Option<u64>,
}

impl Shards {
    /// Each record once, in the order of the set.
    pub fn in_order(set: Arc<PackedSet>) -> Self {
        Self { set, seed: None }
    }

    /// Epoch after epoch, each in an order of its own that follows from the seed.
    pub fn shuffled(set: Arc<PackedSet>, seed: u64) -> Self {
        Self {
            set,
            seed: Some(seed),
        }
    }

    fn permutation(&self, epoch: u64) -> Option<Permutation> {
        self.seed
            .map(|seed| Permutation::new(self.set.len() as u64, seed, epoch))
    }
}

impl Stage<u64> for Shards {
    type Out = RecordRef;
    /// The epoch last asked for, with its order.
    type Scratch = Option<(u64, Option<Permutation>)>;
    type Error = std::convert::Infallible;

    fn name(&self) -> &'static str {
        if self.seed.is_some() {
            "Shards, shuffled"
        } else {
            "Shards"
        }
    }

    fn scratch(&self) -> Self::Scratch {
        None
    }

    fn run(&self, position: u64, scratch: &mut Self::Scratch) -> Result<RecordRef, Self::Error> {
        let len = self.set.len() as u64;
        let (epoch, index) = (position / len, position % len);
        let order = match scratch {
            Some((of, order)) if *of == epoch => order,
            _ => &mut scratch.insert((epoch, self.permutation(epoch))).1,
        };
        let record = order.as_ref().map_or(index, |order| order.get(index));
        Ok(RecordRef {
            epoch,
            record: record as usize,
        })
    }
}

impl Source for Shards {
    fn len(&self) -> Option<u64> {
        self.seed.is_none().then(|| self.set.len() as u64)
    }

    fn label(&self, position: u64) -> Option<String> {
        let Ok(RecordRef { record, .. }) = self.run(position, &mut None);
        Some(
            self.set
                .info(record)
                .map_or_else(|_| format!("record {record}"), |info| info.source),
        )
    }
}

/// Decodes the picture of a record into a recycled buffer.
pub struct Decode {
    set: Arc<PackedSet>,
    pool: Pool<RgbImage>,
}

impl Decode {
    /// For records of `set`.
    pub fn new(set: Arc<PackedSet>) -> Self {
        Self {
            set,
            pool: Pool::default(),
        }
    }
}

/// A decoded picture; its memory goes back to be used again when it is dropped.
#[derive(Debug)]
pub struct Picture {
    /// The record it is of.
    pub at: RecordRef,
    /// The picture as stored.
    pub image: Pooled<RgbImage>,
}

impl Stage<RecordRef> for Decode {
    type Out = Picture;
    type Scratch = Scratch;
    type Error = DatasetError;

    fn name(&self) -> &'static str {
        "Decode"
    }

    fn scratch(&self) -> Scratch {
        Scratch::default()
    }

    fn run(&self, at: RecordRef, scratch: &mut Scratch) -> Result<Picture, DatasetError> {
        let mut image = self.pool.take();
        self.set.read_image_into(at.record, &mut image, scratch)?;
        Ok(Picture { at, image })
    }
}
