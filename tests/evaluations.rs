//! A fine-tuning is evaluated on the way and at the end; stopped while it is, it goes on and comes out the same.

mod support;

use std::path::Path;
use std::sync::Arc;

use intertwine::config::resolve;
use intertwine::finetune::{self, finetune, Job, Outcome, Progress};
use intertwine::nn::device::Device;
use intertwine::run::Interrupt;
use intertwine_datasets::PackedSet;
use serde_json::Value;

/// Four steps, evaluated after two of them and at the end, asked to stop when so many pictures have been looked at in this
/// call.
fn run(dir: &Path, out: &str, stop_after: usize) -> Outcome {
    let settings = [
        "model.depth=1",
        "detector.size=32",
        "detector.channels=16",
        "optim.batch=4",
        "optim.epochs=1.0",
        "run.checkpoint_every=100",
        "watch.evaluations=1",
    ];
    let config = resolve(
        finetune::config::PRESETS,
        "pico",
        None,
        &settings.map(String::from),
    );
    let [data, val] = ["packed", "val"].map(|name| PackedSet::open(&dir.join(name)).unwrap());
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
    .unwrap()
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
        "labelled, ",
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
