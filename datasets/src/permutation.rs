//! A shuffle that needs no memory: record `get(i)` is the i-th of the epoch.

use intertwine_flow::random::{stream, Purpose};
use rand::RngExt;

/// Rounds of the shuffle. Where a record lies after `r` rounds is within `sqrt(len) / 2^(r / 2)` of uniform
/// (in total variation): 0.0001 for a million records. Of few records all orders are equally likely after
/// half as many.
const ROUNDS: usize = 48;

/// A permutation of `0..len` keyed by (seed, epoch, set), evaluated at any place in constant time and memory.
///
/// It is the swap-or-not shuffle (Hoang, Morris and Rogaway, *An Enciphering Scheme Based on a Card Shuffle*,
/// CRYPTO 2012) with a fast mixer as round function: each round pairs `x` with `shift - x` (modulo `len`) and
/// swaps each pair or not, as a hash of the pair says. It works on any length as it is. A Feistel network
/// would need cycle walking from the next power of four, and is far from uniform on a handful of records,
/// however many rounds it has.
///
/// Resuming in the middle of an epoch needs no state but the position. Making a permutation and reading one
/// place of it takes less than a microsecond, so it need not be kept.
#[derive(Clone, Debug)]
pub struct Permutation {
    len: u64,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..len` for one epoch of one of the sets that are read together, the first being 0.
    pub fn new(len: u64, seed: u64, epoch: u64, set: u64) -> Self {
        let mut random = stream(seed, Purpose::Shuffle, epoch, set);
        Self {
            len,
            keys: std::array::from_fn(|_| random.random()),
        }
    }

    /// What stands at `index`.
    ///
    /// # Panics
    /// If `index` is not below the length.
    pub fn get(&self, index: u64) -> u64 {
        let len = self.len;
        assert!(index < len, "index {index} of a permutation of {len}");
        self.keys.iter().fold(index, |place, &key| {
            // Uniform below `len`: the high half of the product.
            let shift = ((u128::from(key) * u128::from(len)) >> 64) as u64;
            let partner = if shift >= place {
                shift - place
            } else {
                shift + (len - place)
            };
            // The same for both of a pair.
            let swap = mix(place.max(partner) ^ key) >> 63 == 1;
            if swap {
                partner
            } else {
                place
            }
        })
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
            let permutation = Permutation::new(len, seed, epoch, 0);
            let mut seen = vec![false; len as usize];
            for i in 0..len {
                let at = permutation.get(i) as usize;
                prop_assert!(!seen[at]);
                seen[at] = true;
            }
        }

        #[test]
        fn huge_lengths_stay_inside(len in u64::MAX / 2..=u64::MAX, seed: u64, index in 0..u64::MAX / 2) {
            prop_assert!(Permutation::new(len, seed, 0, 0).get(index) < len);
        }
    }

    /// Chi-squared of counts that should be equal.
    fn chi_squared(counts: impl ExactSizeIterator<Item = u32> + Clone) -> f64 {
        let expected = counts.clone().map(f64::from).sum::<f64>() / counts.len() as f64;
        counts
            .map(|n| (f64::from(n) - expected).powi(2) / expected)
            .sum()
    }

    /// Each of the n! orders of n records should appear equally often. The bounds are what chi-squared with
    /// n! - 1 degrees of freedom exceeds with probability 0.001.
    #[test]
    fn all_orders_of_a_few_records_are_equally_likely() {
        for (len, orders, bound) in [
            (2, 2, 10.8),
            (3, 6, 20.5),
            (4, 24, 49.7),
            (5, 120, 173.6),
            (6, 720, 843.0),
        ] {
            let mut counts = std::collections::BTreeMap::new();
            for epoch in 0..orders * 500 {
                let permutation = Permutation::new(len, 1, epoch, 0);
                let order: Vec<_> = (0..len).map(|i| permutation.get(i)).collect();
                *counts.entry(order).or_insert(0u32) += 1;
            }
            assert_eq!(counts.len() as u64, orders);
            let found = chi_squared(counts.values().copied());
            assert!(found < bound, "{len} records: chi-squared {found}");
        }
    }

    /// Each of 17 records should come equally often at the first, a middle and the last place: chi-squared
    /// with 16 degrees of freedom stays below 39.3 with probability 0.999.
    #[test]
    fn every_record_is_as_likely_at_every_place() {
        for place in [0, 8, 16] {
            let mut counts = [0u32; 17];
            for epoch in 0..17_000 {
                counts[Permutation::new(17, 2, epoch, 0).get(place) as usize] += 1;
            }
            let found = chi_squared(counts.into_iter());
            assert!(found < 39.3, "place {place}: chi-squared {found}");
        }
    }

    /// Two random orders agree at one place on average, whatever their length, with a variance of 1. The
    /// mean of 400 pairs is within 0.2 of 1 unless four deviations happen.
    #[test]
    fn epochs_have_nothing_in_common() {
        let agree =
            |a: Permutation, b: Permutation| (0..900).filter(|&i| a.get(i) == b.get(i)).count();
        let epochs = (0..400).map(|e| {
            agree(
                Permutation::new(900, 5, e, 0),
                Permutation::new(900, 5, e + 1, 0),
            )
        });
        let sets = (0..400).map(|e| {
            agree(
                Permutation::new(900, 5, e, 0),
                Permutation::new(900, 5, e, 1),
            )
        });
        for total in [epochs.sum::<usize>(), sets.sum::<usize>()] {
            assert!(
                (320..=480).contains(&total),
                "{total} agreements in 400 pairs"
            );
        }
    }

    /// Neighbours must not stay neighbours: in a random order of n the mean distance of consecutive
    /// records is (n + 1) / 3.
    #[test]
    fn neighbours_are_torn_apart() {
        let n = 100_000u64;
        let permutation = Permutation::new(n, 3, 0, 0);
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
                .map(|i| Permutation::new(20, seed, epoch, 0).get(i))
                .collect::<Vec<_>>()
        };
        assert_ne!(order(9, 0), order(9, 1));
        assert_ne!(order(9, 0), order(8, 0));
    }
}
