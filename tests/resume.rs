//! A run that was stopped and resumed writes what an uninterrupted one writes, to the last bit, whatever
//! the number of threads and however it was stopped.

#[path = "support/events.rs"]
mod events;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use intertwine_datasets::scenes::write_pictures;
use intertwine_datasets::{pack, PackOptions, Source};

/// A tiny labelled set, packed, and a smaller one without labels.
fn packed(dir: &Path) {
    support::packed(dir, 0..20);
    write_pictures(&dir.join("drawn-too"), &support::scenes(), 5, 20..28).unwrap();
    pack(
        &Source::new(dir.join("drawn-too")),
        &PackOptions::default(),
        &dir.join("other"),
        &|_| {},
    )
    .unwrap();
}

/// Three of ten pictures from the smaller set.
const MIX: &[&str] = &["--data", "other=0.3"];

fn intertwine(dir: &Path, run: &str, command: &str, extra: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_intertwine"));
    c.current_dir(dir)
        .args([command, "--data", "packed", "--out", run]);
    match command {
        "finetune" => _ = c.args(["--val", "packed"]),
        _ if extra.contains(&"--labels") => {}
        _ => _ = c.args(["--labels", "packed"]),
    }
    let sizes: &[&str] = match command {
        "pretrain" => &[
            "crops.globals.size=24",
            "crops.locals.size=16",
            "head.hidden=32",
            "head.prototypes=64",
            "watch.probe_every=3",
            "watch.probe_pictures=16",
            "watch.pictures_every=4",
            "run.checkpoint_every=2",
        ],
        _ => &[
            "detector.size=32",
            "detector.channels=16",
            "run.checkpoint_every=2",
        ],
    };
    for set in sizes.iter().chain(&[
        "model.depth=2",
        "model.drop_path=0.1",
        "optim.batch=4",
        "optim.accumulate=2",
        "optim.recompute=true",
        "run.log_every=1",
    ]) {
        c.args(["--set", set]);
    }
    // The last setting of a key counts.
    c.args(extra).stderr(Stdio::null()).stdout(Stdio::null());
    c
}

fn finish(mut c: Command) {
    assert!(c.status().unwrap().success(), "{c:?}");
}

/// What a run leaves that must not depend on how it went. Of TensorBoard's file that is what it says of each step, which
/// must be what `metrics.jsonl` says.
fn results(dir: &Path, run: &str) -> (Vec<u8>, Vec<u8>, Vec<(u64, events::Step)>) {
    let read = |name: &str| std::fs::read(dir.join(run).join(name)).unwrap();
    let metrics = read("metrics.jsonl");
    let events = events::read(&dir.join(run));
    let lines = std::str::from_utf8(&metrics).unwrap().lines();
    let logged: Vec<(u64, BTreeMap<String, f32>)> = lines.map(figures).collect();
    let plotted = events.iter().map(|(at, step)| (*at, step.scalars.clone()));
    assert_eq!(logged, Vec::from_iter(plotted));
    (metrics, read("model.safetensors"), events)
}

/// The step of a line of `metrics.jsonl`, and its figures; `a.b` is `a/b`.
fn figures(line: &str) -> (u64, BTreeMap<String, f32>) {
    fn gather(tag: &str, value: &serde_json::Value, into: &mut BTreeMap<String, f32>) {
        match value {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    gather(&format!("{tag}/{name}"), value, into);
                }
            }
            value => {
                let value = value.as_f64().map(|v| (tag[1..].to_owned(), v as f32));
                into.extend(value);
            }
        }
    }
    let mut all = BTreeMap::new();
    gather("", &serde_json::from_str(line).unwrap(), &mut all);
    (all.remove("step").unwrap() as u64, all)
}

#[test]
fn pretraining_is_the_same_for_any_threads() {
    let dir = tempfile::tempdir().unwrap();
    packed(dir.path());
    let epochs = [MIX, &["--set", "optim.epochs=1.0"]].concat();
    for threads in ["1", "2", "3"] {
        let mut c = intertwine(dir.path(), threads, "pretrain", &epochs);
        c.args(["--threads", threads]);
        finish(c);
    }
    let one = results(dir.path(), "1");
    let steps = &one.2;
    assert_eq!(steps.len(), 7, "28 pictures are seven steps");
    let with = |tag: &str| {
        let steps = steps.iter().filter(|(_, s)| s.scalars.contains_key(tag));
        Vec::from_iter(steps.map(|(at, _)| *at))
    };
    for tag in ["probe/knn", "probe/rank_cls", "probe/shortcut/picture"] {
        assert_eq!(with(tag), [0, 3, 6], "{tag}");
    }
    let drawn = steps.iter().filter(|(_, s)| !s.pictures.is_empty());
    assert_eq!(Vec::from_iter(drawn.map(|(at, _)| *at)), [0, 4, 6]);
    let report = std::fs::read_to_string(dir.path().join("1/report.html")).unwrap();
    for part in [
        "20 nearest by CLS",
        "What the teacher sees",
        "after steps 0, 4, 6",
        "What it was made of",
        "% of the stream",
    ] {
        assert!(report.contains(part), "{part}");
    }
    let off = [
        "--set",
        "watch.probe_every=0",
        "--set",
        "watch.pictures_every=0",
    ];
    let unwatched = [&epochs[..], &off].concat();
    finish(intertwine(dir.path(), "unwatched", "pretrain", &unwatched));
    assert!(
        one.1 == results(dir.path(), "unwatched").1,
        "probes and drawings change what is learnt"
    );
    assert!(
        one == results(dir.path(), "2"),
        "two threads give another result"
    );
    assert!(
        one == results(dir.path(), "3"),
        "three threads give another result"
    );
}

#[test]
fn a_killed_pretraining_goes_on_as_if_never_stopped() {
    let dir = tempfile::tempdir().unwrap();
    packed(dir.path());
    let epochs = [MIX, &["--set", "optim.epochs=4.0"]].concat();
    let again = [&epochs[..], &["--resume"]].concat();
    finish(intertwine(dir.path(), "whole", "pretrain", &epochs));
    // Kill it (SIGKILL) a little later each time, until it ends by itself.
    let mut kills = 0;
    for wait in (20..).step_by(60) {
        let mut child = intertwine(dir.path(), "killed", "pretrain", &again)
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_millis(wait);
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() >= until {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        match ended {
            Some(status) => {
                assert!(status.success());
                break;
            }
            None => kills += 1,
        }
    }
    assert!(kills > 0, "it was never killed");
    assert!(
        results(dir.path(), "whole") == results(dir.path(), "killed"),
        "after {kills} kills the result differs"
    );
    // Probes of another labelled set are other curves.
    let message = |c: &mut Command| {
        let output = c.stderr(Stdio::piped()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    support::packed_at(dir.path(), "labelled", 20..40);
    let labels = [&again[..], &["--labels", "labelled"]].concat();
    // Other shares are other data.
    let other = [
        "--data",
        "other=0.4",
        "--set",
        "optim.epochs=4.0",
        "--resume",
    ];
    let refused = |options| message(&mut intertwine(dir.path(), "killed", "pretrain", options));
    for (options, problem) in [
        (&labels[..], "but the run there was begun with"),
        (&other, "has changed since the run there was begun"),
    ] {
        let said = refused(options);
        assert!(said.contains(problem), "{said}");
    }
    // A run that is older than the note of what it reads is known by its checkpoint.
    std::fs::remove_file(dir.path().join("killed/origin.toml")).unwrap();
    for (options, problem) in [
        (&labels[..], "another labelled set"),
        (&other, "another data set"),
    ] {
        let said = refused(options);
        assert!(said.contains(problem), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_saves_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    packed(dir.path());
    for command in ["pretrain", "finetune"] {
        let (whole, stopped) = (format!("{command}-whole"), format!("{command}-stopped"));
        let epochs = ["--set", "optim.epochs=8.0"];
        finish(intertwine(dir.path(), &whole, command, &epochs));
        let mut child = intertwine(dir.path(), &stopped, command, &epochs)
            .spawn()
            .unwrap();
        let metrics = dir.path().join(&stopped).join("metrics.jsonl");
        while std::fs::metadata(&metrics).map_or(0, |m| m.len()) == 0 {
            assert!(
                child.try_wait().unwrap().is_none(),
                "it ended before it could be stopped"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        let stop = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(stop.success());
        let code = child.wait().unwrap().code();
        // On a fast machine the run may have ended first.
        assert!(
            matches!(code, Some(130 | 0)),
            "{command} ended with {code:?}"
        );
        if code == Some(130) {
            let report = dir.path().join(&stopped).join("report.html");
            let text = std::fs::read_to_string(&report).unwrap();
            assert!(text.contains("It was asked to, after step"));
            let again = intertwine(dir.path(), &stopped, command, &epochs)
                .status()
                .unwrap();
            assert!(
                !again.success(),
                "a run that is there must not be overwritten"
            );
            finish(intertwine(
                dir.path(),
                &stopped,
                command,
                &["--set", "optim.epochs=8.0", "--resume"],
            ));
            let report = std::fs::read_to_string(report).unwrap();
            assert!(!report.contains("Why it stopped"), "{command}");
        }
        assert!(
            results(dir.path(), &whole) == results(dir.path(), &stopped),
            "{command}: the result differs"
        );
    }
}

/// What was learnt until then is kept, and the run goes on once the disk gives what it gave.
#[test]
fn a_picture_that_cannot_be_read_costs_no_step() {
    let dir = tempfile::tempdir().unwrap();
    packed(dir.path());
    let shard = dir.path().join("packed/shard-00000.itw");
    let sound = std::fs::read(&shard).unwrap();
    let rarely = [
        "--set",
        "optim.epochs=1.0",
        "--set",
        "run.checkpoint_every=1000",
    ];
    for command in ["pretrain", "finetune"] {
        let (whole, failed) = (format!("{command}-whole"), format!("{command}-failed"));
        // A probe reads all pictures before the first step.
        let settings = [&rarely[..], &["--set", "watch.probe_every=0"]].concat();
        let settings = if command == "pretrain" {
            &settings[..]
        } else {
            &rarely
        };
        finish(intertwine(dir.path(), &whole, command, settings));
        let mut damaged = sound.clone();
        damaged[sound.len() / 3] ^= 1;
        std::fs::write(&shard, &damaged).unwrap();
        let mut c = intertwine(dir.path(), &failed, command, settings);
        let output = c.stderr(Stdio::piped()).output().unwrap();
        std::fs::write(&shard, &sound).unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains("shard-00000.itw"),
            "{said}"
        );
        let checkpoint = dir
            .path()
            .join(&failed)
            .join("checkpoints/last.safetensors");
        assert!(checkpoint.exists(), "{command}: {said}");
        let report = std::fs::read_to_string(dir.path().join(&failed).join("report.html")).unwrap();
        assert!(
            report.contains("Why it stopped") && report.contains("shard-00000.itw"),
            "{command}"
        );
        let resume = [settings, &["--resume"]].concat();
        finish(intertwine(dir.path(), &failed, command, &resume));
        assert!(
            results(dir.path(), &whole) == results(dir.path(), &failed),
            "{command}: the result differs"
        );
    }
}

#[test]
fn a_fine_tuning_that_is_killed_early_goes_on_from_the_encoder_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    packed(dir.path());
    for seed in ["seed=0", "seed=1"] {
        let extra = [
            "--preset",
            "pico-dino",
            "--set",
            "optim.epochs=0.2",
            "--set",
            seed,
        ];
        finish(intertwine(dir.path(), seed, "pretrain", &extra));
    }
    let tuning = |run: &str, init: &str, more: &[&str]| {
        let rarely = "run.checkpoint_every=1000";
        let own = ["--init", init, "--set", rarely, "--set", "optim.epochs=2.0"];
        intertwine(dir.path(), run, "finetune", &[&own, more].concat())
    };
    finish(tuning("whole", "seed=0", &["--set", "model.view=3"]));
    let config = std::fs::read_to_string(dir.path().join("whole/config.toml")).unwrap();
    // What the encoder's weights do not depend on.
    for line in ["\nview = 3\n", "\ndrop_path = 0.1\n", "\nfield = 0\n"] {
        assert!(config.contains(line), "{config}");
    }
    // The same encoder, of a pretraining that has not ended.
    let checkpoint = |run: &str| dir.path().join(run).join("checkpoints/last.safetensors");
    std::fs::create_dir_all(checkpoint("going").parent().unwrap()).unwrap();
    std::fs::copy(checkpoint("seed=0"), checkpoint("going")).unwrap();
    let view = ["--set", "model.view=3", "--resume"];
    let mut child = tuning("killed", "going", &view[..2]).spawn().unwrap();
    while !checkpoint("killed").exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // Another encoder is refused; that of the same run, which has learnt on and ended meanwhile, is not looked at again.
    let mut other = tuning("killed", "seed=1", &view);
    let output = other.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("--init is"), "{said}");
    let encoder = |run: &str| dir.path().join(run).join("model.safetensors");
    std::fs::copy(encoder("seed=1"), encoder("going")).unwrap();
    finish(tuning("killed", "going", &view));
    assert!(results(dir.path(), "whole") == results(dir.path(), "killed"));
}

#[test]
fn a_runs_own_config_starts_another() {
    let dir = tempfile::tempdir().unwrap();
    packed(dir.path());
    for command in ["pretrain", "finetune"] {
        let short = ["--set", "optim.epochs=0.4"];
        finish(intertwine(dir.path(), command, command, &short));
        let config = format!("{command}/config.toml");
        let again = format!("{command}-again");
        finish(intertwine(
            dir.path(),
            &again,
            command,
            &["--config", &config],
        ));
        let read =
            |run: &str| std::fs::read_to_string(dir.path().join(run).join("config.toml")).unwrap();
        // The test's own settings come on top of the file's.
        assert_eq!(
            read(command).replace("epochs = 0.4", ""),
            read(&again).replace("epochs = 0.4", "")
        );
    }
}

#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    packed(dir.path());
    let message = |extra: &[&str]| {
        let mut c = intertwine(dir.path(), "wrong", "pretrain", extra);
        let output = c.stderr(Stdio::piped()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let unknown = message(&["--set", "optim.lrr=1"]);
    assert!(
        unknown.contains("unknown key `optim.lrr`, did you mean `optim.lr`?"),
        "{unknown}"
    );
    let odd = message(&["--set", "crops.globals.size=20"]);
    assert!(odd.contains("crops.globals.size"), "{odd}");
    let few = message(&["--set", "optim.batch=64"]);
    assert!(
        few.contains("20 pictures, fewer than one batch of 64"),
        "{few}"
    );
    let shares = message(&["--data", "other=1"]);
    assert!(
        shares.contains("--data: the shares add up to 1, expected less than 1"),
        "{shares}"
    );
    let twice = message(&["--data", "packed"]);
    assert!(twice.contains("`packed` is named twice"), "{twice}");
    let unlabelled = message(&["--labels", "other"]);
    assert!(
        unlabelled.contains("other: no picture there has a class"),
        "{unlabelled}"
    );
    let few = message(&["--set", "watch.probe_pictures=3"]);
    assert!(
        few.contains("`watch.probe_pictures` is 3, expected at least 8"),
        "{few}"
    );
    let finetuning = |setting: &str| {
        let mut c = intertwine(dir.path(), "wrong", "finetune", &["--set", setting]);
        let output = c.stderr(Stdio::piped()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let flip = finetuning("data.flip=1.5");
    assert!(
        flip.contains("`data.flip` is 1.5, expected a probability"),
        "{flip}"
    );
    let size = finetuning("detector.size=100");
    assert!(
        size.contains("`detector.size` is 100, expected a multiple of the encoder's patch, 8"),
        "{size}"
    );
    // Labels of nothing at all.
    let labels = dir.path().join("drawn-packed/annotations.json");
    let drawn = std::fs::read(&labels).unwrap();
    let mut blank: serde_json::Value = serde_json::from_slice(&drawn).unwrap();
    blank["annotations"] = serde_json::json!([]);
    std::fs::write(&labels, blank.to_string()).unwrap();
    let (source, options) = (Source::new(labels), PackOptions::default());
    pack(&source, &options, &dir.path().join("blank"), &|_| {}).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_intertwine"))
        .current_dir(dir.path())
        .args(["finetune", "--data", "blank", "--out", "wrong"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success()
            && said.contains("blank: none of the 20 pictures to learn from has an object"),
        "{said}"
    );
    let mut c = intertwine(dir.path(), "wrong", "pretrain", &[]);
    c.args(["--preset", "pic"]);
    let output = c.stderr(Stdio::piped()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean `pico`?"));
    assert!(
        !dir.path().join("wrong").exists(),
        "nothing may be written before the mistake is found"
    );
}
