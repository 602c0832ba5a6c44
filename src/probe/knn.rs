//! Nearest neighbours: what a feature is good for without training anything (DINO's protocol).

use rayon::prelude::*;

use super::features::Rows;

/// Neighbours that vote, and the temperature of their votes: those of DINO's evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// How many of the nearest vote.
    pub neighbours: usize,
    /// A neighbour of cosine `c` has `exp(c / temperature)` votes.
    pub temperature: f32,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            neighbours: 20,
            temperature: 0.07,
        }
    }
}

/// The share of rows whose class the other rows' votes give (leave one out). `classes[i]` is the class of row `i`; rows
/// must have length 1. None if there are fewer than two.
pub fn accuracy(features: &Rows, classes: &[u32], protocol: Protocol) -> Option<f64> {
    assert_eq!(features.len(), classes.len(), "each row has a class");
    if classes.len() < 2 {
        return None;
    }
    let count = classes.iter().max().map_or(0, |&c| c as usize + 1);
    let right = |row: usize| -> bool {
        let mut votes = vec![0.0f64; count];
        for (other, cosine) in nearest(features, row, protocol.neighbours) {
            votes[classes[other] as usize] += f64::from(cosine / protocol.temperature).exp();
        }
        // The first of equals, so that the result does not depend on chance.
        let best = votes
            .iter()
            .enumerate()
            .fold(0, |best, (c, v)| if *v > votes[best] { c } else { best });
        best == classes[row] as usize
    };
    let hits = (0..classes.len()).into_par_iter().filter(|&row| right(row));
    Some(hits.count() as f64 / classes.len() as f64)
}

/// The rows nearest to `row`, without itself, the nearest first; with their cosines.
pub fn nearest(features: &Rows, row: usize, count: usize) -> Vec<(usize, f32)> {
    let here = features.row(row);
    let mut all: Vec<(usize, f32)> = (0..features.len())
        .filter(|&other| other != row)
        .map(|other| {
            let there = features.row(other);
            (other, here.iter().zip(there).map(|(a, b)| a * b).sum())
        })
        .collect();
    let order = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count < all.len() {
        all.select_nth_unstable_by(count, order);
        all.truncate(count);
    }
    all.sort_by(order);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_class_wins_by_weight() {
        // Angles 0, 10 (class 0), 35 (class 1) and, on their own, 180 and 200 degrees (class 1).
        let angles = [0.0f32, 10.0, 35.0, 180.0, 200.0];
        let values = angles
            .iter()
            .flat_map(|a| [a.to_radians().cos(), a.to_radians().sin()]);
        let features = Rows::new(2, values.collect());
        let classes = [0, 0, 1, 1, 1];
        assert_eq!(
            nearest(&features, 2, 2)
                .iter()
                .map(|n| n.0)
                .collect::<Vec<_>>(),
            [1, 0]
        );
        // One neighbour: all right but the one at 35 degrees, whose nearest is at 10.
        let one = Protocol {
            neighbours: 1,
            temperature: 0.07,
        };
        assert_eq!(accuracy(&features, &classes, one), Some(0.8));
        // All four vote, but cosines weigh: the same.
        let all = Protocol {
            neighbours: 4,
            temperature: 0.07,
        };
        assert_eq!(accuracy(&features, &classes, all), Some(0.8));
        // At a high temperature only numbers count: class 1 wins everywhere but for its own members, who
        // are two against two, and there the cosines decide.
        let flat = Protocol {
            neighbours: 4,
            temperature: 1e6,
        };
        assert_eq!(accuracy(&features, &classes, flat), Some(0.4));
        assert_eq!(accuracy(&Rows::new(2, vec![1.0, 0.0]), &[0], all), None);
    }
}
