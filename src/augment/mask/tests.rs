use super::*;
use proptest::prelude::*;

const SHAPES: [MaskShape; 4] = [
    MaskShape::Blocks,
    MaskShape::Cross,
    MaskShape::Box,
    MaskShape::Random,
];

fn config(shape: MaskShape, position_share: f64) -> MaskConfig {
    MaskConfig {
        probability: 1.0,
        position_share,
        content_shape: shape,
        position_shape: shape,
        ..MaskConfig::default()
    }
}

proptest! {
    /// Every shape covers the whole number of patches nearest to its ratio, on every grid.
    #[test]
    fn coverage_is_exact(
        height in 1usize..17,
        width in 1usize..17,
        shape in 0usize..4,
        low in 0.0..1.0,
        seed: u64,
    ) {
        let grid = Grid::new(height, width);
        let mut config = config(SHAPES[shape], 0.5);
        config.ratio = [low, 1.0];
        let plan = MaskPlan::new(&config, (3, 1), seed, 0, 0);
        for (view, corruption) in plan.views().iter().enumerate() {
            let mask = plan.mask(view, grid);
            let (patches, ratio) = match (*corruption, &mask) {
                (Corruption::Content(r), ViewMask::Content(p)) | (Corruption::Position(r), ViewMask::Position(p)) => (p, r),
                (Corruption::Content(r) | Corruption::Position(r), ViewMask::None) => {
                    prop_assert!(r * grid.len() as f64 <= 0.5);
                    continue;
                }
                other => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            prop_assert!((patches.len() as f64 - ratio * grid.len() as f64).abs() <= 0.5 + 1e-9);
            prop_assert!(patches.windows(2).all(|w| w[0] < w[1]), "ascending, no duplicates");
            prop_assert!(patches.iter().all(|&p| (p as usize) < grid.len()));
            prop_assert_eq!(plan.mask(view, grid), mask.clone(), "drawn twice, drawn alike");
        }
    }

    /// With both corruptions each covers its ratio, of different patches.
    #[test]
    fn both_masks_are_disjoint(height in 1usize..15, width in 1usize..15, seed: u64) {
        let grid = Grid::new(height, width);
        let config = MaskConfig { probability: 1.0, both: true, ..MaskConfig::default() };
        config.validate().unwrap();
        let plan = MaskPlan::new(&config, (2, 1), seed, 0, 0);
        for (view, corruption) in plan.views().iter().enumerate() {
            let Corruption::Both(ratio, of_position) = *corruption else {
                return Err(TestCaseError::fail(format!("{corruption:?}")));
            };
            prop_assert_eq!(ratio, of_position);
            let mask = plan.mask(view, grid);
            let target = (ratio * grid.len() as f64).round() as usize;
            prop_assert_eq!(mask.position().len(), target);
            prop_assert_eq!(mask.content().len(), target.min(grid.len() - target));
            prop_assert!(mask.content().iter().all(|p| !mask.position().contains(p)));
        }
    }

    /// A whole number of masked views is masked, half of them by position, one in each stratum.
    #[test]
    fn batches_are_stratified(quarters in 1usize..33, seed: u64, batch in 0u64..1000) {
        let views = 4 * quarters;
        let plan = MaskPlan::new(&MaskConfig::default(), (views, 1), seed, 3, batch);
        let mut ratios = Vec::new();
        let (mut content, mut position) = (0, 0);
        for corruption in plan.views() {
            match *corruption {
                Corruption::None => {}
                Corruption::Content(r) => { content += 1; ratios.push(r) }
                Corruption::Position(r) => { position += 1; ratios.push(r) }
                Corruption::Both(..) => return Err(TestCaseError::fail("exclusive")),
            }
        }
        prop_assert_eq!((content, position), (quarters, quarters));
        ratios.sort_by(f64::total_cmp);
        for (i, r) in ratios.iter().enumerate() {
            let (low, width) = (0.1, 0.4 / ratios.len() as f64);
            prop_assert!((low + i as f64 * width..=low + (i + 1) as f64 * width).contains(r));
        }
    }
}

/// Of a picture's views some may be masked and others not, but all masked ones lose the same; over views of their own choice
/// many pictures lose both.
#[test]
fn pictures_may_have_one_kind_of_mask() {
    let mixed = |exclusive| {
        let config = MaskConfig {
            probability: 0.75,
            position_share: 0.25,
            exclusive,
            ..MaskConfig::default()
        };
        let plan = MaskPlan::new(&config, (64, 2), 1, 0, 0);
        let of = |corruption: &Corruption| match *corruption {
            Corruption::Content(_) => [1, 0],
            Corruption::Position(_) => [0, 1],
            _ => [0, 0],
        };
        let kinds = Vec::from_iter(plan.views().iter().map(of));
        let masked = kinds.iter().filter(|kind| **kind != [0, 0]).count();
        assert_eq!((kinds.len(), masked), (128, 96));
        let (first, second) = kinds.split_at(64);
        let of_pictures = Vec::from_iter(
            first
                .iter()
                .zip(second)
                .map(|(a, b)| [a[0] + b[0], a[1] + b[1]]),
        );
        let lose = |wanted: fn(&&[i32; 2]) -> bool| of_pictures.iter().filter(wanted).count();
        let both = lose(|[content, position]| *content > 0 && *position > 0);
        let position = lose(|[content, position]| *content == 0 && *position > 0);
        (both, position)
    };
    let (both, _) = mixed(Exclusive::View);
    assert!(both > 5, "{both}");
    let (both, lose_position) = mixed(Exclusive::Picture);
    assert_eq!(both, 0);
    // 16 of 64, less those of which no view is masked.
    assert!((10..=16).contains(&lose_position), "{lose_position}");
}

/// Contents and positions may be masked by shares of their own.
#[test]
fn each_kind_of_mask_has_its_ratio() {
    let mut config = MaskConfig {
        probability: 1.0,
        ratio: [0.1, 0.2],
        position_ratio: Some([0.4, 0.5]),
        ..MaskConfig::default()
    };
    for corruption in MaskPlan::new(&config, (64, 1), 1, 0, 0).views() {
        match *corruption {
            Corruption::Content(ratio) => assert!((0.1..=0.2).contains(&ratio)),
            Corruption::Position(ratio) => assert!((0.4..=0.5).contains(&ratio)),
            other => panic!("{other:?}"),
        }
    }
    config.both = true;
    for corruption in MaskPlan::new(&config, (64, 1), 1, 0, 0).views() {
        let Corruption::Both(content, position) = *corruption else {
            panic!("{corruption:?}");
        };
        assert!((position - content - 0.3).abs() < 1e-12);
    }
    config.position_ratio = Some([0.4, 0.6]);
    assert!(config
        .validate()
        .unwrap_err()
        .to_string()
        .contains("position_ratio"));
}

/// A config of before there was the key, and one that says so.
#[test]
fn positions_have_the_ratio_of_contents_unless_told() {
    let read = |text: &str| toml::from_str::<MaskConfig>(text);
    let old = read("ratio = [0.3, 0.7]").unwrap();
    assert_eq!(
        old,
        read("ratio = [0.3, 0.7]\nposition_ratio = []").unwrap()
    );
    let plan = MaskPlan::new(&old, (64, 1), 1, 0, 0);
    let of = |corruption: &Corruption| match *corruption {
        Corruption::Position(ratio) => Some(ratio),
        _ => None,
    };
    let ratios: Vec<f64> = plan.views().iter().filter_map(of).collect();
    assert!(!ratios.is_empty() && ratios.iter().all(|ratio| (0.3..=0.7).contains(ratio)));
    let written = toml::to_string(&old).unwrap();
    assert_eq!(read(&written).unwrap(), old);
    assert!(read("position_ratio = [0.1]").is_err());
}

/// Shares that are not whole hold on average: one view a batch, 4,000 batches.
#[test]
fn single_views_keep_the_probabilities() {
    let config = MaskConfig {
        probability: 0.3,
        position_share: 0.25,
        ..MaskConfig::default()
    };
    let (mut content, mut position, mut sum) = (0.0, 0.0, 0.0);
    let batches = 4_000;
    for batch in 0..batches {
        match MaskPlan::new(&config, (1, 1), 9, 0, batch).views()[0] {
            Corruption::Content(r) => {
                content += 1.0;
                sum += r;
            }
            Corruption::Position(r) => {
                position += 1.0;
                sum += r;
            }
            _ => {}
        }
    }
    let n = batches as f64;
    assert!((content / n - 0.225).abs() < 0.03, "{content}");
    assert!((position / n - 0.075).abs() < 0.02, "{position}");
    assert!((sum / (content + position) - 0.3).abs() < 0.02);
}

#[test]
fn shares_of_0_and_1_leave_one_corruption() {
    for (share, content) in [(0.0, true), (1.0, false)] {
        let config = MaskConfig {
            position_share: share,
            ..MaskConfig::default()
        };
        let plan = MaskPlan::new(&config, (64, 1), 1, 0, 0);
        let masked: Vec<_> = (0..64)
            .map(|v| plan.mask(v, Grid::new(6, 6)))
            .filter(|m| *m != ViewMask::None)
            .collect();
        assert_eq!(masked.len(), 32);
        assert!(masked
            .iter()
            .all(|m| matches!(m, ViewMask::Content(_)) == content));
    }
}

#[test]
fn plans_differ_by_batch_epoch_and_seed() {
    let plan = |seed, epoch, batch| {
        MaskPlan::new(&MaskConfig::default(), (16, 1), seed, epoch, batch)
            .views()
            .to_vec()
    };
    let first = plan(1, 0, 0);
    assert_eq!(first, plan(1, 0, 0));
    for other in [plan(2, 0, 0), plan(1, 1, 0), plan(1, 0, 1)] {
        assert_ne!(first, other);
    }
}

/// A cross that covers more than two lines holds a whole row and a whole column, and misses a corner.
#[test]
fn crosses_are_crosses_and_boxes_are_boxes() {
    let grid = Grid::new(14, 14);
    for seed in 0..50 {
        let draw = |shape| {
            let mut config = config(shape, 1.0);
            config.ratio = [0.3, 0.3];
            let mask = MaskPlan::new(&config, (1, 1), seed, 0, 0).mask(0, grid);
            let mut hidden = [[false; 14]; 14];
            mask.position()
                .iter()
                .for_each(|&p| hidden[p as usize / 14][p as usize % 14] = true);
            hidden
        };
        let cross = draw(MaskShape::Cross);
        assert!(
            cross.iter().any(|row| row.iter().all(|&h| h))
                || (0..14).any(|x| cross.iter().all(|row| row[x]))
        );
        let covers = |x: usize| cross.iter().any(|row| row[x]);
        assert!(
            (0..14).filter(|&x| covers(x)).count() >= 12,
            "the horizontal band spans the view"
        );
        assert!([(0, 0), (0, 13), (13, 0), (13, 13)]
            .iter()
            .any(|&(y, x): &(usize, usize)| !cross[y][x]));
        // A box and its bounding rectangle differ by less than its outermost line.
        let square = draw(MaskShape::Box);
        let rows: Vec<_> = (0..14).filter(|&y| square[y].iter().any(|&h| h)).collect();
        let columns: Vec<_> = (0..14)
            .filter(|&x| square.iter().any(|row| row[x]))
            .collect();
        let (height, width) = (
            rows[rows.len() - 1] - rows[0] + 1,
            columns[columns.len() - 1] - columns[0] + 1,
        );
        assert!(
            height * width - 59 < 2 * height.max(width),
            "{height} x {width}"
        );
    }
}

/// Positions are masked everywhere about equally by random patches, and the centre of a view is not
/// spared by crosses.
#[test]
fn every_patch_is_masked_sometimes() {
    let grid = Grid::new(6, 6);
    for shape in SHAPES {
        let mut counts = [0; 36];
        for batch in 0..2_000 {
            let plan = MaskPlan::new(&config(shape, 0.0), (1, 1), 5, 0, batch);
            plan.mask(0, grid)
                .content()
                .iter()
                .for_each(|&p| counts[p as usize] += 1);
        }
        // 30% on average; corners of rectangles are rarer than centres.
        assert!(
            counts.iter().all(|&n| (200..1_000).contains(&n)),
            "{shape:?} {counts:?}"
        );
    }
}

#[test]
fn impossible_values_name_their_key() {
    let check = |change: fn(&mut MaskConfig)| {
        let mut config = MaskConfig::default();
        change(&mut config);
        config.validate().unwrap_err().key
    };
    assert_eq!(check(|c| c.ratio = [0.6, 0.5]), "ratio");
    assert_eq!(check(|c| (c.both, c.ratio) = (true, [0.1, 0.6])), "ratio");
    assert_eq!(check(|c| c.probability = f64::NAN), "probability");
    assert_eq!(check(|c| c.position_share = 2.0), "position_share");
}
