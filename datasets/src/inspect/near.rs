//! Finds all pairs of 64-bit hashes that differ in few bits, without comparing each with each.
//!
//! Multi-index hashing (Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with Multi-Index Hashing",
//! CVPR 2012): hashes that differ in at most `d` bits differ in at most `d / m` bits in one of their `m`
//! pieces. So each hash is looked up by each of its pieces, and by all pieces so close to it, in a table of
//! the others by that piece; only what lies there is compared. Pieces are as long as the logarithm of the
//! number of hashes, so that a place in a table holds about one.

/// Hashes that differ in at most this many of 64 bits belong to pictures that look alike. Of Caltech-101's 9,144
/// pictures 149 pairs do, nearly all of one subject; at 6 bits there are 390, with any two aeroplanes.
pub(super) const LIMIT: u32 = 4;

/// Calls `found` for each pair `(i, j)`, `i < j`, of hashes at most [`LIMIT`] bits apart, once or more often.
pub(super) fn pairs(hashes: &[u64], mut found: impl FnMut(usize, usize)) {
    let pieces = if hashes.len() < 1 << 18 { 4 } else { 3 };
    let bits = 64_u32.div_ceil(pieces);
    for piece in 0..pieces {
        let shift = piece * bits;
        let width = bits.min(64 - shift);
        let of = |hash: u64| (hash >> shift & ((1 << width) - 1)) as usize;
        let table = Table::new(hashes, 1 << width, of);
        let changes = changes(width, LIMIT / pieces);
        for (i, &hash) in hashes.iter().enumerate() {
            for change in &changes {
                for &j in table.at(of(hash) ^ change) {
                    let j = j as usize;
                    if j > i && (hashes[j] ^ hash).count_ones() <= LIMIT {
                        found(i, j);
                    }
                }
            }
        }
    }
}

/// All numbers of `width` bits with at most `ones` bits set.
fn changes(width: u32, ones: u32) -> Vec<usize> {
    let mut all = vec![0usize];
    let mut last = all.clone();
    for _ in 0..ones {
        // One bit more, above the highest, so that each comes once.
        let more = |&number: &usize| {
            let highest = usize::BITS - number.leading_zeros();
            (highest..width).map(move |bit| number | 1 << bit)
        };
        last = last.iter().flat_map(more).collect();
        all.extend(&last);
    }
    all
}

/// Numbers of hashes, by a key of each.
struct Table {
    /// Where the entries of each key begin; one more at the end.
    starts: Vec<u32>,
    entries: Vec<u32>,
}

impl Table {
    fn new(hashes: &[u64], keys: usize, key: impl Fn(u64) -> usize) -> Self {
        let mut starts = vec![0u32; keys + 1];
        for &hash in hashes {
            starts[key(hash) + 1] += 1;
        }
        for key in 0..keys {
            starts[key + 1] += starts[key];
        }
        let (mut next, mut entries) = (starts.clone(), vec![0; hashes.len()]);
        for (number, &hash) in (0..).zip(hashes) {
            let at = &mut next[key(hash)];
            entries[*at as usize] = number;
            *at += 1;
        }
        Self { starts, entries }
    }

    fn at(&self, key: usize) -> &[u32] {
        &self.entries[self.starts[key] as usize..self.starts[key + 1] as usize]
    }
}

/// Sets that are joined pair by pair.
pub(super) struct Groups(Vec<u32>);

impl Groups {
    /// Each of so many by itself.
    pub fn new(count: usize) -> Self {
        Self((0..count as u32).collect())
    }

    /// The least number of the set that holds `i`.
    pub fn first(&mut self, mut i: usize) -> usize {
        while self.0[i] as usize != i {
            self.0[i] = self.0[self.0[i] as usize];
            i = self.0[i] as usize;
        }
        i
    }

    /// Joins the sets of `i` and `j`.
    pub fn join(&mut self, i: usize, j: usize) {
        let (i, j) = (self.first(i), self.first(j));
        self.0[i.max(j)] = i.min(j) as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn all_pairs_are_found_and_no_others() {
        // Clusters around a few centres, so that there are pairs at every distance.
        let mut state = 7u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let centres: Vec<u64> = (0..20).map(|_| next()).collect();
        let hashes: Vec<u64> = (0..600)
            .map(|i| {
                let flips = next();
                let flip = |hash: u64, k: u64| hash ^ 1 << (flips >> (6 * k) & 63);
                (0..i % 7).fold(centres[i as usize % 20], flip)
            })
            .collect();
        let mut found = BTreeSet::new();
        pairs(&hashes, |i, j| {
            found.insert((i, j));
        });
        let apart = |i: usize, j: usize| (hashes[i] ^ hashes[j]).count_ones();
        let all = (0..hashes.len()).flat_map(|j| (0..j).map(move |i| (i, j)));
        let expected: BTreeSet<_> = all.filter(|&(i, j)| apart(i, j) <= LIMIT).collect();
        assert!(
            found == expected && found.len() > 500,
            "{} of {}",
            found.len(),
            expected.len()
        );
        let (two, three) = (changes(22, 2), changes(16, 1));
        assert_eq!((two.len(), three.len()), (1 + 22 + 231, 17));
        assert!(two.iter().all(|n| n.count_ones() <= 2 && *n < 1 << 22));
    }

    #[test]
    fn chains_make_one_group() {
        let mut groups = Groups::new(6);
        for (i, j) in [(4, 2), (5, 4), (1, 0), (2, 5)] {
            groups.join(i, j);
        }
        let firsts: Vec<_> = (0..6).map(|i| groups.first(i)).collect();
        assert_eq!(firsts, [0, 0, 2, 3, 2, 2]);
    }
}
