//! The source of every training graph: the records of a packed set, epoch after epoch.
//!
//! A position `p` means record `p % len` of epoch `p / len`. The shuffle is a reordering of positions
//! within each epoch, so the position in the shuffled stream is all the state there is.

use std::sync::{Arc, Mutex, PoisonError};

use image::RgbImage;
use intertwine_datasets::{DatasetError, PackedSet, Permutation, Scratch};
use intertwine_flow::{Pool, Pooled, Source, Stage};

/// A decoded picture of a packed set. Its buffer goes back to the source when it is dropped.
#[derive(Debug)]
pub struct Picture {
    /// Index in the set.
    pub record: usize,
    /// How often the set was passed before.
    pub epoch: u64,
    /// The pixels.
    pub image: Pooled<RgbImage>,
}

/// Reads records by position, without end.
#[derive(Clone)]
pub struct Records {
    set: Arc<PackedSet>,
    buffers: Pool<RgbImage>,
}

impl Records {
    /// All records of a set.
    pub fn new(set: Arc<PackedSet>) -> Self {
        Self {
            set,
            buffers: Pool::new(RgbImage::default),
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
        let len = self.set.len() as u64;
        let (epoch, record) = (position / len, (position % len) as usize);
        let mut image = self.buffers.take();
        self.set.read_image_into(record, &mut image, scratch)?;
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
        let record = (position % self.set.len() as u64) as usize;
        self.set.info(record).ok().map(|info| info.source)
    }
}

/// The shuffle: each epoch in an order of its own.
pub fn shuffle(len: u64, seed: u64) -> impl Fn(u64) -> u64 + Send + Sync {
    // The permutation of the epoch that was last asked for; making it again is cheap but not free.
    let last: Mutex<Option<(u64, Permutation)>> = Mutex::new(None);
    move |position| {
        let (epoch, index) = (position / len, position % len);
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let permutation = match last.take() {
            Some((e, p)) if e == epoch => p,
            _ => Permutation::new(len, seed, epoch),
        };
        let record = permutation.get(index);
        *last = Some((epoch, permutation));
        epoch * len + record
    }
}

/// Tells one packed set from another: the hashes of its shards, in order.
pub(crate) fn fingerprint(data: &PackedSet) -> String {
    let hashes: Vec<&str> = data
        .manifest()
        .shards
        .iter()
        .map(|s| &s.blake3[..16.min(s.blake3.len())])
        .collect();
    format!("{} records {}", data.len(), hashes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::shuffle;

    #[test]
    fn every_epoch_has_every_record_in_an_order_of_its_own() {
        let order = shuffle(17, 3);
        let mut epochs: Vec<Vec<u64>> = (0..3)
            .map(|e| (0..17).map(|i| order(e * 17 + i)).collect())
            .collect();
        assert_ne!(
            epochs[0],
            epochs[1].iter().map(|p| p - 17).collect::<Vec<_>>(),
            "the second epoch repeats the first"
        );
        for (e, epoch) in epochs.iter_mut().enumerate() {
            epoch.sort_unstable();
            assert_eq!(
                *epoch,
                (e as u64 * 17..(e as u64 + 1) * 17).collect::<Vec<_>>()
            );
        }
        // Asked out of order, the same.
        assert_eq!(order(20), {
            let fresh = shuffle(17, 3);
            fresh(20)
        });
    }
}
