//! Equal to pycocotools: the expected values are written by `peers/make_masks.py`.

use intertwine_rle::Rle;
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect()
}

#[test]
fn equals_pycocotools() {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/masks.json");
    let path = std::env::var("INTERTWINE_MASKS").unwrap_or_else(|_| default.into());
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(cases.len() >= 100);
    for (i, case) in cases.iter().enumerate() {
        let size = numbers(&case["size"]);
        let (h, w) = (size[0] as u32, size[1] as u32);
        let string = |key: &str| case[key].as_str().unwrap();
        let polygons: Vec<Vec<f64>> = case["polygons"]
            .as_array()
            .unwrap()
            .iter()
            .map(numbers)
            .collect();

        let mask = Rle::from_polygons(&polygons, h, w).unwrap();
        assert_eq!(
            mask.to_coco_string(),
            string("counts"),
            "case {i}: {polygons:?} in {h} x {w}"
        );
        assert_eq!(
            mask,
            Rle::from_string(h, w, string("counts")).unwrap(),
            "case {i}"
        );
        assert_eq!(mask.area(), case["area"].as_u64().unwrap(), "case {i}");
        assert_eq!(mask.bbox().to_vec(), numbers(&case["bbox"]), "case {i}");

        let other = Rle::from_string(h, w, string("other")).unwrap();
        assert_eq!(
            Rle::encode(&other.decode(), h, w).to_coco_string(),
            string("other"),
            "case {i}"
        );
        assert_eq!(
            other.bbox().to_vec(),
            numbers(&case["other_bbox"]),
            "case {i}"
        );
        assert_eq!(
            Rle::union(&[&mask, &other]).unwrap().to_coco_string(),
            string("union"),
            "case {i}"
        );
        let shared = Rle::intersection(&[&mask, &other]).unwrap();
        assert_eq!(shared.to_coco_string(), string("intersection"), "case {i}");
        assert_eq!(
            mask.iou(&other, false),
            case["iou"].as_f64().unwrap(),
            "case {i}"
        );
        assert_eq!(
            mask.iou(&other, true),
            case["iou_crowd"].as_f64().unwrap(),
            "case {i}"
        );
    }
}
