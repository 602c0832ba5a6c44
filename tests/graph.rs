//! `intertwine graph`, from outside: what it shows, and that the numbers add up.

mod support;

use std::path::Path;
use std::process::{Command, Output};

use support::packed;

fn intertwine(dir: &Path, args: &[&str]) -> Output {
    let mut c = Command::new(env!("CARGO_BIN_EXE_intertwine"));
    c.current_dir(dir).args(args).output().unwrap()
}

/// What `intertwine graph` prints on two threads, and says.
fn graph(dir: &Path, args: &[&str]) -> (String, String) {
    let small = ["--set", "model.depth=1", "--set", "optim.batch=4"];
    let args = [
        &["graph", "--threads", "2", "--data", "packed"],
        args,
        &small,
    ]
    .concat();
    let output = intertwine(dir, &args);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (printed, said) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{said}");
    (printed, said)
}

/// The numbers of a column of a table: those that `rows` picks.
fn column(table: &str, rows: &[&str], from_right: usize) -> Vec<f64> {
    let value = |name: &&str| {
        let line = table.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no row {name:?} in\n{table}"));
        let cells: Vec<&str> = line.split_whitespace().filter(|c| *c != "%").collect();
        cells[cells.len() - 1 - from_right].parse().unwrap()
    };
    rows.iter().map(value).collect()
}

#[test]
fn the_tables_of_a_training_graph_add_up() {
    let dir = tempfile::tempdir().unwrap();
    packed(dir.path(), 0..12);
    let pretrain = ["Shards", "Shuffle", "Crop", "Mask"];
    let finetune = ["Shards", "Shuffle", "Augment", "Gather"];
    for (what, stages) in [("pretrain", pretrain), ("finetune", finetune)] {
        for step in [&[][..], &["--step"]] {
            let args = ["--what", what, "--form", "table", "--items", "10"];
            let (table, said) = graph(dir.path(), &[&args[..], step].concat());
            // Twelve pictures are three batches of four.
            assert!(said.contains("12 pictures"), "{said}");
            assert_eq!(column(&table, &stages[3..], 3), [3.0], "batches\n{table}");
            assert!(said.contains("Step waited for it "), "{said}");
            assert_eq!(said.contains("the step alone"), !step.is_empty(), "{said}");
            for (parts, whole) in [
                (&stages[..], "all stages"),
                (
                    &[
                        "at work",
                        "on items, in",
                        "waiting for",
                        "on items, instead",
                    ],
                    "the whole run",
                ),
            ] {
                let sum: f64 = column(&table, parts, 1).iter().sum();
                let whole = column(&table, &[whole], 1)[0];
                // Each of at most five figures is rounded to a millisecond.
                assert!((sum - whole).abs() <= 0.0026, "{sum} of {whole}\n{table}");
            }
        }
    }
}

#[test]
fn a_graph_is_drawn_with_its_numbers() {
    let dir = tempfile::tempdir().unwrap();
    packed(dir.path(), 0..12);
    let (mermaid, said) = graph(dir.path(), &["--items", "40"]);
    assert!(mermaid.starts_with("flowchart LR\n"), "{mermaid}");
    assert!(mermaid.contains("[(\"Shards<br/>"), "{mermaid}");
    // One stage is the slowest; which, is a matter of the machine.
    assert_eq!(
        mermaid.matches(" stroke-width").count(),
        1,
        "{mermaid}{said}"
    );
    let (dot, _) = graph(dir.path(), &["--items", "4", "--form", "dot", "--step"]);
    assert!(dot.starts_with("digraph flow {\n"), "{dot}");
    assert!(dot.contains("waiting "), "{dot}");
}

#[test]
fn the_edge_graph_is_timed_with_a_model() {
    let dir = tempfile::tempdir().unwrap();
    packed(dir.path(), 0..12);
    let export = [
        "export", "--preset", "pico", "--random", "--size", "64", "--out", "m.onnx",
    ];
    let output = intertwine(dir.path(), &export);
    assert!(output.status.success(), "{output:?}");
    let args = [
        "--what", "detect", "--model", "m.onnx", "--items", "2", "--form", "table",
    ];
    let (table, said) = graph(dir.path(), &args);
    assert!(said.contains("2 pictures"), "{said}");
    let stages = ["Letterbox", "Model", "Decode", "Nms"];
    assert_eq!(column(&table, &stages, 3), [2.0; 4], "{table}");
}

#[test]
fn what_cannot_be_run_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    packed(dir.path(), 0..12);
    for (args, reason) in [
        (&["--what", "detect"][..], "--what detect needs --model"),
        (&["--data", "nowhere"], "nowhere"),
        (&["--seconds=-1"], "--seconds -1"),
        (&["--what", "detect", "--step"], "--step"),
        (&["--set", "optim.bach=2"], "did you mean `optim.batch`?"),
    ] {
        let args = [&["graph", "--data", "packed"], args].concat();
        let output = intertwine(dir.path(), &args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(reason), "{said}");
    }
}
