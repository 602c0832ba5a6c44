//! Pictures in, detections out, on the model of squares.

use image::imageops;
use intertwine_detect::{DetectError, Detection, Detector, Preprocessor, Thresholds};

use crate::squares::{self, picture, BLACK, SIZE, WHITE};

fn detector() -> Detector {
    Detector::from_bytes(&squares::bytes()).unwrap()
}

/// Class and box, in reading order.
fn places(detections: &[Detection]) -> Vec<(usize, [f32; 4])> {
    let mut places: Vec<_> = detections.iter().map(|d| (d.class, d.bbox)).collect();
    places.sort_by(|a, b| (a.1[1], a.1[0]).partial_cmp(&(b.1[1], b.1[0])).unwrap());
    places
}

#[test]
fn finds_what_is_there_with_its_mask() {
    let picture = picture(
        SIZE,
        SIZE,
        &[([32, 64, 16, 16], WHITE), ([96, 16, 16, 16], BLACK)],
    );
    let mut detector = detector();
    let found = detector.detect(&picture).unwrap();
    assert_eq!(
        places(found),
        [
            (1, [96.0, 16.0, 112.0, 32.0]),
            (0, [32.0, 64.0, 48.0, 80.0])
        ]
    );
    // sigmoid(20 - 14), up to the rounding of the sums.
    assert!(
        found.iter().all(|d| (d.score - 0.997_527).abs() < 1e-4),
        "{found:?}"
    );
    let bright = found.iter().find(|d| d.class == 0).unwrap();
    let mask = bright.mask.as_ref().unwrap();
    assert_eq!(mask.size(), (SIZE, SIZE));
    assert_eq!((mask.bbox(), mask.area()), ([32.0, 64.0, 16.0, 16.0], 256));
    // The prototype is positive where it is bright: nothing of the dark square belongs to a mask.
    assert_eq!(
        found
            .iter()
            .find(|d| d.class == 1)
            .unwrap()
            .mask
            .as_ref()
            .unwrap()
            .area(),
        0
    );
}

#[test]
fn a_mask_follows_the_pixels_inside_the_box() {
    // The left three quarters of the cell: mean 0.75, logit 1, enough for a box of the whole cell.
    let picture = picture(SIZE, SIZE, &[([32, 64, 12, 16], WHITE)]);
    let mut detector = detector();
    let found = detector.detect(&picture).unwrap();
    assert_eq!(places(found), [(0, [32.0, 64.0, 48.0, 80.0])]);
    // Cell centres lie at 34, 38, 42 (logit 19) and 46 (logit -1, since grey is 128 and not 127.5). The
    // probability falls from 1 to 0.29 between 42 and 46 and crosses 0.5 at 44.8: pixel 44, centre 44.5, is in.
    let mask = found[0].mask.as_ref().unwrap();
    assert_eq!(mask.bbox(), [32.0, 64.0, 13.0, 16.0]);
}

#[test]
fn boxes_and_masks_come_back_in_the_pixels_of_the_source() {
    // A landscape of twice the size: halved on the way in, padded below.
    let picture = picture(256, 128, &[([64, 32, 32, 32], WHITE)]);
    let mut detector = detector();
    let found = detector.detect(&picture).unwrap();
    assert_eq!(places(found), [(0, [64.0, 32.0, 96.0, 64.0])]);
    let mask = found[0].mask.as_ref().unwrap();
    assert_eq!(mask.size(), (128, 256));
    assert_eq!(mask.bbox(), [64.0, 32.0, 32.0, 32.0]);
}

#[test]
fn a_picture_does_not_see_the_one_before() {
    let full = picture(SIZE, SIZE, &[([0, 0, 128, 128], WHITE)]);
    let narrow = picture(40, 160, &[([20, 40, 20, 20], BLACK)]);
    let mut used = detector();
    assert_eq!(used.detect(&full).unwrap().len(), 64);
    let second = used.detect(&narrow).unwrap().to_vec();
    assert!(!second.is_empty());
    assert_eq!(detector().detect(&narrow).unwrap(), second);
    assert_eq!(used.try_clone().unwrap().detect(&narrow).unwrap(), second);
}

#[test]
fn threads_do_not_change_the_result() {
    let picture = picture(
        SIZE,
        SIZE,
        &[([32, 64, 16, 16], WHITE), ([96, 16, 16, 16], BLACK)],
    );
    let mut alone = detector();
    let mut together = detector();
    together.set_threads(3.try_into().unwrap()).unwrap();
    assert_eq!(
        alone.detect(&picture).unwrap(),
        together.detect(&picture).unwrap()
    );
    // And a detector can be sent away.
    let moved = std::thread::spawn(move || together.detect(&picture).unwrap().len())
        .join()
        .unwrap();
    assert_eq!(moved, 2);
}

#[test]
fn thresholds_are_obeyed() {
    let mut detector = detector();
    // A cell of brightness 0.65: score sigmoid(-1) = 0.27, worth measuring but not showing.
    let faint = picture(
        SIZE,
        SIZE,
        &[
            ([0, 0, 16, 16], image::Rgb([210; 3])),
            ([48, 0, 16, 16], WHITE),
        ],
    );
    assert_eq!(detector.detect(&faint).unwrap().len(), 1);
    let evaluation = Thresholds::evaluation(detector.card());
    detector.set_thresholds(evaluation);
    let found = detector.detect(&faint).unwrap();
    assert_eq!(found.len(), 2);
    assert!(found[0].score > found[1].score);
    detector.set_thresholds(Thresholds {
        max_detections: 1,
        ..evaluation
    });
    let found = detector.detect(&faint).unwrap();
    assert_eq!(places(found), [(0, [48.0, 0.0, 64.0, 16.0])]);
}

#[test]
fn raw_outputs_are_those_of_the_same_input() {
    let mut detector = detector();
    let picture = picture(SIZE, SIZE, &[([32, 64, 16, 16], WHITE)]);
    let mut preprocessor = Preprocessor::new(detector.card());
    let mut input = vec![0.0; preprocessor.input_len()];
    preprocessor.apply(&picture, &mut input).unwrap();
    let raw = detector.run_raw(&input).unwrap();
    assert_eq!((raw.boxes.len(), raw.scores.len()), (64 * 4, 64 * 2));
    let best = raw
        .scores
        .iter()
        .copied()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap();
    assert_eq!(best.0, (4 * 8 + 2) * 2); // cell (2, 4), class 0
    assert_eq!(raw.boxes[4 * (4 * 8 + 2)..][..4], [32.0, 64.0, 48.0, 80.0]);

    let error = detector.run_raw(&input[1..]).unwrap_err();
    assert!(
        matches!(
            error,
            DetectError::InputLength {
                found: 49151,
                expected: 49152,
                size: 128
            }
        ),
        "{error}"
    );
}

#[test]
fn the_graph_is_the_one_that_was_promised() {
    let description = Detector::describe().mermaid();
    let names = ["Frame", "Letterbox", "Model", "Decode", "Nms", "Detections"];
    let order = names.map(|name| description.find(&format!("[\"{name}")));
    assert!(
        order.iter().all(Option::is_some) && order.is_sorted(),
        "{description}"
    );
    let mut detector = detector();
    detector
        .detect(&imageops::resize(
            &picture(64, 64, &[]),
            200,
            100,
            imageops::FilterType::Nearest,
        ))
        .unwrap();
    let stages = detector.counters().snapshot().stages;
    assert!(stages.iter().all(|stage| stage.items == 1), "{stages:?}");
    assert_eq!(
        stages.iter().map(|s| s.name).collect::<Vec<_>>(),
        ["Letterbox", "Model", "Decode", "Nms"]
    );
}
