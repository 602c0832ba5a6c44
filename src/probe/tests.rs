use intertwine_datasets::Permutation;

use super::*;
use crate::field::Normalisation;
use crate::nn::vit::VitConfig;

#[test]
fn pictures_are_not_those_that_a_run_saw_first() {
    for seed in 0..3 {
        let options = Options {
            pictures: 256,
            seed,
            ..Options::default()
        };
        let order = Permutation::new(1000, seed, 0, 0);
        let first: Vec<usize> = (0..256).map(|i| order.get(i) as usize).collect();
        let common = |records: &[usize]| records.iter().filter(|r| first.contains(r)).count();
        // By chance a quarter of them, give or take 6.
        let drawn = draw(1000, &options);
        assert!(common(&drawn) < 100, "{} of 256", common(&drawn));
        assert!(drawn.is_sorted() && drawn.len() == 256);
        let shelf = Drawn::Shelf.choose(seed, 0, 6, 1000);
        assert!(common(&shelf) < 6, "{shelf:?}");
    }
    let all = draw(5, &Options::default());
    assert_eq!(all, [0, 1, 2, 3, 4]);
}

#[test]
fn classes_are_counted_that_there_are() {
    assert_eq!(dense(&[7, 2, u32::MAX, 7, 2]), (vec![1, 0, 2, 1, 0], 3));
    assert_eq!(dense(&[]), (vec![], 0));
}

#[test]
fn ways_to_look_that_cannot_be_are_refused() {
    let config = VitConfig {
        field: 4,
        ..VitConfig::plain("tiny16")
    };
    let encoder = Encoder::fresh(&config, Normalisation::IMAGENET, 0).unwrap();
    let said = |options: Options| grid(&encoder, &options).map_err(|e| e.to_string());
    let side = |side| Options {
        side: Some(side),
        ..Options::default()
    };
    for wrong in [0, 8, 16, 40] {
        let expected = format!(
            "side = {wrong}: expected a multiple of 16, the pixels of a patch, at least 32"
        );
        assert_eq!(said(side(wrong)), Err(expected));
    }
    assert_eq!((said(side(32)), said(side(48))), (Ok(2), Ok(3)));
    let window = |window| Options {
        window: Some(window),
        ..Options::default()
    };
    for wrong in [f64::NAN, 5.0, 0.0, -0.1] {
        let error = super::window(&encoder, &window(wrong))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(&format!("window = {wrong:?}: expected")));
    }
    let found = super::window(&encoder, &window(1.0)).unwrap();
    assert_eq!(found, Window::centred(1.0));
    assert_eq!(said(window(1.0)), Ok(14));
    // Nor can colours be divided by nothing.
    let flat = Normalisation {
        std: [0.5, 0.0, 0.5],
        ..Normalisation::IMAGENET
    };
    let error = encoder.normalised(flat).err().unwrap().to_string();
    assert!(error.contains("std = [0.5, 0.0, 0.5]"), "{error}");
}
