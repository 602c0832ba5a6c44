//! The program `detect`, as people run it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use intertwine_rle::Rle;
use prost::Message;
use serde_json::Value;
use tempfile::TempDir;
use tract_onnx::pb::tensor_proto::DataType;

use crate::squares::{self, picture, BLACK, WHITE};

pub struct Desk {
    folder: TempDir,
}

impl Desk {
    /// A model and a folder of four pictures, two of them broken.
    pub fn new() -> Self {
        let desk = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(desk.path("m.onnx"), squares::bytes()).unwrap();
        std::fs::create_dir_all(desk.path("in/deep")).unwrap();
        let two = picture(
            128,
            128,
            &[([32, 64, 16, 16], WHITE), ([96, 16, 16, 16], BLACK)],
        );
        two.save(desk.path("in/two.png")).unwrap();
        // 0.65 bright: below the threshold for people, above that for measuring.
        picture(
            256,
            128,
            &[
                ([64, 32, 32, 32], WHITE),
                ([128, 0, 32, 32], image::Rgb([210; 3])),
            ],
        )
        .save(desk.path("in/deep/one.bmp"))
        .unwrap();
        desk
    }

    fn with_broken_pictures(self) -> Self {
        std::fs::write(self.path("in/a-text.jpg"), "This is a text.").unwrap();
        let png = std::fs::read(self.path("in/two.png")).unwrap();
        std::fs::write(self.path("in/half.png"), &png[..png.len() / 2]).unwrap();
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_detect"));
        command.current_dir(self.folder.path()).args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn json(&self, name: &str) -> Vec<Value> {
        match serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap() {
            Value::Array(entries) => entries,
            other => panic!("no list: {other}"),
        }
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
pub fn succeeded(output: &Output) -> (String, String) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{:?}\n{out}\n{err}", output.status);
    (out, err)
}

/// Nothing half-written lies around.
pub fn assert_tidy(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert_ne!(
            path.extension().and_then(|e| e.to_str()),
            Some("part"),
            "{}",
            path.display()
        );
        if path.is_dir() {
            assert_tidy(&path);
        }
    }
}

#[test]
fn pictures_and_results_are_written() {
    let desk = Desk::new();
    let output = desk.run(&[
        "--model",
        "m.onnx",
        "in",
        "--out",
        "out",
        "--json",
        "results/r.json",
    ]);
    let (out, err) = succeeded(&output);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines,
        [
            "in/deep/one.bmp: 256 x 128, 1 bright",
            "in/two.png: 128 x 128, 1 bright, 1 dark"
        ]
    );
    assert!(err.contains("2 of 2 pictures done"), "{err}");

    let entries = desk.json("results/r.json");
    // The faint square too: without --score the file holds what measuring needs.
    assert_eq!(entries.len(), 4, "{entries:?}");
    let best = &entries[0];
    assert_eq!(
        (&best["image_id"], &best["category_id"]),
        (&1.into(), &3.into())
    );
    assert_eq!(best["file_name"], "in/deep/one.bmp");
    assert_eq!(best["bbox"], serde_json::json!([64.0, 32.0, 32.0, 32.0]));
    let size = &best["segmentation"]["size"];
    assert_eq!(size, &serde_json::json!([128, 256]));
    let mask =
        Rle::from_string(128, 256, best["segmentation"]["counts"].as_str().unwrap()).unwrap();
    assert_eq!(
        (mask.area(), mask.bbox()),
        (32 * 32, [64.0, 32.0, 32.0, 32.0])
    );

    let drawn = image::open(desk.path("out/two.png")).unwrap().into_rgb8();
    assert_eq!(drawn.dimensions(), (512, 512));
    assert_eq!(
        image::open(desk.path("out/deep/one.bmp.png"))
            .unwrap()
            .width(),
        1024
    );
    assert_tidy(desk.folder.path());
}

#[test]
fn a_bad_picture_is_reported_and_the_others_are_done() {
    let desk = Desk::new().with_broken_pictures();
    let output = desk.run(&[
        "--model",
        "m.onnx",
        "in",
        "no-such.jpg",
        "--json",
        "r.json",
        "--out",
        "out",
        "--threads",
        "2",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let err = text(&output.stderr);
    for part in [
        "in/a-text.jpg: cannot decode",
        "in/half.png: cannot decode",
        "no-such.jpg: cannot read",
        "2 of 5 pictures done",
    ] {
        assert!(err.contains(part), "`{part}` is missing in: {err}");
    }
    // The numbering counts the bad ones: in/a-text.jpg, in/deep/one.bmp, in/half.png, in/two.png.
    let ids: Vec<u64> = desk
        .json("r.json")
        .iter()
        .map(|entry| entry["image_id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, [2, 2, 4, 4]);
    assert!(!desk.path("out/half.png").exists());
    assert_tidy(desk.folder.path());
}

#[test]
fn why_a_model_cannot_be_read_is_said_once() {
    let desk = Desk::new();
    let output = desk.run(&["--model", "no-such.onnx", "in", "--out", "out"]);
    assert_eq!(output.status.code(), Some(1));
    let err = text(&output.stderr);
    assert!(
        err.starts_with("error: model no-such.onnx: cannot read"),
        "{err}"
    );
    assert_eq!(err.matches("No such file").count(), 1, "{err}");
}

#[test]
fn threads_change_nothing() {
    let desk = Desk::new().with_broken_pictures();
    let mut results = ["1", "2", "5"].map(|threads| {
        let json = format!("r{threads}.json");
        let output = desk.run(&[
            "--model",
            "m.onnx",
            "in",
            "--json",
            &json,
            "--threads",
            threads,
        ]);
        (
            text(&output.stdout),
            std::fs::read(desk.path(&json)).unwrap(),
        )
    });
    let first = results[0].clone();
    assert!(results.iter_mut().all(|result| *result == first));
}

#[test]
fn options_narrow_the_result() {
    let desk = Desk::new();
    succeeded(&desk.run(&[
        "--model",
        "m.onnx",
        "in",
        "--json",
        "r.json",
        "--score",
        "0.9",
        "--max-detections",
        "1",
    ]));
    let entries = desk.json("r.json");
    assert_eq!(entries.len(), 2);
    assert!(entries
        .iter()
        .all(|entry| entry["score"].as_f64().unwrap() >= 0.9));
    let (out, _) = succeeded(&desk.run(&["--model", "m.onnx", "in/two.png", "--score", "1"]));
    assert_eq!(out, "in/two.png: 128 x 128, nothing found\n");
    succeeded(&desk.run(&[
        "--model",
        "m.onnx",
        "in/two.png",
        "--score",
        "1",
        "--json",
        "none.json",
    ]));
    assert!(desk.json("none.json").is_empty());
}

#[test]
fn ids_come_from_the_label_file() {
    let desk = Desk::new();
    let labels = r#"{"images": [{"id": 70, "file_name": "two.png"}], "annotations": []}"#;
    std::fs::write(desk.path("labels.json"), labels).unwrap();
    let output = desk.run(&[
        "--model",
        "m.onnx",
        "in",
        "--json",
        "r.json",
        "--ids",
        "labels.json",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let err = text(&output.stderr);
    assert!(
        err.contains("in/deep/one.bmp: no `file_name` of the label file"),
        "{err}"
    );
    let entries = desk.json("r.json");
    assert_eq!(entries.len(), 2);
    assert!(entries
        .iter()
        .all(|entry| entry["image_id"] == 70 && entry.get("file_name").is_none()));
}

#[test]
fn a_source_is_never_replaced() {
    let desk = Desk::new();
    let before = std::fs::read(desk.path("in/two.png")).unwrap();
    let output = desk.run(&["--model", "m.onnx", "in/two.png", "--out", "in"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("would be replaced"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(std::fs::read(desk.path("in/two.png")).unwrap(), before);
}

#[test]
fn wrong_usage_and_wrong_models_are_told_apart() {
    let desk = Desk::new();
    for args in [
        &["in"][..],
        &["--model", "m.onnx"],
        &["--model", "m.onnx", "in", "--score", "1.5"],
        &["--model", "m.onnx", "in", "--threads", "0"],
        // No machine has so many cores, and one that tried to start them would give up half-way.
        &[
            "--model",
            "m.onnx",
            "in",
            "--threads",
            "18446744073709551615",
        ],
        &["bench", "--model", "m.onnx", "--threads", "1025"],
        &["watch", "--model", "m.onnx", "in", "--threads", "1025"],
    ] {
        assert_eq!(desk.run(args).status.code(), Some(2), "{args:?}");
    }
    std::fs::write(desk.path("bad.onnx"), "no model").unwrap();
    for model in ["bad.onnx", "none.onnx"] {
        let output = desk.run(&["--model", model, "in"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stderr).contains(model),
            "{}",
            text(&output.stderr)
        );
    }
}

/// tract does not return from all that a file can say; no trace of that is shown.
#[test]
fn a_model_that_tract_panics_about_is_one_line_of_error() {
    let desk = Desk::new();
    let mut model = squares::proto();
    let graph = model.graph.as_mut().unwrap();
    graph.initializer[0].data_type = DataType::String as i32;
    std::fs::write(desk.path("texts.onnx"), model.encode_to_vec()).unwrap();
    let output = desk.run(&["--model", "texts.onnx", "in"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(
        told.contains("texts.onnx") && told.contains("the planner gave up"),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn bench_measures() {
    let desk = Desk::new();
    let (out, _) = succeeded(&desk.run(&[
        "bench",
        "--model",
        "m.onnx",
        "--threads",
        "2",
        "--iterations",
        "3",
        "--json",
        "b.json",
    ]));
    assert!(out.contains("median"), "{out}");
    let numbers: Value =
        serde_json::from_slice(&std::fs::read(desk.path("b.json")).unwrap()).unwrap();
    for key in ["model_ms", "total_ms", "load_ms", "images_per_s"] {
        assert!(numbers[key].as_f64().unwrap() > 0.0, "{key} in {numbers}");
    }
    assert_eq!(
        (
            &numbers["threads"],
            &numbers["iterations"],
            &numbers["input_size"]
        ),
        (&2.into(), &3.into(), &128.into())
    );
    let percentiles = &numbers["total_percentiles"];
    assert!(percentiles["min"].as_f64() <= percentiles["p50"].as_f64());
    assert!(percentiles["p50"].as_f64() <= percentiles["max"].as_f64());
    if cfg!(target_os = "linux") {
        assert!(numbers["peak_rss_mb"].as_f64().unwrap() > 1.0);
    }
}
