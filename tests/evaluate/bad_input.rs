//! Damaged files: the error names the file, the place and the key.

use intertwine::evaluate::{run, EvaluateError, IouType, Summary};

const LABELS: &str = r#"{
    "images": [{"id": 1, "width": 8, "height": 6}, {"id": 2, "width": 8, "height": 6}],
    "categories": [{"id": 7, "name": "thing"}],
    "annotations": [
        {"id": 10, "image_id": 1, "category_id": 7, "bbox": [1, 1, 3, 3], "area": 9, "iscrowd": 0,
         "segmentation": [[1, 1, 4, 1, 4, 4, 1, 4]]},
        {"id": 11, "image_id": 2, "category_id": 7, "bbox": [1, 1, 3, 3], "area": 9, "iscrowd": 0,
         "segmentation": {"size": [6, 8], "counts": [0, 48]}}
    ]
}"#;

const RESULTS: &str = r#"[
    {"image_id": 1, "category_id": 7, "bbox": [1, 1, 3, 3], "score": 0.5,
     "segmentation": {"size": [6, 8], "counts": "0`1"}},
    {"image_id": 2, "category_id": 7, "bbox": [1, 1, 3, 3], "score": 0.25}
]"#;

fn run_with(labels: &str, results: &str, iou: IouType) -> Result<f64, EvaluateError> {
    report_of(labels, results, iou).map(|report| report.stats[0])
}

fn report_of(labels: &str, results: &str, iou: IouType) -> Result<Summary, EvaluateError> {
    let folder = tempfile::tempdir().unwrap();
    let (gt, dt) = (folder.path().join("gt.json"), folder.path().join("dt.json"));
    std::fs::write(&gt, labels).unwrap();
    std::fs::write(&dt, results).unwrap();
    run(&gt, &dt, iou)
}

/// What is said when the first `from` of the labels, or else of the results, has become `to`.
#[track_caller]
fn complaint(from: &str, to: &str, iou: IouType) -> String {
    assert!(LABELS.contains(from) || RESULTS.contains(from), "{from}");
    let in_labels = LABELS.contains(from);
    let labels = if in_labels {
        LABELS.replacen(from, to, 1)
    } else {
        LABELS.into()
    };
    let results = if in_labels {
        RESULTS.into()
    } else {
        RESULTS.replacen(from, to, 1)
    };
    let error = run_with(&labels, &results, iou).expect_err(to).to_string();
    let file = if in_labels { "gt.json: " } else { "dt.json: " };
    assert!(error.contains(file), "{error}");
    error
}

/// Each change, and what the message must hold.
#[track_caller]
fn assert_complaints(iou: IouType, cases: &[(&str, &str, &[&str])]) {
    for (from, to, parts) in cases {
        let message = complaint(from, to, iou);
        for part in *parts {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
    }
}

#[test]
fn the_files_are_good_as_they_are() {
    assert_eq!(run_with(LABELS, RESULTS, IouType::Bbox).unwrap(), 1.0);
    assert!(run_with(LABELS, RESULTS, IouType::Segm).unwrap() >= 0.0);
    assert_eq!(run_with(LABELS, "[]", IouType::Bbox).unwrap(), 0.0);
}

#[test]
fn labels() {
    assert_complaints(
        IouType::Bbox,
        &[
            (r#""id": 2, "#, "", &["images[1].id: is missing"]),
            (
                r#""height": 6}"#,
                r#""tall": 6}"#,
                &["images[0].height: is missing"],
            ),
            (
                r#""id": 2, "#,
                r#""id": 1, "#,
                &["images[1].id: 1 was given to record 0"],
            ),
            (
                r#""id": 11"#,
                r#""id": 10"#,
                &["annotations[1].id: 10 was given to record 0"],
            ),
            (r#"{"id": 7, "#, "{", &["categories[0].id: is missing"]),
            (
                r#"{"id": 7, "#,
                r#"{"id": 8, "#,
                &["annotations[0].category_id: 7 is not in"],
            ),
            (
                r#""image_id": 2"#,
                r#""image_id": 3"#,
                &["annotations[1].image_id: 3 is not in"],
            ),
            (r#""area": 9, "#, "", &["annotations[0].area: is missing"]),
            (
                r#""area": 9"#,
                r#""area": -9"#,
                &["annotations[0].area: is -9; it must be a finite"],
            ),
            (
                "[1, 1, 3, 3]",
                "[1, 1, 3]",
                &["annotations[0].bbox: has 3 numbers"],
            ),
            (
                "[1, 1, 3, 3]",
                "[1, 1, -3, 3]",
                &["annotations[0].bbox: is -3; it must be 0 or more"],
            ),
            (
                "[1, 1, 3, 3]",
                "[1, NaN, 3, 3]",
                &["annotations[0].bbox[1]", "line 5", "a COCO label file"],
            ),
            (
                "[1, 1, 3, 3]",
                "[1, 1e999, 3, 3]",
                &["annotations[0].bbox[1]", "number out of range"],
            ),
            (
                r#""iscrowd": 0"#,
                r#""iscrowd": 2"#,
                &["annotations[0].iscrowd", "expected 0 or 1"],
            ),
            (
                r#""image_id": 2"#,
                r#""image_id": "b.jpg""#,
                &["annotations[1].image_id", "expected u64"],
            ),
            (
                "[[1, 1, 4, 1, 4, 4, 1, 4]]",
                "[[1, 1, 4, 1]]",
                &["annotations[0].segmentation: polygon 0 has 4"],
            ),
            (
                "[[1, 1, 4, 1, 4, 4, 1, 4]]",
                "[1, 1, 4, 1, 4, 4]",
                &["annotations[0].segmentation[0]", "a sequence"],
            ),
            (
                "[0, 48]",
                "[0, 47]",
                &["annotations[1].segmentation: the runs add up to 47"],
            ),
            (
                "[0, 48]",
                "[0, -1, 49]",
                &["annotations[1].segmentation.counts[1]"],
            ),
            (
                "[6, 8]",
                "[8, 6]",
                &["annotations[1].segmentation: is a mask of height 8 and width 6, but its image"],
            ),
            (
                r#""categories""#,
                r#""classes""#,
                &["missing field `categories`"],
            ),
            ("\n}", "", &["EOF while parsing"]),
        ],
    );
}

#[test]
fn results() {
    assert_complaints(
        IouType::Bbox,
        &[
            (
                r#""score": 0.5"#,
                r#""confidence": 0.5"#,
                &["results[0].score: is missing"],
            ),
            (
                r#""score": 0.25"#,
                r#""score": NaN"#,
                &["[1].score", "a COCO results file"],
            ),
            (
                r#""bbox": [1, 1, 3, 3], "score": 0.25"#,
                r#""score": 0.25"#,
                &["results[1].bbox: is missing"],
            ),
            (
                r#""counts": "0`1""#,
                r#""counts": "0~1""#,
                &["results[0].segmentation: byte 126 ('~') at offset 1"],
            ),
            (
                r#""counts": "0`1""#,
                r#""counts": 48"#,
                &["[0].segmentation.counts", "COCO's compressed string"],
            ),
            (
                r#"{"size": [6, 8], "counts": "0`1"}"#,
                "[[1, 1, 4, 1, 4, 4]]",
                &["results[0].segmentation: holds polygons"],
            ),
        ],
    );
    let with = |from: &str, to: &str, iou| {
        run_with(LABELS, &RESULTS.replacen(from, to, 1), iou)
            .unwrap_err()
            .to_string()
    };
    let error = with(r#""image_id": 2"#, r#""image_id": 3"#, IouType::Bbox);
    assert!(
        error.contains("dt.json: results[1].image_id: 3 is not in the ground truth"),
        "{error}"
    );
    let error = with(r#""category_id": 7"#, r#""category_id": 8"#, IouType::Bbox);
    assert!(
        error.contains("dt.json: results[0].category_id: 8 is not in the ground truth"),
        "{error}"
    );
    let error = with("[6, 8]", "[8, 6]", IouType::Segm);
    assert!(
        error.contains("results[0].segmentation: is a mask of height 8 and width 6"),
        "{error}"
    );
    // A box-only result stands for its rectangle, unless that cannot be drawn.
    let error = with(
        r#"[1, 1, 3, 3], "score": 0.25"#,
        r#"[1, 1, 1e12, 3], "score": 0.25"#,
        IouType::Segm,
    );
    assert!(
        error.contains("results[1].bbox: number 4 of polygon 0 is 1000000000001"),
        "{error}"
    );
}

#[test]
fn masks_that_are_needed_and_missing() {
    for segmentation in ["[]", "null"] {
        let labels = LABELS.replacen("[[1, 1, 4, 1, 4, 4, 1, 4]]", segmentation, 1);
        assert_eq!(run_with(&labels, RESULTS, IouType::Bbox).unwrap(), 1.0);
        let error = run_with(&labels, RESULTS, IouType::Segm)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("gt.json: annotations[0].segmentation: is missing, but masks"),
            "{error}"
        );
    }
}

#[test]
fn files_that_are_something_else() {
    let error = run_with(RESULTS, LABELS, IouType::Bbox)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("gt.json") && error.contains("expected a COCO label file"),
        "{error}"
    );
    let error = run_with(LABELS, LABELS, IouType::Bbox)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("dt.json") && error.contains("expected a COCO results file"),
        "{error}"
    );
    let missing = run(
        "/nonexistent/gt.json".as_ref(),
        "dt.json".as_ref(),
        IouType::Bbox,
    )
    .unwrap_err();
    assert!(
        missing
            .to_string()
            .starts_with("/nonexistent/gt.json: cannot be read: "),
        "{missing}"
    );
}

/// pycocotools knows no threshold: `detect --score` is between 0 and 1, and nothing recommends one at which nothing is found.
#[test]
fn a_threshold_is_told_where_there_is_one() {
    let best = |from: &str, to: &str| {
        let report = report_of(LABELS, &RESULTS.replace(from, to), IouType::Bbox).unwrap();
        report.best_threshold().map(|best| best.score)
    };
    assert_eq!(best("0.5", "0.5"), Some(0.05));
    assert_eq!(best("0.5", "50"), None);
    assert_eq!(best("[1, 1, 3, 3]", "[5, 5, 1, 1]"), None);
}

/// As some tools write what they do not know.
#[test]
fn a_flag_that_is_null_is_none() {
    let labels = LABELS.replace("\"iscrowd\": 0", "\"iscrowd\": null");
    let found = run_with(&labels, RESULTS, IouType::Bbox).unwrap();
    assert_eq!(found, run_with(LABELS, RESULTS, IouType::Bbox).unwrap());
}
