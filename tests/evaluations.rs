//! A fine-tuning is evaluated on the way and at the end; stopped while it is, it goes on and comes out the same.

#[path = "support/program.rs"]
mod program;
mod support;

use std::path::Path;
use std::sync::Arc;

use intertwine::config::resolve;
use intertwine::finetune::{self, finetune, FinetuneError, Job, Outcome, Progress};
use intertwine::nn::device::Device;
use intertwine::run::Interrupt;
use intertwine_datasets::scenes::{write_coco, SceneConfig};
use intertwine_datasets::{pack, PackOptions, PackedSet, Source};
use serde_json::Value;

/// Four steps, evaluated after two of them and at the end.
const SMALL: [&str; 7] = [
    "model.depth=1",
    "detector.size=32",
    "detector.channels=16",
    "optim.batch=4",
    "optim.epochs=1.0",
    "run.checkpoint_every=100",
    "watch.evaluations=1",
];

/// Asked to stop when so many pictures have been looked at in this
/// call.
fn run(dir: &Path, out: &str, stop_after: usize) -> Outcome {
    attempt(dir, out, "val", stop_after).unwrap()
}

fn attempt(dir: &Path, out: &str, val: &str, stop_after: usize) -> Result<Outcome, FinetuneError> {
    let config = resolve(
        finetune::config::PRESETS,
        "pico",
        None,
        &SMALL.map(String::from),
    );
    let [data, val] = ["packed", val].map(|name| PackedSet::open(&dir.join(name)).unwrap());
    let interrupt = Interrupt::default();
    let job = Job {
        config: &config.unwrap(),
        data: &Arc::new(data),
        val: Some(&val),
        init: None,
        out: &dir.join(out),
        resume: true,
        device: Device::Cpu,
        interrupt: &interrupt,
    };
    let mut evaluated = 0;
    finetune(job, &mut |progress| {
        if let Progress::Evaluated { seen, pictures } = progress {
            assert!((1..=pictures).contains(&seen));
            evaluated += 1;
            if evaluated == stop_after {
                interrupt.request();
            }
        }
    })
}

#[test]
fn a_run_that_is_stopped_while_it_is_evaluated_comes_out_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    support::packed(dir, 0..16);
    support::packed_at(dir, "val", 16..22);
    let read = |path: &str| std::fs::read_to_string(dir.join(path)).unwrap();

    let Outcome::Finished { score, .. } = run(dir, "whole", usize::MAX) else {
        panic!("nobody asked to stop");
    };
    let score = serde_json::to_value(score.unwrap()).unwrap();
    let stored: Value = serde_json::from_str(&read("whole/evaluation.json")).unwrap();
    assert_eq!(score, stored);
    let metrics = read("whole/metrics.jsonl");
    let lines = metrics
        .lines()
        .map(|line| -> Value { serde_json::from_str(line).unwrap() });
    let scored: Vec<Value> = lines.filter(|line| line["ap"].is_number()).collect();
    let steps: Vec<_> = scored
        .iter()
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [2, 4]);
    assert_eq!(scored[1]["ap"], stored["stats"][0]);
    assert_eq!(scored[1]["mask_ap"], stored["stats_segm"][0]);
    let report = read("whole/report.html");
    for part in [
        "Average precision",
        "Labels and detections",
        "mask AP50",
        "what is labelled",
        "What it was made of",
        "16 pictures, 8 classes",
    ] {
        assert!(report.contains(part), "{part}");
    }
    assert!(!dir.join("whole/checkpoints/evaluated.onnx").exists());

    // In the evaluation on the way, in the one at the end.
    for (stop_after, at) in [(2, 2), (6 + 2, 4)] {
        let Outcome::Interrupted { step, steps } = run(dir, "stopped", stop_after) else {
            panic!("it was asked to stop");
        };
        assert_eq!((step, steps), (at, 4));
        assert!(!dir.join("stopped/evaluation.json").exists());
        // All steps are done in the second.
        let says_why = read("stopped/report.html").contains("asked to, after step 2 of 4");
        assert_eq!(says_why, at == 2);
    }
    assert!(matches!(
        run(dir, "stopped", usize::MAX),
        Outcome::Finished { .. }
    ));
    for file in ["metrics.jsonl", "evaluation.json"] {
        assert_eq!(
            read(&format!("stopped/{file}")),
            read(&format!("whole/{file}")),
            "{file}"
        );
    }
    assert!(read("stopped/report.html").contains("Labels and detections"));
}

/// Flips a bit in the first record of a set.
fn damage(set: &Path) {
    let shard = set.join("shard-00000.itw");
    let mut bytes = std::fs::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(shard, bytes).unwrap();
}

#[test]
fn an_evaluation_that_fails_costs_no_step() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    support::packed(dir, 0..16);
    support::packed_at(dir, "val", 16..22);
    support::packed_at(dir, "damaged", 16..22);
    damage(&dir.join("damaged"));
    let failure = attempt(dir, "run", "damaged", usize::MAX).unwrap_err();
    assert!(
        failure.to_string().contains("watch.evaluations=0"),
        "{failure}"
    );
    assert!(dir.join("run/checkpoints/last.safetensors").exists());
    let report = std::fs::read_to_string(dir.join("run/report.html")).unwrap();
    // With what is behind the advice.
    assert!(
        report.contains("watch.evaluations=0") && report.contains("shard-00000.itw"),
        "{report}"
    );
    // With the set as it was packed it goes on from there, and comes out as if nothing had been.
    assert!(matches!(
        run(dir, "run", usize::MAX),
        Outcome::Finished { .. }
    ));
    assert!(matches!(
        run(dir, "whole", usize::MAX),
        Outcome::Finished { .. }
    ));
    let read = |run: &str| std::fs::read(dir.join(run).join("metrics.jsonl")).unwrap();
    assert_eq!(read("run"), read("whole"));
    // Figures of other pictures are not mixed with these.
    support::packed_at(dir, "other", 30..34);
    let failure = attempt(dir, "run", "other", usize::MAX).unwrap_err();
    let said = failure.to_string();
    assert!(
        said.contains("but the run there was begun with") && said.contains("or without it"),
        "{said}"
    );
}

/// What a detector is scored on has the classes that it was trained on; that is found out before there is a run.
#[test]
fn a_set_of_other_classes_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    support::packed(dir, 0..16);
    let drawn = dir.join("others");
    let scenes = SceneConfig {
        classes: 2,
        ..support::scenes()
    };
    let written = write_coco(&drawn, &scenes, 5, 0..4).unwrap();
    let source = Source::new(written.annotations);
    pack(&source, &PackOptions::default(), &dir.join("few"), &|_| {}).unwrap();
    let written = write_coco(&dir.join("blank"), &support::scenes(), 5, 0..4).unwrap();
    let text = std::fs::read_to_string(&written.annotations).unwrap();
    let mut labels: Value = serde_json::from_str(&text).unwrap();
    labels["annotations"] = Vec::<Value>::new().into();
    std::fs::write(&written.annotations, labels.to_string()).unwrap();
    let source = Source::new(written.annotations);
    pack(
        &source,
        &PackOptions::default(),
        &dir.join("nothing"),
        &|_| {},
    )
    .unwrap();
    let failure = attempt(dir, "run", "nothing", usize::MAX).unwrap_err();
    assert!(
        failure
            .to_string()
            .contains("none of its pictures has an object"),
        "{failure}"
    );
    let failure = attempt(dir, "run", "few", usize::MAX).unwrap_err();
    let cause = std::error::Error::source(&failure).unwrap().to_string();
    assert!(cause.contains("the model knows the class"), "{cause}");
    assert!(!dir.join("run").exists());
}

#[test]
fn a_detector_is_scored_drawn_and_copied_by_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    support::packed(dir, 0..16);
    support::packed_at(dir, "val", 16..22);
    run(dir, "run", usize::MAX);
    let intertwine = |args: &[&str]| {
        let (success, _, said) = program::intertwine(dir, args);
        (success, said)
    };
    let evaluate = ["evaluate", "--model", "run", "--data", "val"];
    let files = ["--json", "made/ap.json", "--report", "made/ap.html"];
    let (success, said) = intertwine(&[&evaluate[..], &files].concat());
    assert!(success, "{said}");
    let read = |path: &str| std::fs::read_to_string(dir.join(path)).unwrap();
    let json = |path: &str| -> Value { serde_json::from_str(&read(path)).unwrap() };
    assert_eq!(json("made/ap.json"), json("run/evaluation.json"));
    assert!(read("made/ap.html").contains("Labels and detections"));

    // Before it is looked at: where nothing can be written.
    let (success, said) = intertwine(&[&evaluate[..], &["--json", "val"]].concat());
    assert!(!success && said.contains("val: it is a folder"), "{said}");
    let own = [
        "export",
        "run",
        "--out",
        "run/../run/model.onnx",
        "--weights",
        "int8",
    ];
    let before = std::fs::read(dir.join("run/model.onnx")).unwrap();
    let (success, said) = intertwine(&own);
    assert!(
        !success && said.contains("the run's own detector"),
        "{said}"
    );
    assert!(before == std::fs::read(dir.join("run/model.onnx")).unwrap());

    // While it learns it says how good it is; a folder that is no run is left alone.
    let mut finetune = vec!["finetune", "--data", "packed", "--val", "val"];
    finetune.extend(SMALL.iter().flat_map(|setting| ["--set", setting]));
    let (success, said) = intertwine(&[&finetune[..], &["--out", "told"]].concat());
    assert!(
        success && said.contains("after step 2: box AP 0."),
        "{said}"
    );
    let (success, said) = intertwine(&[&finetune[..], &["--out", "packed"]].concat());
    assert!(
        !success && said.contains("packed holds a packed set"),
        "{said}"
    );
    assert!(!dir.join("packed/config.toml").exists());
    let (success, said) = intertwine(&[&finetune[..], &["--out", "told", "--resume"]].concat());
    assert!(
        success && said.contains("goes on with the run in told"),
        "{said}"
    );

    // An unfinished fine-tuning holds no encoder yet.
    std::fs::remove_file(dir.join("run/model.safetensors")).unwrap();
    let (success, said) = intertwine(&["probe", "run", "--data", "packed"]);
    assert!(
        !success && said.contains("go on with it (--resume)"),
        "{said}"
    );
}

/// Of pictures of 48 pixels, whose objects are some 12 wide: a detector of 64 has anchor points 4 pixels apart.
#[test]
fn objects_that_are_too_small_are_told_beforehand() {
    let dir = tempfile::tempdir().unwrap();
    support::packed(dir.path(), 0..16);
    let set = PackedSet::open(&dir.path().join("packed")).unwrap();
    let said = |size: &str| {
        let config = resolve(finetune::config::PRESETS, "pico", None, &[size.into()]);
        finetune::too_small(&config.unwrap(), &set).unwrap()
    };
    assert_eq!(said("detector.size=64"), None);
    let note = said("detector.size=16").unwrap();
    assert!(
        note.contains("narrower than 4 pixels") && note.contains("with detector.size="),
        "{note}"
    );
}
