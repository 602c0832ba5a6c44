//! A ladder that is stopped goes on and comes out the same; it grows, and is not mixed with another.

mod support;

use std::path::Path;
use std::sync::Arc;

use intertwine::config::resolve;
use intertwine::ladder::{ladder, Base, Job, Labels, Outcome, Plan};
use intertwine::nn::device::Device;
use intertwine::run::Interrupt;
use intertwine::{finetune, pretrain};
use intertwine_datasets::{Mix, PackedSet};

fn plan(rungs: &[&str], seeds: u64) -> Plan {
    let settings = |list: &[&str]| -> Vec<String> { list.iter().map(|s| (*s).into()).collect() };
    let small = settings(&[
        "model.depth=1",
        "head.hidden=32",
        "head.prototypes=64",
        "crops.globals.size=24",
        "crops.locals.size=16",
        "crops.locals.count=2",
        "crops.mean=[0.5, 0.4, 0.3]",
        "optim.batch=4",
        "optim.epochs=1.0",
    ]);
    let detector = settings(&["detector.size=32", "detector.channels=16", "optim.batch=4"]);
    Plan {
        rungs: settings(rungs),
        seeds,
        labels: vec![
            Labels::parse("1", 1.0).unwrap(),
            Labels::parse("0.25=2", 1.0).unwrap(),
        ],
        base: Base {
            sweep: vec![settings(&["loss.koleo=0.3", "optim.lr=0.001"])],
            pretrain: resolve(pretrain::config::PRESETS, "pico", None, &small).unwrap(),
            finetune: resolve(finetune::config::PRESETS, "pico", None, &detector).unwrap(),
        },
    }
}

/// Runs a ladder, one run at a time, asking it to stop after so many steps; whether it finished.
fn run(dir: &Path, out: &str, plan: &Plan, stop_after: usize) -> anyhow::Result<bool> {
    climb(dir, out, plan, 1, stop_after)
}

/// Some runs at a time.
fn climb(
    dir: &Path,
    out: &str,
    plan: &Plan,
    at_once: usize,
    stop_after: usize,
) -> anyhow::Result<bool> {
    let packed = PackedSet::open(&dir.join("packed"))?;
    let labels = Arc::new(PackedSet::open(&dir.join("packed"))?);
    let data = Arc::new(Mix::from(labels.clone()));
    let interrupt = Interrupt::default();
    let job = Job {
        plan,
        data: &data,
        labels: &labels,
        val: &packed,
        out: &dir.join(out),
        at_once: at_once.try_into().unwrap(),
        device: Device::Cpu,
        interrupt: &interrupt,
    };
    let mut steps = 0;
    let outcome = ladder(job, &mut |p| {
        steps += 1;
        assert!(p.done <= p.steps, "{} of {}", p.done, p.steps);
        if steps == stop_after {
            interrupt.request();
        }
    })?;
    Ok(matches!(outcome, Outcome::Finished(_)))
}

#[test]
fn a_stopped_ladder_goes_on_and_grows() {
    let dir = tempfile::tempdir().unwrap();
    support::packed(dir.path(), 0..12);
    let dir = dir.path();
    let table = |out: &str| std::fs::read_to_string(dir.join(out).join("ladder.json")).unwrap();
    let small = plan(&["scratch", "dino"], 1);
    assert!(run(dir, "whole", &small, usize::MAX).unwrap());
    // In the sweep, in a pretraining, in a fine-tuning.
    for stop_after in [5, 4, 3, 2] {
        assert!(!run(dir, "stopped", &small, stop_after).unwrap());
    }
    assert!(run(dir, "stopped", &small, usize::MAX).unwrap());
    assert_eq!(table("stopped"), table("whole"));

    // As if from before there were these keys.
    for file in ["config.toml", "pretrain/dino-s0/config.toml"] {
        let path = dir.join("stopped").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let newer = |line: &&str| !line.starts_with("registers =") && !line.starts_with("view =");
        let older: Vec<&str> = text.lines().filter(newer).collect();
        assert!(older.len() < text.lines().count(), "{text}");
        std::fs::write(&path, older.join("\n")).unwrap();
    }
    // What is watched may change.
    let mut small = small;
    small.base.pretrain.watch.collapse_after += 1;
    assert!(run(dir, "stopped", &small, usize::MAX).unwrap());
    assert_eq!(table("stopped"), table("whole"));

    // What is done is not taken for a run with other settings.
    let config = dir.join("stopped/pretrain/dino-s0/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("flip = 0.5", "flip = 0.25")).unwrap();
    let refused = run(dir, "stopped", &small, usize::MAX).unwrap_err();
    let refused = format!("{refused:#}");
    assert!(
        refused.contains("is done; delete it") && refused.contains("flip = 0.25"),
        "{refused}"
    );
    std::fs::write(&config, text).unwrap();

    // One seed and one rung more: the old figures stand.
    let kept = dir.join("stopped/pretrain/dino-s0/probe.json");
    let before = std::fs::metadata(&kept).unwrap().modified().unwrap();
    assert!(run(
        dir,
        "stopped",
        &plan(&["scratch", "dino", "both"], 2),
        usize::MAX
    )
    .unwrap());
    assert_eq!(
        std::fs::metadata(&kept).unwrap().modified().unwrap(),
        before
    );
    let results: serde_json::Value = serde_json::from_str(&table("stopped")).unwrap();
    let names: Vec<_> = results["rungs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["scratch", "dino", "both"]);
    for rung in results["rungs"].as_array().unwrap() {
        for figures in rung["figures"].as_array().unwrap() {
            assert_eq!(figures.as_array().unwrap().len(), 2, "{rung}");
        }
    }
    let page = std::fs::read_to_string(dir.join("stopped/report.html")).unwrap();
    assert!(page.contains("AP, 25%"));

    // Other passes over the same pictures are other runs.
    // All rungs see the same colours.
    for rung in ["scratch", "dino"] {
        let config = dir.join(format!("stopped/finetune/{rung}-100%x1-s0/config.toml"));
        let config: toml::Table = std::fs::read_to_string(config).unwrap().parse().unwrap();
        let mean = config["data"]["mean"].as_array().unwrap();
        let mean: Vec<f64> = mean.iter().filter_map(toml::Value::as_float).collect();
        assert_eq!(mean, [0.5, 0.4, 0.3], "{rung}");
    }

    let mut longer = plan(&["scratch"], 1);
    longer.labels[1].epochs = 3.0;
    assert!(run(dir, "stopped", &longer, usize::MAX).unwrap());
    for run in ["scratch-25%x2-s0", "scratch-25%x3-s0"] {
        let score = format!("stopped/finetune/{run}/evaluation.json");
        assert!(dir.join(&score).exists(), "{score}");
    }

    // It says what it computes in, and stays with that where this machine would take another.
    let config = dir.join("stopped/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(
        !text.contains("\"auto\"") && text.contains("device = \"cpu\""),
        "{text}"
    );
    let precision = |text: &str| match text.contains("precision = \"bf16\"") {
        true => ("\"bf16\"", "\"f32\""),
        false => ("\"f32\"", "\"bf16\""),
    };
    let (own, other) = precision(&text);
    std::fs::write(&config, text.replace(own, other)).unwrap();
    assert!(run(dir, "stopped", &plan(&["scratch"], 1), usize::MAX).unwrap());
    std::fs::write(&config, text).unwrap();

    // With other settings it is another ladder.
    let mut other = plan(&["scratch"], 1);
    other.base.finetune.optim.lr = 0.5;
    let refused = run(dir, "stopped", &other, usize::MAX)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("another config (`lr = 0.001` there, `lr = 0.5` now)"),
        "{refused}"
    );
}

#[test]
fn runs_at_the_same_time_give_the_same_table() {
    let dir = tempfile::tempdir().unwrap();
    support::packed(dir.path(), 0..12);
    let dir = dir.path();
    let table = |out: &str| std::fs::read_to_string(dir.join(out).join("ladder.json")).unwrap();
    let plan = plan(&["scratch", "dino"], 2);
    assert!(run(dir, "one", &plan, usize::MAX).unwrap());
    for stop_after in [3, 9, 5] {
        assert!(!climb(dir, "three", &plan, 3, stop_after).unwrap());
    }
    assert!(climb(dir, "three", &plan, 3, usize::MAX).unwrap());
    assert_eq!(table("three"), table("one"));
}

#[test]
fn a_run_that_fails_stops_the_others() {
    let dir = tempfile::tempdir().unwrap();
    support::packed(dir.path(), 0..12);
    let dir = dir.path();
    let plan = plan(&["scratch", "dino"], 40);
    // What should be the folder of a run is a file.
    let taken = dir.join("out/pretrain/dino-s1");
    std::fs::create_dir_all(taken.parent().unwrap()).unwrap();
    std::fs::write(&taken, "").unwrap();
    let refused = format!("{:#}", climb(dir, "out", &plan, 2, usize::MAX).unwrap_err());
    assert!(
        refused.contains("pretraining dino") && refused.contains("dino-s1"),
        "{refused}"
    );
    assert!(!dir.join("out/pretrain/dino-s3").exists());
}

#[test]
fn what_diverges_is_a_result_and_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    support::packed(dir.path(), 0..12);
    let dir = dir.path();
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap();
    // One of the settings tried diverges: the other is chosen, and told.
    let mut tried = plan(&["dino"], 1);
    tried.labels.truncate(1);
    tried.base.pretrain.optim.lr = 1e30;
    tried.base.sweep = vec![vec!["optim.lr=0.001".into()]];
    assert!(run(dir, "tried", &tried, usize::MAX).unwrap());
    assert!(read("tried/sweep/dino-0/failure.txt").contains("is not finite"));
    assert!(read("tried/ladder.md").contains("`dino` chose optim.lr=0.001."));

    // A rung that diverges has no figures, those beside it have; and it is not tried again.
    let mut lost = plan(&["dino", "scratch"], 1);
    lost.labels.truncate(1);
    lost.base.pretrain.optim.lr = 1e30;
    lost.base.sweep.clear();
    assert!(run(dir, "lost", &lost, usize::MAX).unwrap());
    let table = read("lost/ladder.md");
    assert!(
        table.contains("`dino`, seed 0, has no figures: step") && table.contains("not finite"),
        "{table}"
    );
    assert!(table.contains("| dino | – |") && !table.contains("| scratch | – |"));
    assert!(run(dir, "lost", &lost, usize::MAX).unwrap());
    assert_eq!(read("lost/ladder.md"), table);

    // Nor does a fine-tuning that diverges end the others.
    let mut untuned = plan(&["scratch"], 1);
    untuned.base.sweep.clear();
    untuned.base.finetune.optim.lr = 1e30;
    for _ in 0..2 {
        assert!(run(dir, "untuned", &untuned, usize::MAX).unwrap());
        let table = read("untuned/ladder.md");
        for labels in ["100%", "25%"] {
            let remark = format!("`scratch`, seed 0, has no figures with {labels} of the labels");
            assert!(
                table.contains(&remark) && table.contains("not finite"),
                "{table}"
            );
        }
    }
}

#[test]
fn a_plan_that_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    support::packed(dir.path(), 0..12);
    let refused = |plan: &Plan| run(dir.path(), "out", plan, 1).unwrap_err().to_string();
    assert!(refused(&plan(&["moco"], 1))
        .contains("`--rungs` has `moco`, expected some of scratch, dino"));
    assert!(refused(&plan(&[], 1)).contains("`--rungs` is empty"));
    assert!(refused(&plan(&["dino"], 0)).contains("`--seeds` must be at least 1"));
    for text in ["0", "1.5", "x", "0.1=0", "0.1=x"] {
        assert!(Labels::parse(text, 4.0)
            .unwrap_err()
            .contains("no share of the labels"));
    }
    assert_eq!(Labels::parse("0.1", 4.0).unwrap().epochs, 40.0);
    for (setting, key) in [
        ("seed=5", "seed"),
        ("optim.epochs=2.0", "optim.epochs"),
        ("model.depth=2", "model"),
        ("crops.mean=[0.1, 0.1, 0.1]", "crops.mean and crops.std"),
    ] {
        let mut unequal = plan(&["dino"], 1);
        unequal.base.sweep = vec![vec![setting.into()]];
        let refused = refused(&unequal);
        assert!(
            refused.contains(&format!("`--try` `{setting}` changes `{key}`")),
            "{refused}"
        );
    }
    assert!(refused(&plan(&["dino", "dino"], 1)).contains("has `dino` 2 times"));
    let mut twice = plan(&["dino"], 1);
    twice.labels[1] = twice.labels[0];
    assert!(refused(&twice).contains("`--shares` has 1=1 2 times"));
    let mut odd = plan(&["dino"], 1);
    odd.base.finetune.detector.size = 100;
    assert!(refused(&odd).contains("`detector.size` is 100"));
    assert!(!dir.path().join("out").exists());
}
