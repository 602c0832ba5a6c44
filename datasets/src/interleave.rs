//! Several streams read as one: which of them a position belongs to, found without walking there.

/// Streams that take turns in exact proportions.
///
/// Of every [`window`](Self::window) positions, counted from 0, each stream has exactly its count, spread as
/// a line is drawn on a grid (Bresenham): the first stream against all others, the second against those
/// behind it, and so on. At no position has a stream had more or fewer than is due to it by as many
/// positions as there are streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interleave {
    counts: Vec<u64>,
    window: u64,
}

impl Interleave {
    /// Streams that have so many positions of each window; the window is their sum.
    ///
    /// # Panics
    /// If that is 0 or does not fit in 64 bits.
    pub fn new(counts: Vec<u64>) -> Self {
        let sum = counts
            .iter()
            .try_fold(0u64, |sum, &count| sum.checked_add(count));
        let window = sum.expect("the counts fit in 64 bits");
        assert!(window > 0, "no stream has a position");
        Self { counts, window }
    }

    /// Positions after which every stream has had exactly its share.
    pub fn window(&self) -> u64 {
        self.window
    }

    /// How many positions of a window each stream has.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The stream that `position` belongs to, and how many positions before were that stream's.
    pub fn at(&self, position: u64) -> (usize, u64) {
        let (windows, mut place) = (position / self.window, position % self.window);
        let mut left = self.window;
        for (stream, &count) in self.counts.iter().enumerate() {
            // Of the first so many of the `left` positions that no stream before has taken.
            let taken =
                |places: u64| (u128::from(places) * u128::from(count) / u128::from(left)) as u64;
            let before = taken(place);
            if taken(place + 1) > before {
                return (stream, windows * count + before);
            }
            place -= before;
            left -= count;
        }
        unreachable!("the last stream takes all that is left")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn streams_come_in_order_and_in_their_shares(counts in proptest::collection::vec(0u64..40, 1..6)) {
            let window: u64 = counts.iter().sum();
            prop_assume!(window > 0);
            let interleave = Interleave::new(counts.clone());
            prop_assert_eq!(interleave.window(), window);
            let mut had = vec![0; counts.len()];
            for position in 0..3 * window {
                let (stream, index) = interleave.at(position);
                prop_assert_eq!(index, had[stream], "stream {} skips or repeats", stream);
                had[stream] += 1;
                for (had, count) in had.iter().zip(&counts) {
                    let due = (position + 1) as f64 * *count as f64 / window as f64;
                    prop_assert!((*had as f64 - due).abs() < counts.len() as f64);
                }
                if (position + 1) % window == 0 {
                    let windows = (position + 1) / window;
                    prop_assert!(had.iter().zip(&counts).all(|(had, count)| *had == windows * count));
                }
            }
        }

        /// Two streams are never more than one position from what is due.
        #[test]
        fn two_streams_are_as_even_as_can_be(a in 1u64..1_000_000, b in 1u64..1_000_000, place: u32) {
            let interleave = Interleave::new(vec![a, b]);
            let position = u64::from(place) % (a + b);
            let (stream, before) = interleave.at(position);
            let due = position as f64 * [a, b][stream] as f64 / (a + b) as f64;
            prop_assert!((before as f64 - due).abs() <= 1.0);
        }
    }

    #[test]
    fn far_positions_of_large_streams_do_not_overflow() {
        let interleave = Interleave::new(vec![1 << 62, 1 << 61, 1]);
        let window = interleave.window();
        assert_eq!(interleave.at(window - 1), (0, (1 << 62) - 1));
        assert_eq!(interleave.at(window), (2, 1));
        let (stream, index) = interleave.at(u64::MAX - 1);
        assert!(stream < 3 && index < u64::MAX, "{stream} {index}");
    }
}
