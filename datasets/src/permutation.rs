//! A shuffle that needs no memory: record `get(i)` is the i-th of the epoch.

use intertwine_flow::random::{stream, Purpose};
use rand::RngExt;

/// Feistel rounds. Four already make a pseudorandom permutation when the round function is one (Luby and
/// Rackoff 1988); ours is a fast mixer, and small domains want some more.
const ROUNDS: usize = 8;

/// A permutation of `0..len` keyed by (seed, epoch), evaluated at any place in constant time and memory.
///
/// A balanced Feistel network permutes the numbers of `2k` bits, the smallest even number of bits that
/// holds `len`. A value that falls outside `0..len` is sent through again until it is inside (cycle
/// walking, Black and Rogaway 2002); the domain is less than four times `len`, so that is fewer than four
/// times on average. Resuming in the middle of an epoch needs no state but the position.
#[derive(Clone, Debug)]
pub struct Permutation {
    len: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..len` for one epoch.
    pub fn new(len: u64, seed: u64, epoch: u64) -> Self {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        let mut random = stream(seed, Purpose::Shuffle, epoch, 0);
        Self {
            len,
            half_bits: bits.div_ceil(2),
            keys: std::array::from_fn(|_| random.random()),
        }
    }

    /// What stands at `index`.
    ///
    /// # Panics
    /// If `index` is not below the length.
    pub fn get(&self, index: u64) -> u64 {
        assert!(
            index < self.len,
            "index {index} of a permutation of {}",
            self.len
        );
        if self.half_bits == 0 {
            return index;
        }
        let mut value = self.permute(index);
        while value >= self.len {
            value = self.permute(value);
        }
        value
    }

    fn permute(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        (left << self.half_bits) | right
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_record_once(len in 1u64..3000, seed: u64, epoch in 0u64..5) {
            let permutation = Permutation::new(len, seed, epoch);
            let mut seen = vec![false; len as usize];
            for i in 0..len {
                let at = permutation.get(i) as usize;
                prop_assert!(!seen[at]);
                seen[at] = true;
            }
        }

        #[test]
        fn huge_lengths_stay_inside(len in u64::MAX / 2..=u64::MAX, seed: u64, index in 0..u64::MAX / 2) {
            prop_assert!(Permutation::new(len, seed, 0).get(index) < len);
        }
    }

    /// Each of the 4! orders of four records should appear in 1/24 of the epochs: chi-squared with 23
    /// degrees of freedom stays below 49.7 with probability 0.999.
    #[test]
    fn all_orders_are_equally_likely() {
        let epochs = 24_000;
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..epochs {
            let permutation = Permutation::new(4, 1, epoch);
            *counts
                .entry([0, 1, 2, 3].map(|i| permutation.get(i)))
                .or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        let expected = epochs as f64 / 24.;
        let chi2: f64 = counts
            .values()
            .map(|&n| (f64::from(n) - expected).powi(2) / expected)
            .sum();
        assert!(chi2 < 49.7, "chi-squared {chi2}");
    }

    /// Neighbours must not stay neighbours: in a random order of n the mean distance of consecutive
    /// records is (n + 1) / 3.
    #[test]
    fn neighbours_are_torn_apart() {
        let n = 100_000u64;
        let permutation = Permutation::new(n, 3, 0);
        let total: u64 = (1..n)
            .map(|i| permutation.get(i).abs_diff(permutation.get(i - 1)))
            .sum();
        let mean = total as f64 / (n - 1) as f64;
        assert!(
            (mean / ((n + 1) as f64 / 3.) - 1.).abs() < 0.01,
            "mean distance {mean}"
        );
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let order = |seed, epoch| {
            (0..20)
                .map(|i| Permutation::new(20, seed, epoch).get(i))
                .collect::<Vec<_>>()
        };
        assert_ne!(order(9, 0), order(9, 1));
        assert_ne!(order(9, 0), order(8, 0));
    }
}
