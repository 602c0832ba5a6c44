//! Several packed sets read as one endless, shuffled stream, in which each has its share.

use std::path::PathBuf;
use std::sync::Arc;

use crate::interleave::Interleave;
use crate::packed_set::PackedSet;
use crate::permutation::Permutation;

/// Positions of the stream after which sets with given shares have had exactly these: shares have four
/// digits.
pub const WINDOW: u64 = 10_000;

/// Why sets cannot be mixed.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum MixError {
    /// No set at all.
    #[error("no packed set to read; name one")]
    Nothing,
    /// A set that is there already.
    #[error("`{}` is named twice; name it once and give it a share, as in {}=0.5", path.display(), path.display())]
    Twice {
        /// The set.
        path: PathBuf,
    },
    /// Not a share.
    #[error("the share of `{}` is {share}, expected 0.0001 to 1 with at most four digits", path.display())]
    Share {
        /// The set.
        path: PathBuf,
        /// What was given.
        share: f64,
    },
    /// Shares that do not add up.
    #[error("the shares add up to {sum}, expected {expected}; a set without a share gets what the others leave")]
    Sum {
        /// Of all given shares.
        sum: f64,
        /// What would do.
        expected: &'static str,
    },
    /// A set that would never be read.
    #[error("`{}` is so small beside the other sets without a share that less than 0.0001 is left for it; give it a share", path.display())]
    Left {
        /// The set.
        path: PathBuf,
    },
}

/// A record of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// How often the record's set was passed before.
    pub epoch: u64,
    /// The record's number in the mix.
    pub record: usize,
}

/// Packed sets as one: their records are numbered through, and their streams take turns.
///
/// A set with a share has that part of the stream, whatever its size; it is passed as often as that takes.
/// Sets without shares divide what is left by their sizes; if none has a share, an epoch of the mix passes
/// each of them once. Each set is shuffled within itself, every pass in another order. What is at a position
/// is computed from that position and the seed; there is no other state.
pub struct Mix {
    sets: Vec<Arc<PackedSet>>,
    /// For each set the number of records up to its end.
    ends: Vec<usize>,
    turns: Interleave,
}

impl Mix {
    /// Mixes sets, each with its share of the stream (0 to 1), if it is to have a certain one.
    ///
    /// # Errors
    /// If there is no set, one is there twice, or the shares do not add up.
    pub fn new(parts: Vec<(Arc<PackedSet>, Option<f64>)>) -> Result<Self, MixError> {
        for (i, (set, _)) in parts.iter().enumerate() {
            let place = |set: &PackedSet| set.folder().canonicalize().ok();
            let same = |(other, _): &(Arc<PackedSet>, _)| place(other) == place(set);
            if place(set).is_some() && parts[..i].iter().any(same) {
                let path = set.folder().into();
                return Err(MixError::Twice { path });
            }
        }
        let sizes: Vec<_> = parts
            .iter()
            .map(|(set, share)| (set.len() as u64, *share))
            .collect();
        let counts = counts(&sizes).map_err(|problem| {
            let path = |i: usize| PathBuf::from(parts[i].0.folder());
            match problem {
                Problem::Nothing => MixError::Nothing,
                Problem::Share(i, share) => MixError::Share {
                    path: path(i),
                    share,
                },
                Problem::Sum(sum, expected) => MixError::Sum { sum, expected },
                Problem::Left(i) => MixError::Left { path: path(i) },
            }
        })?;
        let sets: Vec<_> = parts.into_iter().map(|(set, _)| set).collect();
        let ends = sets.iter().scan(0, |end, set| {
            *end += set.len();
            Some(*end)
        });
        Ok(Self {
            ends: ends.collect(),
            turns: Interleave::new(counts),
            sets,
        })
    }

    /// The sets, in the order in which their records are numbered.
    pub fn sets(&self) -> &[Arc<PackedSet>] {
        &self.sets
    }

    /// Number of records in all sets: the length of an epoch.
    pub fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Always false: sets without records are not opened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The set that holds a record of the mix, and its number there. A number past the end is past the end
    /// of the last set.
    pub fn locate(&self, record: usize) -> (&PackedSet, usize) {
        let last = self.sets.len() - 1;
        let number = self.ends.partition_point(|&end| end <= record).min(last);
        let set = &self.sets[number];
        (set, record + set.len() - self.ends[number])
    }

    /// The record at `position` of the shuffled stream.
    pub fn at(&self, position: u64, seed: u64) -> Place {
        let (number, index) = self.turns.at(position);
        let len = self.sets[number].len() as u64;
        let (epoch, index) = (index / len, index % len);
        let first = self.ends[number] as u64 - len;
        let order = Permutation::new(len, seed, epoch, number as u64);
        Place {
            epoch,
            record: (first + order.get(index)) as usize,
        }
    }

    /// The share of the stream that each set has, 0 to 1.
    pub fn shares(&self) -> impl Iterator<Item = f64> + '_ {
        let counts = self.turns.counts().iter();
        counts.map(|count| *count as f64 / self.turns.window() as f64)
    }

    /// Tells one mix from another: what the sets hold, and their shares.
    pub fn fingerprint(&self) -> String {
        match &self.sets[..] {
            [set] => set.fingerprint(),
            sets => {
                let part = |(set, count): (&Arc<PackedSet>, &u64)| {
                    format!("{count}/{} of {}", self.turns.window(), set.fingerprint())
                };
                let parts: Vec<_> = sets.iter().zip(self.turns.counts()).map(part).collect();
                parts.join(" + ")
            }
        }
    }
}

/// A single set.
impl From<Arc<PackedSet>> for Mix {
    fn from(set: Arc<PackedSet>) -> Self {
        Self {
            ends: vec![set.len()],
            turns: Interleave::new(vec![set.len() as u64]),
            sets: vec![set],
        }
    }
}

/// Why there are no counts; a set is named by its number.
#[derive(Debug, PartialEq)]
enum Problem {
    Nothing,
    Share(usize, f64),
    Sum(f64, &'static str),
    Left(usize),
}

/// How many positions of a window each set gets, from sizes and shares.
fn counts(sets: &[(u64, Option<f64>)]) -> Result<Vec<u64>, Problem> {
    if sets.is_empty() {
        return Err(Problem::Nothing);
    }
    if sets.iter().all(|(_, share)| share.is_none()) {
        return Ok(sets.iter().map(|(size, _)| *size).collect());
    }
    let mut given = vec![None; sets.len()];
    for (i, (_, share)) in sets.iter().enumerate() {
        let Some(share) = *share else { continue };
        let count = share * WINDOW as f64;
        // A NaN is in no range.
        let fits = (1.0..=WINDOW as f64).contains(&count) && (count - count.round()).abs() < 1e-6;
        if !fits {
            return Err(Problem::Share(i, share));
        }
        given[i] = Some(count.round() as u64);
    }
    let sum: u64 = given.iter().flatten().sum();
    let shared = sum as f64 / WINDOW as f64;
    let free: u64 = sets
        .iter()
        .filter(|(_, share)| share.is_none())
        .map(|(size, _)| size)
        .sum();
    match (free, sum) {
        (0, sum) if sum != WINDOW => return Err(Problem::Sum(shared, "1")),
        (1.., sum) if sum >= WINDOW => return Err(Problem::Sum(shared, "less than 1")),
        _ => {}
    }
    // The rest is cut where the sizes, one after the other, reach; so the pieces add up to it.
    let rest = u128::from(WINDOW.saturating_sub(sum));
    let mut reached = 0u64;
    let cut = |reached: u64| (u128::from(reached) * rest / u128::from(free.max(1))) as u64;
    sets.iter()
        .zip(given)
        .enumerate()
        .map(|(i, ((size, _), given))| match given {
            Some(count) => Ok(count),
            None => {
                let start = cut(reached);
                reached += size;
                match cut(reached) - start {
                    0 => Err(Problem::Left(i)),
                    count => Ok(count),
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_counts_that_add_up() {
        let of = |sets: &[(u64, Option<f64>)]| counts(sets);
        assert_eq!(of(&[(7, None), (5, None)]), Ok(vec![7, 5]));
        assert_eq!(of(&[(700, None), (5, Some(0.3))]), Ok(vec![7000, 3000]));
        assert_eq!(
            of(&[(2, None), (5, Some(0.0001)), (1, None)]),
            Ok(vec![6666, 1, 3333])
        );
        assert_eq!(of(&[(2, Some(0.7)), (5, Some(0.3))]), Ok(vec![7000, 3000]));
        assert_eq!(of(&[(2, Some(1.0))]), Ok(vec![10_000]));
    }

    #[test]
    fn shares_that_make_no_sense_are_refused() {
        let of = |sets: &[(u64, Option<f64>)]| counts(sets).unwrap_err();
        assert_eq!(of(&[]), Problem::Nothing);
        for share in [0.0, -0.5, 1.5, 0.33333, f64::INFINITY] {
            assert_eq!(of(&[(1, None), (1, Some(share))]), Problem::Share(1, share));
        }
        assert!(matches!(of(&[(1, Some(f64::NAN))]), Problem::Share(0, _)));
        assert_eq!(of(&[(1, Some(0.3))]), Problem::Sum(0.3, "1"));
        assert_eq!(
            of(&[(1, Some(0.6)), (1, Some(0.6))]),
            Problem::Sum(1.2, "1")
        );
        assert_eq!(
            of(&[(1, None), (1, Some(1.0))]),
            Problem::Sum(1.0, "less than 1")
        );
        assert_eq!(
            of(&[(1, None), (1_000_000, None), (1, Some(0.5))]),
            Problem::Left(0)
        );
    }
}
