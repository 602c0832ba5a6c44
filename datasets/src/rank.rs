//! One of several processes that read a stream together.

/// Why a stream cannot be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RankError {
    /// No such rank.
    #[error("rank {rank} of {ranks}: ranks count from 0, expected less than {ranks}")]
    NoSuchRank {
        /// The rank asked for.
        rank: u64,
        /// How many there are.
        ranks: u64,
    },
    /// Ranks that would read the same records at once.
    #[error("{ranks} ranks share {records} records, expected at most one rank a record; start fewer or add records")]
    TooMany {
        /// How many ranks there are.
        ranks: u64,
        /// How many records.
        records: u64,
    },
}

/// Rank `rank` of `ranks` processes, which take turns of `block` positions along one endless stream.
///
/// After any number of turns each has read equally many positions, and together they have read the stream
/// from its start without a gap, each position once. An epoch may end within a round of turns; the round
/// then goes on in the next epoch, so nothing is left out or read twice to make lengths equal. What is read
/// in a round of `ranks * block` positions depends on that product alone: with blocks of a part of a batch,
/// a run that is resumed with more or fewer ranks and as many parts to a step learns from the same records
/// at the same step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    rank: u64,
    ranks: u64,
}

impl Rank {
    /// The only process.
    pub const ALONE: Self = Self { rank: 0, ranks: 1 };

    /// Rank `rank`, from 0, of `ranks` that read a stream of `records`.
    ///
    /// # Errors
    /// If there is no such rank, or ranks outnumber records.
    pub fn new(rank: u64, ranks: u64, records: u64) -> Result<Self, RankError> {
        if rank >= ranks {
            return Err(RankError::NoSuchRank { rank, ranks });
        }
        if ranks > records {
            return Err(RankError::TooMany { ranks, records });
        }
        Ok(Self { rank, ranks })
    }

    /// Where in the stream this rank's position `own` lies, for turns of `block` positions.
    ///
    /// # Panics
    /// If `block` is 0.
    pub fn position(self, own: u64, block: u64) -> u64 {
        let (turn, within) = (own / block, own % block);
        (turn * self.ranks + self.rank) * block + within
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What all ranks read in so many turns, in order of the stream.
    fn together(ranks: u64, block: u64, turns: u64) -> Vec<u64> {
        let mut read: Vec<u64> = (0..ranks)
            .flat_map(|rank| {
                let rank = Rank::new(rank, ranks, 1000).unwrap();
                (0..turns * block).map(move |own| rank.position(own, block))
            })
            .collect();
        read.sort_unstable();
        read
    }

    proptest! {
        #[test]
        fn ranks_read_everything_once(ranks in 1u64..9, block in 1u64..9, turns in 0u64..9) {
            prop_assert_eq!(together(ranks, block, turns), Vec::from_iter(0..ranks * block * turns));
        }
    }

    #[test]
    fn one_rank_reads_the_stream_as_it_is() {
        assert!((0..50).all(|p| Rank::ALONE.position(p, 7) == p));
    }

    #[test]
    fn ranks_that_cannot_be_are_refused() {
        assert_eq!(
            Rank::new(2, 2, 10),
            Err(RankError::NoSuchRank { rank: 2, ranks: 2 })
        );
        assert_eq!(
            Rank::new(0, 0, 10),
            Err(RankError::NoSuchRank { rank: 0, ranks: 0 })
        );
        assert_eq!(
            Rank::new(0, 11, 10),
            Err(RankError::TooMany {
                ranks: 11,
                records: 10
            })
        );
        assert!(Rank::new(9, 10, 10).is_ok());
    }
}
