//! What a linear fit to one half of the pictures reads off the features of the other half.
//!
//! The halves are drawn, since sets are often sorted by class, and their neighbours are often copies or frames of one
//! film; and they are of whole pictures, since the patches of one know of each other.

use super::features::Rows;
use super::regression::Linear;
use super::Drawn;

/// The numbers of the pictures to fit to, and of those to measure on, both in random order.
pub(super) struct Halves {
    pub first: Vec<usize>,
    pub second: Vec<usize>,
}

impl Halves {
    pub fn draw(pictures: usize, seed: u64) -> Self {
        let mut first = Drawn::Halves.choose(seed, 0, pictures, pictures);
        let second = first.split_off(pictures.div_ceil(2));
        Self { first, second }
    }

    pub fn pictures(&self) -> usize {
        self.first.len() + self.second.len()
    }

    /// The rows of the pictures to fit to, of which each has as many, one picture after the other.
    pub fn first_rows(&self, each: usize) -> impl Iterator<Item = usize> + '_ {
        rows(&self.first, each)
    }

    /// Those of the pictures to measure on.
    pub fn second_rows(&self, each: usize) -> impl Iterator<Item = usize> + '_ {
        rows(&self.second, each)
    }
}

fn rows(pictures: &[usize], each: usize) -> impl Iterator<Item = usize> + '_ {
    pictures.iter().flat_map(move |p| p * each..(p + 1) * each)
}

/// R^2 of the places of patches: as many rows of each picture, one picture after the other. None if all are at one place.
pub(super) fn places(features: &Rows, places: &Rows, halves: &Halves) -> Option<f64> {
    let each = features.len() / halves.pictures();
    let first = |rows: &Rows| rows.pick(halves.first_rows(each));
    let second = |rows: &Rows| rows.pick(halves.second_rows(each));
    let fit = Linear::fit(&first(features), &first(places), each);
    fit.r2(&second(features), &second(places))
}

/// The share of the second half whose class is found; `classes[i]` is that of row `i`, below `count`. None of fewer than
/// four rows.
pub(super) fn classes(features: &Rows, classes: &[u32], count: usize, seed: u64) -> Option<f64> {
    if classes.len() < 4 {
        return None;
    }
    let Halves { first, second } = Halves::draw(classes.len(), seed);
    let one_hot = |&row: &usize| {
        (0..count as u32).map(move |class| f32::from(u8::from(class == classes[row])))
    };
    let targets = Rows::new(count, first.iter().flat_map(one_hot).collect());
    let fit = Linear::fit(&features.pick(first.iter().copied()), &targets, 1);
    let right = second.iter().filter(|&&row| {
        let scores = fit.predict(features.row(row));
        let best = (0..count).fold(0, |best, c| if scores[c] > scores[best] { c } else { best });
        best == classes[row] as usize
    });
    Some(right.count() as f64 / second.len() as f64)
}

#[cfg(test)]
mod tests {
    use intertwine_flow::random::{stream, Purpose};
    use rand::RngExt;

    use super::*;

    const EACH: usize = 4;

    fn random(count: usize) -> Vec<f32> {
        let mut rng = stream(5, Purpose::Probe, 0, 0);
        (0..count).map(|_| rng.random::<f32>() - 0.5).collect()
    }

    #[test]
    fn a_set_that_is_sorted_by_class_is_fitted_on_all_of_its_classes() {
        // The two classes show places in features of their own.
        let shown = Rows::new(2, random(60 * EACH * 2));
        let features = shown.iter().enumerate().flat_map(|(row, place)| {
            let [x, y] = [place[0], place[1]];
            match row < 30 * EACH {
                true => [x, y, 0.0, 0.0],
                false => [0.0, 0.0, y, x],
            }
        });
        let r2 = places(
            &Rows::new(4, features.collect()),
            &shown,
            &Halves::draw(60, 0),
        )
        .unwrap();
        assert!(r2 > 0.99, "{r2}");
    }

    #[test]
    fn patches_of_one_picture_are_on_one_side() {
        // Features name the picture, and all of its patches lie at one place: of other pictures that tells nothing.
        let (pictures, at) = (16, random(16 * 2));
        let rows = || (0..pictures).flat_map(|p| [p; EACH]);
        let features = rows().flat_map(|p| (0..pictures).map(move |q| f32::from(u8::from(p == q))));
        let shown = rows().flat_map(|p| [at[2 * p], at[2 * p + 1]]);
        let (features, shown) = (features.collect(), shown.collect());
        for seed in 0..5 {
            let (features, shown) = (
                Rows::new(pictures, Vec::clone(&features)),
                Vec::clone(&shown),
            );
            let r2 = places(
                &features,
                &Rows::new(2, shown),
                &Halves::draw(pictures, seed),
            )
            .unwrap();
            assert!(r2 <= 1e-9, "{r2}");
        }
        // Nor is anything told where there is one place only.
        let one = Rows::new(2, [0.5, 0.1].repeat(pictures * EACH));
        let features = Rows::new(3, random(pictures * EACH * 3));
        assert_eq!(places(&features, &one, &Halves::draw(pictures, 0)), None);
    }

    #[test]
    fn classes_that_alternate_or_are_sorted_are_found() {
        for class in [|row: usize| row % 2, |row: usize| row / 30] {
            let numbers: Vec<u32> = (0..60).map(|row| class(row) as u32).collect();
            let one_hot = |row| [class(row) as f32, 1.0 - class(row) as f32];
            let features = Rows::new(2, (0..60).flat_map(one_hot).collect());
            assert_eq!(classes(&features, &numbers, 2, 0), Some(1.0));
        }
        // What features do not tell is not found.
        let (features, numbers) = (Rows::new(2, random(800)), (0..400).map(|row| row % 2));
        let share = classes(&features, &numbers.collect::<Vec<_>>(), 2, 0).unwrap();
        assert!((0.35..0.65).contains(&share), "{share}");
    }

    #[test]
    fn halves_are_of_all_pictures_and_the_seeds() {
        let Halves { first, second } = Halves::draw(9, 3);
        assert_eq!((first.len(), second.len()), (5, 4));
        let mut all = [first.clone(), second].concat();
        all.sort_unstable();
        assert_eq!(all, (0..9).collect::<Vec<_>>());
        assert_ne!(first, Halves::draw(9, 4).first);
        assert_eq!(first, Halves::draw(9, 3).first);
    }
}
