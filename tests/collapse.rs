//! A run that learns nothing any more ends with a diagnosis; one that learns does not.

mod support;

use std::path::Path;
use std::process::{Command, Output};

const SMALL: &[&str] = &[
    "model.depth=1",
    "head.hidden=32",
    "head.prototypes=64",
    "crops.globals.size=24",
    "crops.locals.size=16",
    "crops.locals.count=2",
    "optim.batch=8",
    "run.log_every=50",
    "run.checkpoint_every=60",
];

fn pretrain(dir: &Path, run: &str, settings: &[&str], more: &[&str]) -> Output {
    let mut c = Command::new(env!("CARGO_BIN_EXE_intertwine"));
    c.current_dir(dir)
        .args(["pretrain", "--data", "packed", "--out", run]);
    for set in SMALL.iter().chain(settings) {
        c.args(["--set", set]);
    }
    c.args(more).output().unwrap()
}

/// No centring, and a temperature at which all prototypes are alike.
const FORCED: &[&str] = &[
    "loss.centring=\"none\"",
    "loss.teacher_temperature=[1.0, 1.0]",
];

fn last_step(dir: &Path, run: &str) -> u64 {
    let text = std::fs::read_to_string(dir.join(run).join("metrics.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    line["step"].as_u64().unwrap()
}

#[test]
fn a_forced_collapse_is_caught_and_explained() {
    let dir = tempfile::tempdir().unwrap();
    support::packed(dir.path(), 0..24);
    let long = [FORCED, &["optim.epochs=100.0"]].concat();
    let output = pretrain(dir.path(), "whole", &long, &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "the network has collapsed",
        "every prototype equally likely",
        "teacher_temperature (it is 1)",
        // Without centring there is nothing to wait for.
        "--resume --set watch.collapse_after=0;",
    ] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    assert!(last_step(dir.path(), "whole") < 200);
    let report = std::fs::read_to_string(dir.path().join("whole/report.html")).unwrap();
    assert!(report.contains("the network has collapsed"));
    assert!(!dir.path().join("whole/model.safetensors").exists());

    // Gone on with, it has not forgotten how long it has been ill.
    let again = pretrain(dir.path(), "whole", &long, &["--resume"]);
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(said.contains("for 101 steps"), "{said}");
}

/// Without a loss of whole pictures their head learns nothing, and is not the one to tell of.
#[test]
fn a_head_of_patches_that_collapses_is_caught_too() {
    let dir = tempfile::tempdir().unwrap();
    support::packed(dir.path(), 0..24);
    let alone = [FORCED, &["loss.image=0.0", "optim.epochs=100.0"]].concat();
    let output = pretrain(dir.path(), "patches", &alone, &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let what = "the teacher's head of patches finds every prototype equally likely for every patch";
    assert!(said.contains(what), "{said}");
    assert!(last_step(dir.path(), "patches") < 200);
}

#[test]
fn a_run_that_learns_raises_no_alarm() {
    let dir = tempfile::tempdir().unwrap();
    support::packed(dir.path(), 0..24);
    // Enough patches in a step for a verdict on each of their heads.
    let heads: &[&str] = &[
        "loss.centring=\"ema\"",
        "head.separate_position=true",
        "mask.probability=1.0",
    ];
    for (run, settings) in [("well", &[][..]), ("heads", heads)] {
        let settings = [settings, &["optim.epochs=60.0"]].concat();
        let output = pretrain(dir.path(), run, &settings, &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        assert_eq!(last_step(dir.path(), run), 179);
    }
}
