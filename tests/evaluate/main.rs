//! COCO AP, number for number that of pycocotools.
//!
//! The expected values of `fixtures/ap` are written by `peers/make_ap_fixture.py`; those of real data
//! (`$INTERTWINE_DATA/ap_fixtures`) come from pycocotools too, but cannot be kept here, as their labels
//! are others'.

mod bad_input;
mod by_hand;

use std::path::{Path, PathBuf};

use intertwine::evaluate::{run, IouType, Summary};
use serde_json::Value;

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect()
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= tolerance;
    assert!(
        found.len() == expected.len() && found.iter().zip(expected).all(close),
        "{what}:\n{found:?}, expected\n{expected:?}"
    );
}

fn iou_type(name: &str) -> IouType {
    serde_json::from_value(name.into()).unwrap()
}

/// Rounding of sums taken in another order, and no more.
const EXACT: f64 = 1e-12;

#[test]
fn equals_pycocotools() {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/ap");
    let folder = PathBuf::from(std::env::var("INTERTWINE_AP").unwrap_or_else(|_| default.into()));
    let expected = read(&folder.join("expected.json"));
    let expected = expected.as_object().unwrap();
    assert_eq!(expected.len(), 6);
    for (case, expected) in expected {
        let (results, iou) = case.split_once(' ').unwrap();
        let mut summary = run(
            &folder.join("ground_truth.json"),
            &folder.join(format!("{results}.json")),
            iou_type(iou),
        )
        .unwrap();
        let stats = numbers(&expected["stats"]);
        assert_close(&summary.stats, &stats, EXACT, case);
        assert_close(
            &summary.per_iou,
            &numbers(&expected["per_iou"]),
            EXACT,
            case,
        );
        // The table of the very same numbers: one like 0.0625 is rounded by its last bit.
        summary.stats.copy_from_slice(&stats);
        assert_eq!(
            format!("{summary}\n"),
            expected["table"].as_str().unwrap(),
            "{case}"
        );

        let categories = expected["per_category"].as_array().unwrap();
        assert_eq!(summary.per_category.len(), categories.len(), "{case}");
        for (found, expected) in summary.per_category.iter().zip(categories) {
            assert_eq!(
                u64::from(found.id),
                expected["id"].as_u64().unwrap(),
                "{case}"
            );
            let keys = [
                "ap",
                "ap50",
                "ap75",
                "ap_small",
                "ap_medium",
                "ap_large",
                "ar",
            ];
            let found = serde_json::to_value(found).unwrap();
            let of = |value: &Value| keys.map(|key| value[key].as_f64().unwrap());
            assert_close(
                &of(&found),
                &of(expected),
                EXACT,
                &format!("{case}, category {}", expected["id"]),
            );
        }
    }
}

#[test]
fn does_not_depend_on_the_number_of_threads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ap");
    let with_threads = |threads: usize| -> Summary {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            run(
                &folder.join("ground_truth.json"),
                &folder.join("both.json"),
                IouType::Segm,
            )
            .unwrap()
        })
    };
    let one = with_threads(1);
    for threads in [2, 7] {
        assert_eq!(with_threads(threads), one); // To the last bit.
    }
}

/// Real data: COCO and Penn-Fudan, boxes and masks.
#[test]
fn equals_pycocotools_on_real_data() {
    let Some(data) = std::env::var_os("INTERTWINE_DATA").map(PathBuf::from) else {
        println!("skipped: set INTERTWINE_DATA to the folder of data sets");
        return;
    };
    let fixtures = data.join("ap_fixtures");
    let expected = read(&fixtures.join("expected.json"));
    let names = [
        "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
    ];
    for case in [
        "coco128_val_bbox",
        "coco128_val_segm",
        "pennfudan_val_bbox",
        "pennfudan_val_segm",
    ] {
        let (set, iou) = case.split_once("_val_").unwrap();
        let labels = data.join(set).join("annotations/instances_val.json");
        let results = fixtures.join(format!("{case}_results.json"));
        let summary = run(&labels, &results, iou_type(iou)).unwrap();
        println!("{case}:\n{summary}");

        let expected = &expected[case];
        let stats = names.map(|name| expected["stats"][name].as_f64().unwrap());
        assert_close(&summary.stats, &stats, EXACT, case);
        assert_close(
            &summary.per_iou,
            &numbers(&expected["ap_per_iou"]),
            EXACT,
            case,
        );
        let per_category = expected["ap_per_category"].as_object().unwrap();
        for category in &summary.per_category {
            let expected = per_category
                .get(&category.id.to_string())
                .map_or(-1.0, |ap| ap.as_f64().unwrap());
            assert_close(
                &[category.ap],
                &[expected],
                EXACT,
                &format!("{case}, {}", category.name),
            );
        }
    }
}
