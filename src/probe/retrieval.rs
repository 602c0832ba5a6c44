//! Position retrieval: whether the feature of a patch that cannot see its position points to where the patch lies.
//!
//! Nothing is fitted, unlike with R^2: the feature has to be where the loss for positions wants it, towards those of patches
//! that see their positions. Each place stands for what all such patches of many pictures have in common there, so that the
//! contents of a single one neither help nor hide it.

use super::features::Rows;

/// What patches have in common that see their positions, place by place.
pub(super) struct Places {
    /// Of the features at each place, in raster order.
    sums: Vec<f32>,
    width: usize,
}

impl Places {
    /// Of so many places.
    pub fn new(count: usize, width: usize) -> Self {
        let sums = vec![0.0; count * width];
        Self { sums, width }
    }

    /// Adds the patches of a picture, one at each place.
    pub fn add(&mut self, patches: &[f32]) {
        debug_assert_eq!(self.sums.len(), patches.len());
        let pairs = self.sums.iter_mut().zip(patches);
        pairs.for_each(|(sum, v)| *sum += v);
    }

    /// The share of rows of `masked`, which lie `at` these places, that are nearest to theirs: by the cosine between what they
    /// deviate from their mean by, and what the places deviate from theirs by. By chance it is one in as many as there are
    /// places. None of a single place.
    ///
    /// The rows must be of pictures that were not added.
    pub fn found(&self, masked: &Rows, at: &[usize]) -> Option<f64> {
        assert_eq!(masked.len(), at.len());
        let places = Rows::new(self.width, self.sums.clone());
        if places.len() < 2 || masked.is_empty() {
            return None;
        }
        // What a masked position adds to all patches alike says nothing of where they are.
        let (places, masked) = (places.centred().normalised(), masked.centred());
        let nearest = |feature: &[f32]| {
            let cosine =
                |place: &[f32]| -> f32 { place.iter().zip(feature).map(|(a, b)| a * b).sum() };
            let cosines = places.iter().map(cosine).enumerate();
            // The first of equals.
            cosines.reduce(|best, next| if next.1 > best.1 { next } else { best })
        };
        let pairs = masked.iter().zip(at);
        let found = pairs.filter(|&(feature, &at)| nearest(feature).is_some_and(|(n, _)| n == at));
        Some(found.count() as f64 / masked.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: usize = 4;
    /// Of the place, of a masked position, of the picture.
    const WIDTH: usize = PLACES + 1 + 40;

    fn feature(at: usize, place: f32, masked: f32, picture: usize) -> [f32; WIDTH] {
        let mut row = [0.0; WIDTH];
        (row[at], row[PLACES], row[PLACES + 1 + picture]) = (place, masked, 1.0);
        row
    }

    /// The patches of the first pictures are seen; one of each other picture is masked.
    fn found(seen: usize, place: f32, masked: f32) -> Option<f64> {
        let mut places = Places::new(PLACES, WIDTH);
        for picture in 0..seen {
            let patches = (0..PLACES).flat_map(|at| feature(at, 1.0, 0.0, picture));
            places.add(&patches.collect::<Vec<_>>());
        }
        let at: Vec<usize> = (seen..40).map(|picture| picture % PLACES).collect();
        let rows = at.iter().zip(seen..);
        let rows = rows.flat_map(|(&at, picture)| feature(at, place, masked, picture));
        places.found(&Rows::new(WIDTH, rows.collect()), &at)
    }

    #[test]
    fn a_place_is_found_by_what_a_feature_says_of_it() {
        // Of few pictures as of many, however little it says beside its picture, and however far a masked position moves
        // all of them.
        for seen in [1, 20] {
            assert_eq!(found(seen, 0.2, 0.0), Some(1.0));
            assert_eq!(found(seen, 0.2, 9.0), Some(1.0));
            assert_eq!(found(seen, -0.2, 9.0), Some(0.0));
        }
        // What says nothing of it is told nothing but one and the same place.
        assert_eq!(found(20, 0.0, 9.0), Some(0.25));
    }

    #[test]
    fn a_single_place_is_not_looked_for() {
        let places = Places::new(1, 3);
        assert_eq!(places.found(&Rows::new(3, vec![1.0; 6]), &[0, 0]), None);
        assert_eq!(
            Places::new(2, 3).found(&Rows::new(3, Vec::new()), &[]),
            None
        );
    }
}
