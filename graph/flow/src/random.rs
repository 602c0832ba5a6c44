//! Keyed random streams: the random numbers of an item depend on what the item is, never on which
//! thread works on it or what was drawn before.
//!
//! Each stream is a ChaCha8 keystream whose 256-bit key *is* the tuple (seed, purpose, epoch, index),
//! so two different tuples never share numbers and any stream can be opened at once, in any order.
//! Resuming a run needs no generator state: the position in the data is the state.

use rand::SeedableRng;
pub use rand_chacha::ChaCha8Rng;

/// What a stream is for. Two purposes never share a stream, so adding a random choice in one place
/// does not change the choices made in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights.
    Weights = 1,
    /// The order of the records in an epoch.
    Shuffle = 2,
    /// Crops, colours and windows of a sample.
    Augment = 3,
    /// Content and position masks of a sample.
    Mask = 4,
    /// Drop path of a training step.
    DropPath = 5,
    /// A scene of the drawn sample set.
    Scene = 6,
    /// Anything a measurement needs.
    Probe = 7,
}

/// Opens the stream of one item.
///
/// ```
/// use intertwine_flow::random::{stream, Purpose};
/// use rand::RngExt;
/// let mut a = stream(7, Purpose::Augment, 0, 41);
/// let mut b = stream(7, Purpose::Augment, 0, 41);
/// assert_eq!(a.random::<u64>(), b.random::<u64>());
/// ```
pub fn stream(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (chunk, word) in key
        .chunks_exact_mut(8)
        .zip([seed, purpose as u64, epoch, index])
    {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}
