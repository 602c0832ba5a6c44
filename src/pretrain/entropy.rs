//! How much the outputs of the teacher's heads tell.
//!
//! Let `p(k | x)` be what a head makes of a row `x`, a view's CLS or a masked patch. The entropy of its mean over the batch
//! less the mean of its entropies is the information, in nats, that the prototypes hold about the row: at most `ln K`,
//! and at most the logarithm of the rows.

use rayon::prelude::*;
use serde::Serialize;

/// Rows of a head that are looked at, at most: a batch can have thousands of masked patches, and collapse shows in any.
const ROWS: usize = 256;

/// Entropies of what a head of the teacher says, in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Entropy {
    /// Of each output, in the mean.
    pub each: f64,
    /// Of the mean output: near `each` at collapse, else up to [`most`](Self::most) above it. So it grows with the rows.
    pub mean: f64,
    /// The most information there can be.
    #[serde(skip)]
    pub most: f64,
    /// How many outputs were looked at.
    #[serde(skip)]
    pub rows: usize,
    /// The fewest in a part of the batch.
    #[serde(skip)]
    pub fewest: usize,
}

/// That of each head that has learnt from any outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Entropies {
    /// The head of whole pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Entropy>,
    /// The head of masked patches; of those without content, if there is another for the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<Entropy>,
    /// The head of patches whose position is masked, if it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Entropy>,
}

impl Entropy {
    /// Of probabilities `[rows, k]`; `None` without rows. Of many rows some are taken, evenly spread.
    pub fn of(p: &[f32], k: usize) -> Option<Self> {
        let all = p.len() / k;
        let rows = all.min(ROWS);
        let row = |i: usize| &p[i * all / rows * k..][..k];
        let entropy = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
        let of_row = |i: usize| row(i).iter().map(|p| entropy((*p).into())).sum();
        // Summed in the rows' order, whatever the threads.
        let each: Vec<f64> = (0..rows).into_par_iter().map(of_row).collect();
        let mut mean = vec![0.0f64; k];
        for i in 0..rows {
            let add = |(sum, p): (&mut f64, &f32)| *sum += f64::from(*p);
            mean.iter_mut().zip(row(i)).for_each(add);
        }
        (rows > 0).then(|| Self {
            each: each.iter().sum::<f64>() / rows as f64,
            mean: mean.iter().map(|sum| entropy(sum / rows as f64)).sum(),
            most: (k.min(rows) as f64).ln(),
            rows,
            fewest: rows,
        })
    }

    /// What the outputs tell of a row, in nats.
    pub fn information(&self) -> f64 {
        (self.mean - self.each).max(0.0)
    }

    /// The means of two parts of a batch, each counted by its rows.
    fn join(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let (Some(a), Some(b)) = (one, other) else {
            return one.or(other);
        };
        let rows = a.rows + b.rows;
        let share = b.rows as f64 / rows as f64;
        let mean = |a: f64, b: f64| a + (b - a) * share;
        Some(Self {
            each: mean(a.each, b.each),
            mean: mean(a.mean, b.mean),
            most: mean(a.most, b.most),
            rows,
            fewest: a.fewest.min(b.fewest),
        })
    }
}

impl Entropies {
    /// Counts another part of the batch in.
    pub fn add(&mut self, other: &Self) {
        for (sum, part) in [
            (&mut self.image, other.image),
            (&mut self.patch, other.patch),
            (&mut self.position, other.position),
        ] {
            *sum = Entropy::join(*sum, part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropies_tell_collapse_from_use() {
        let used = Entropy::of(&[1.0, 0.0, 0.0, 1.0], 2).unwrap();
        assert!(used.each.abs() < 1e-12 && (used.mean - 2f64.ln()).abs() < 1e-9);
        assert!((used.information() - used.most).abs() < 1e-9);
        let same = Entropy::of(&[1.0, 0.0, 1.0, 0.0], 2).unwrap();
        assert!(same.each.abs() < 1e-12 && same.mean.abs() < 1e-12);
        assert_eq!(Entropy::of(&[], 2), None);
    }

    /// The first half of the rows says one thing, the second another.
    #[test]
    fn of_many_rows_some_are_looked_at_from_first_to_last() {
        let rows = 10 * ROWS + 7;
        let p = Vec::from_iter((0..rows).flat_map(|i| {
            let first = f32::from(u8::from(i < rows / 2));
            [first, 1.0 - first]
        }));
        let seen = Entropy::of(&p, 2).unwrap();
        assert!((seen.mean - 2f64.ln()).abs() < 1e-4, "{}", seen.mean);
        assert_eq!((seen.each, seen.rows), (0.0, ROWS));
    }

    #[test]
    fn parts_of_a_batch_count_by_their_rows() {
        // One row of ln 2, that alone tells nothing; then two that tell ln 2; then none.
        let mut sum = Entropies::default();
        for rows in [&[0.5, 0.5][..], &[1.0, 0.0, 0.0, 1.0], &[]] {
            sum.add(&Entropies {
                patch: Entropy::of(rows, 2),
                ..Entropies::default()
            });
        }
        let (patch, ln2) = (sum.patch.unwrap(), 2f64.ln());
        for (value, expected) in [
            (patch.each, ln2 / 3.0),
            (patch.mean, ln2),
            (patch.most, 2.0 * ln2 / 3.0),
        ] {
            assert!((value - expected).abs() < 1e-12, "{patch:?}");
        }
        assert_eq!((patch.rows, patch.fewest, sum.image), (3, 1, None));
    }
}
