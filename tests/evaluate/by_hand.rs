//! Cases small enough to be worked out on paper, and what pycocotools does not show.

use intertwine::evaluate::{
    evaluate, Annotation, Category, Counts, Detection, Detections, GroundTruth, ImageInfo, IouType,
    Report, Summary,
};
use intertwine_rle::Rle;

const SIDE: u32 = 100;

fn annotation(id: u64, image_id: u64, bbox: [f64; 4]) -> Annotation {
    let area = bbox[2] * bbox[3];
    Annotation {
        id,
        image_id,
        category_id: 5,
        bbox,
        area,
        iscrowd: false,
        segmentation: None,
    }
}

fn detection(image_id: u64, bbox: [f64; 4], score: f64) -> Detection {
    Detection {
        image_id,
        category_id: 5,
        bbox: Some(bbox),
        score,
        segmentation: None,
    }
}

/// Labels of 100 x 100 pictures 1 and 2 with category 5, and 6 without objects.
fn labels(annotations: Vec<Annotation>) -> GroundTruth {
    let images = [2, 1].map(|id| ImageInfo {
        id,
        width: SIDE,
        height: SIDE,
    });
    let categories = [(6, "none"), (5, "thing")].map(|(id, name)| Category {
        id,
        name: name.into(),
    });
    GroundTruth::new(images.into(), categories.into(), annotations).unwrap()
}

fn score(annotations: Vec<Annotation>, detections: Vec<Detection>) -> Summary {
    evaluate(
        &labels(annotations),
        &Detections::new(detections).unwrap(),
        IouType::Bbox,
    )
    .unwrap()
}

fn assert_near(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 1e-12,
        "{found}, expected {expected}"
    );
}

const A: [f64; 4] = [10.0, 10.0, 40.0, 40.0];
const B: [f64; 4] = [55.0, 55.0, 40.0, 40.0];
const NOWHERE: [f64; 4] = [0.0, 60.0, 9.0, 9.0];

/// Two objects, and three detections of falling score: of the first, of nothing, of the second.
fn hit_miss_hit() -> Summary {
    score(
        vec![annotation(1, 1, A), annotation(2, 1, B)],
        vec![
            detection(1, A, 0.9),
            detection(1, NOWHERE, 0.8),
            detection(1, B, 0.7),
        ],
    )
}

#[test]
fn thresholds_keep_what_scores_as_much() {
    let summary = hit_miss_hit();
    let scores: Vec<f64> = summary.thresholds.iter().map(|kept| kept.score).collect();
    assert_eq!((scores.len(), scores[0], scores[18]), (19, 0.05, 0.95));
    for kept in &summary.thresholds {
        // Precision, recall, F1 of two of three, one of two, one of one, nothing; two are to be found.
        let expected = match kept.score {
            ..=0.7 => [2.0 / 3.0, 1.0, 0.8],
            ..=0.8 => [0.5, 0.5, 0.5],
            ..=0.9 => [1.0, 0.5, 2.0 / 3.0],
            _ => [0.0; 3],
        };
        for (found, expected) in [kept.precision, kept.recall, kept.f1]
            .into_iter()
            .zip(expected)
        {
            assert_near(found, expected);
        }
    }
    let best = summary.best_threshold().unwrap();
    assert_eq!((best.score, best.f1), (0.05, 0.8));
    let counts = |found, missed, wrong| {
        Some(Counts {
            found,
            missed,
            wrong,
        })
    };
    assert_eq!(summary.per_category[0].at_best, counts(2, 0, 1));
    // With three wrong ones between, the best threshold leaves them out, and the second object with them.
    let mut found = vec![detection(1, A, 0.9), detection(1, B, 0.4)];
    found.extend([0.41, 0.42, 0.43].map(|score| detection(1, NOWHERE, score)));
    let of_nothing = Detection {
        category_id: 6,
        ..detection(1, A, 0.6)
    };
    let summary = score(
        vec![annotation(1, 1, A), annotation(2, 1, B)],
        [found, vec![of_nothing]].concat(),
    );
    let best = summary.best_threshold().unwrap();
    assert_near(best.score, 0.65);
    assert_eq!(summary.per_category[0].at_best, counts(1, 1, 0));
    assert_eq!(summary.per_category[1].at_best, counts(0, 0, 0));
    // With nothing to be found there is nothing to choose.
    let none = score(Vec::new(), vec![detection(1, A, 0.9)]);
    assert_eq!(none.best_threshold(), None);
    assert_eq!(none.per_category[0].at_best, None);
}

#[test]
fn average_precision_of_a_hit_a_miss_and_a_hit() {
    let summary = hit_miss_hit();
    // Precision 1 up to recall 1/2 (51 of the 101 recalls), 2/3 beyond.
    let ap = (51.0 + 50.0 * 2.0 / 3.0) / 101.0;
    for stat in [0, 1, 2] {
        assert_near(summary.stats[stat], ap);
    }
    // 1,600 square pixels are medium, the miss is small: it does not count among medium objects, and
    // there is nothing small or large to be found.
    assert_near(summary.stats[4], 1.0);
    assert_eq!([summary.stats[3], summary.stats[5]], [-1.0; 2]);
    // Recall with 1, 10 and 100 detections a picture.
    assert_eq!(summary.stats[6..9], [0.5, 1.0, 1.0]);
    assert_eq!(summary.per_category.len(), 2);
    assert_near(summary.per_category[0].ap, ap);
    assert_eq!(summary.per_category[0].instances, 2);
    assert_eq!(
        (
            summary.per_category[1].ap,
            summary.per_category[1].instances
        ),
        (-1.0, 0)
    );
}

#[test]
fn a_tie_across_pictures_goes_to_the_lower_image_id() {
    // The false positive in picture 1 comes before the hit in picture 2, although listed after it.
    let found = vec![detection(2, A, 0.5), detection(1, NOWHERE, 0.5)];
    assert_near(score(vec![annotation(1, 2, A)], found).stats[0], 0.5);
    let found = vec![detection(2, NOWHERE, 0.5), detection(1, A, 0.5)];
    assert_near(score(vec![annotation(1, 1, A)], found).stats[0], 1.0);
}

#[test]
fn a_duplicate_is_a_false_positive_and_on_a_crowd_it_is_nothing() {
    let twice = || {
        vec![
            detection(1, A, 0.9),
            detection(1, A, 0.8),
            detection(1, B, 0.7),
        ]
    };
    let (a, b) = (annotation(1, 1, A), annotation(2, 1, B));
    let ap = (51.0 + 50.0 * 2.0 / 3.0) / 101.0;
    assert_near(score(vec![a.clone(), b.clone()], twice()).stats[0], ap);
    let crowd = Annotation { iscrowd: true, ..a };
    assert_near(score(vec![crowd, b], twice()).stats[0], 1.0);
}

#[test]
fn half_a_box_counts_at_the_lowest_threshold_alone() {
    let half = [10.0, 10.0, 40.0, 20.0];
    let summary = score(vec![annotation(1, 1, A)], vec![detection(1, half, 0.1)]);
    assert_near(summary.per_iou[0], 1.0);
    assert_eq!(summary.per_iou[1..], [0.0; 9]);
    assert_near(summary.stats[0], 0.1);
}

#[test]
fn nothing_found_is_zero_and_nothing_to_be_found_is_minus_one() {
    let summary = score(vec![annotation(1, 1, A)], vec![]);
    assert_eq!(
        summary.stats,
        [0.0, 0.0, 0.0, -1.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0, 0.0, -1.0]
    );
    assert_eq!(score(vec![], vec![detection(1, A, 0.9)]).stats, [-1.0; 12]);
    assert_eq!(score(vec![], vec![]).per_iou, [-1.0; 10]);
    assert!(Report::from(summary.clone()).remark().is_some());
    let stats = [0.0; 12];
    assert_eq!(Report::from(Summary { stats, ..summary }).remark(), None);
}

#[test]
fn an_annotation_of_id_zero_counts() {
    assert_near(
        score(vec![annotation(0, 1, A)], vec![detection(1, A, 0.9)]).stats[0],
        1.0,
    );
}

#[test]
fn a_box_without_extent_is_never_found_nor_finds() {
    let line = [10.0, 10.0, 40.0, 0.0];
    let summary = score(vec![annotation(1, 1, line)], vec![detection(1, line, 0.9)]);
    assert_eq!((summary.stats[0], summary.stats[8]), (0.0, 0.0));
}

#[test]
fn masks_are_compared_by_their_pixels() {
    let mask = |rows: std::ops::Range<u32>| {
        let pixels = (0..SIDE * SIDE)
            .map(|i| u8::from(rows.contains(&(i / SIDE))))
            .collect::<Vec<_>>();
        Rle::encode(&pixels, SIDE, SIDE)
    };
    let truth = Annotation {
        segmentation: Some(mask(0..40)),
        ..annotation(1, 1, [0.0, 0.0, 100.0, 40.0])
    };
    let found = Detection {
        bbox: None,
        segmentation: Some(mask(0..24)),
        ..detection(1, A, 0.9)
    };
    let summary = evaluate(
        &labels(vec![truth]),
        &Detections::new(vec![found]).unwrap(),
        IouType::Segm,
    )
    .unwrap();
    // IoU 24 / 40 = 0.6: the thresholds 0.50, 0.55 and 0.60.
    assert_near(summary.stats[0], 0.3);
    assert_near(summary.stats[1], 1.0);
    assert_eq!(summary.stats[2], 0.0);
}

#[test]
fn the_report_keeps_the_contract_of_its_json() {
    let boxes = score(vec![annotation(1, 1, A)], vec![detection(1, A, 0.9)]);
    let alone = serde_json::to_value(Report::from(boxes.clone())).unwrap();
    assert_eq!(alone["iou_type"], "bbox");
    assert_eq!(alone["stats"].as_array().unwrap().len(), 12);
    assert_eq!(alone["stats"][3], -1.0);
    assert_eq!(alone["per_category"][0]["name"], "thing");
    assert_eq!(alone["per_category"][0]["ar"], 1.0);
    assert!(alone.get("stats_segm").is_none());

    let masks = Summary {
        iou_type: IouType::Segm,
        stats: [0.25; 12],
        ..boxes.clone()
    };
    let both = Report {
        first: boxes,
        masks: Some(masks),
    };
    assert_eq!(both.to_string().lines().count(), 26);
    let both = serde_json::to_value(both).unwrap();
    assert_eq!(
        (&both["stats"][8], &both["stats_segm"][8]),
        (&1.0.into(), &0.25.into())
    );
}
