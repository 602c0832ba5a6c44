//! Position retrieval: whether the feature of a patch that cannot see its position points to where the patch lies.
//!
//! Nothing is fitted, unlike with R^2: the feature has to be where the loss for positions wants it, towards those of patches
//! that see their positions. Each place stands for what such patches of many pictures have in common there, so that the
//! contents of a single one neither help nor hide it.

use std::collections::BTreeMap;

use super::features::Rows;
use super::readout::Halves;

/// The share of rows of `masked` that are nearest to their place among all: by the cosine between deviations from the mean
/// of `masked`, and those of the mean of each place's `visible` rows from the mean of all of these. The rows are of
/// the same patches, and the places of one half of the pictures are looked up by the patches of the other. By chance it is
/// one in as many as there are places. None if all are at one place.
pub(super) fn places(masked: &Rows, visible: &Rows, places: &Rows, halves: &Halves) -> Option<f64> {
    if places.iter().all(|place| place == places.row(0)) {
        return None;
    }
    let each = places.len() / halves.pictures();
    let of = |rows: &Rows, half: &[usize]| rows.pick(Halves::rows(half, each));
    let (seen, shown) = (of(visible, &halves.first), of(places, &halves.first));
    let means = means(&seen.centred(), &shown);
    // What a masked position adds to all patches alike says nothing of where they are.
    let (asked, at) = (
        of(masked, &halves.second).centred(),
        of(places, &halves.second),
    );
    let hits = asked.iter().zip(at.iter()).filter(|(feature, at)| {
        let cosine = |mean: &[f32]| -> f32 { mean.iter().zip(*feature).map(|(a, b)| a * b).sum() };
        let nearest = means.iter().map(|(place, mean)| (cosine(mean), place));
        let nearest = nearest.max_by(|a, b| a.0.total_cmp(&b.0));
        nearest.is_some_and(|(_, place)| *place == key(at))
    });
    Some(hits.count() as f64 / asked.len() as f64)
}

/// A place as something that has an order; equal places are equal bit by bit.
fn key(place: &[f32]) -> Vec<u32> {
    place.iter().map(|v| v.to_bits()).collect()
}

/// The mean of the rows at each place, of length 1.
fn means(rows: &Rows, places: &Rows) -> Vec<(Vec<u32>, Vec<f32>)> {
    let mut sums = BTreeMap::<Vec<u32>, Vec<f32>>::new();
    for (row, place) in rows.iter().zip(places.iter()) {
        let sum = sums
            .entry(key(place))
            .or_insert_with(|| vec![0.0; row.len()]);
        sum.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
    }
    let directions = sums.into_iter().map(|(place, sum)| {
        let mean = Rows::new(sum.len(), sum).normalised();
        (place, mean.row(0).to_vec())
    });
    directions.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURES: usize = 40;

    /// Two patches of each picture, at one of four places; what a feature says of it, what of its picture, and what of
    /// being masked.
    fn rows(place: f32, picture: f32, masked: f32) -> (Rows, Rows) {
        let (mut features, mut places) = (Vec::new(), Vec::new());
        for p in 0..PICTURES {
            for at in [p % 4, (p / 4 + 1) % 4] {
                let mut row = [0.0; 5 + PICTURES];
                row[at] = place;
                row[4] = masked;
                row[5 + p] = picture;
                features.extend(row);
                places.extend([(at % 2) as f32, (at / 2) as f32]);
            }
        }
        (Rows::new(5 + PICTURES, features), Rows::new(2, places))
    }

    #[test]
    fn a_place_is_found_by_what_a_feature_says_of_it() {
        let (visible, at) = rows(1.0, 1.0, 0.0);
        for seed in 0..5 {
            let halves = Halves::draw(PICTURES, seed);
            // However little it says of it beside its picture, and however far a masked position moves all of them.
            let (little, _) = rows(0.2, 1.0, 9.0);
            assert_eq!(places(&little, &visible, &at, &halves), Some(1.0));
            let (away, _) = rows(-0.2, 1.0, 9.0);
            assert_eq!(places(&away, &visible, &at, &halves), Some(0.0));
            // By chance a quarter.
            let blind = places(&rows(0.0, 1.0, 9.0).0, &visible, &at, &halves).unwrap();
            assert!(blind < 0.6, "{blind}");
        }
    }

    #[test]
    fn a_single_place_is_not_looked_for() {
        let (visible, _) = rows(1.0, 1.0, 0.0);
        let one = Rows::new(2, [0.5, 0.1].repeat(visible.len()));
        let halves = Halves::draw(PICTURES, 0);
        assert_eq!(places(&visible, &visible, &one, &halves), None);
    }
}
