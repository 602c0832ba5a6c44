//! The source of every training graph: the records of packed sets, epoch after epoch.
//!
//! A position `p` means record `p % len` of epoch `p / len`. The shuffle is a reordering of positions, so
//! the position in the shuffled stream is all the state there is.

use std::sync::Arc;

use image::RgbImage;
use intertwine_datasets::{DatasetError, Mix, Place, Scratch};
use intertwine_flow::{Pool, Pooled, Source, Stage};

/// A decoded picture of a packed set. Its buffer goes back to the source when it is dropped.
#[derive(Debug)]
pub struct Picture {
    /// Index in the mix of sets.
    pub record: usize,
    /// How often its set was passed before.
    pub epoch: u64,
    /// The pixels.
    pub image: Pooled<RgbImage>,
}

/// Reads records by position, without end.
#[derive(Clone)]
pub struct Records {
    sets: Arc<Mix>,
    buffers: Pool<RgbImage>,
}

impl Records {
    /// All records of these sets.
    pub fn new(sets: Arc<Mix>) -> Self {
        Self {
            sets,
            buffers: Pool::new(RgbImage::default),
        }
    }

    /// The position of this record.
    pub fn position(sets: &Mix, Place { epoch, record }: Place) -> u64 {
        epoch * sets.len() as u64 + record as u64
    }

    fn place(&self, position: u64) -> Place {
        let len = self.sets.len() as u64;
        Place {
            epoch: position / len,
            record: (position % len) as usize,
        }
    }
}

impl Stage<u64> for Records {
    type Out = Picture;
    type Scratch = Scratch;
    type Error = DatasetError;

    fn name(&self) -> &'static str {
        "Shards"
    }
    fn scratch(&self) -> Scratch {
        Scratch::default()
    }
    fn run(&self, position: u64, scratch: &mut Scratch) -> Result<Picture, DatasetError> {
        let Place { epoch, record } = self.place(position);
        let (set, number) = self.sets.locate(record);
        let mut image = self.buffers.take();
        set.read_image_into(number, &mut image, scratch)?;
        Ok(Picture {
            record,
            epoch,
            image,
        })
    }
}

impl Source for Records {
    fn len(&self) -> Option<u64> {
        None
    }
    fn label(&self, position: u64) -> Option<String> {
        let (set, number) = self.sets.locate(self.place(position).record);
        set.info(number).ok().map(|info| info.source)
    }
}
