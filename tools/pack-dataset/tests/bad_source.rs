//! Sources, outputs and arguments that are not what they should be: named, and nothing is made of them.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use intertwine_datasets::PackedSet;
use serde_json::json;
use support::{run, save, stderr, stdout};
use tempfile::TempDir;

#[test]
fn a_source_that_is_not_what_it_should_be_is_named() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let fails = |source: &Path, parts: &[&str]| {
        let output = run(&[&source, &out]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).starts_with("error: ") && stderr(&output).lines().count() == 1);
        let name = source.file_name().unwrap().to_string_lossy();
        for part in parts.iter().copied().chain([&*name]) {
            assert!(
                stderr(&output).contains(part),
                "`{part}` is not in: {}",
                stderr(&output)
            );
        }
        assert!(!out.exists());
    };
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    fails(&empty, &["the folder is empty", ".jpg", ".webp"]);
    fs::write(empty.join("notes.txt"), "").unwrap();
    fails(&empty, &["found only .txt: 1"]);
    fs::write(empty.join("x.jpg"), "text").unwrap();
    fails(
        &empty,
        &["no picture could be used", "not-a-picture: 1", "x.jpg"],
    );
    fails(&folder.path().join("nowhere"), &["No such file"]);

    let labels = folder.path().join("labels.json");
    for (text, parts) in [
        (
            r#"{"images": [], "categories": []}"#,
            &["the key `annotations` is missing", "[categories, images]"][..],
        ),
        (
            r#"{"annotations": [], "categories": []}"#,
            &["the key `images` is missing"],
        ),
        (
            r#"{"images": [], "annotations": []}"#,
            &["the key `categories` is missing"],
        ),
        (
            r#"{"images": {}, "annotations": [], "categories": []}"#,
            &["`images` is not a list"],
        ),
        (
            r#"{"images": [], "annotations": [], "categories": []}"#,
            &["`images` lists no picture"],
        ),
        (
            r#"[{"image_id": 1, "score": 0.5}]"#,
            &["lists images, annotations and categories; found [{"],
        ),
        ("{\"images\": [", &["not JSON", "EOF"]),
        ("", &["not JSON"]),
        (
            r#"{"images": [{"id": 1, "file_name": "gone.jpg"}], "annotations": [], "categories": []}"#,
            &[
                "none of its 1 pictures was found",
                "gone.jpg",
                "--images DIR",
                "looked in",
            ],
        ),
    ] {
        fs::write(&labels, text).unwrap();
        fails(&labels, parts);
    }
    fs::write(&labels, "[".repeat(100_000)).unwrap();
    fails(&labels, &["not JSON"]);

    let words = folder.path().join("labels.csv");
    fs::write(&words, "a,b").unwrap();
    fails(
        &words,
        &[
            "not known by its name; looked for a folder, .json",
            "--format",
        ],
    );
}

#[test]
fn pictures_are_found_where_people_keep_them() {
    for (labels, pictures) in [
        ("annotations/instances_train2017.json", "train2017"),
        ("annotations/instances_train.json", "train2017"),
        ("annotations/val.json", "images/val"),
        ("train/_annotations.coco.json", "train"),
        ("labels.json", "images"),
        ("labels.json", "."),
    ] {
        let folder = TempDir::new().unwrap();
        save(folder.path().join(pictures).join("a.png"), 16, 16);
        save(folder.path().join("elsewhere/b.png"), 16, 16);
        let path = folder.path().join(labels);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let document = json!({"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": []});
        fs::write(&path, document.to_string()).unwrap();
        let output = run(&[&path, &folder.path().join("out")]);
        assert!(
            output.status.success(),
            "{labels}, {pictures}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn the_output_is_protected_and_arguments_are_checked() {
    let folder = TempDir::new().unwrap();
    let (pictures, out) = (folder.path().join("pictures"), folder.path().join("out"));
    save(pictures.join("cat/a.png"), 64, 48);
    save(pictures.join("dog/b.png"), 64, 48);
    let pack = |more: &[&str]| {
        let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&pictures, &out];
        arguments.extend(more.iter().map(|argument| argument as &dyn AsRef<OsStr>));
        run(&arguments)
    };
    assert!(pack(&[
        "--classes-from-folders",
        "--min-side",
        "24",
        "--encoding",
        "raw"
    ])
    .status
    .success());
    let set = PackedSet::open(&out).unwrap();
    assert_eq!(set.labels(), ["cat", "dog"]);
    assert_eq!(set.image_size(0).unwrap(), (32, 24));
    let output = pack(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("--overwrite"),
        "{}",
        stderr(&output)
    );
    assert!(
        pack(&["--overwrite", "--max-side", "32", "--encoding", "jpeg"])
            .status
            .success()
    );
    assert!(PackedSet::open(&out).unwrap().labels().is_empty());

    let wrong = [
        &["--min-side", "0"][..],
        &["--min-side", "9", "--max-side", "9"],
        &["--encoding", "gif"],
        &["--threads", "0"],
    ];
    for arguments in wrong {
        assert_eq!(pack(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(
        run(&[&pictures]).status.code(),
        Some(2),
        "OUT is needed without --check"
    );
    assert!(stdout(&run(&[&"--help"])).contains("pack-dataset photos packed/photos"));
}

#[cfg(unix)]
#[test]
fn an_output_that_nobody_reads_is_no_panic() {
    let folder = TempDir::new().unwrap();
    save(folder.path().join("a.png"), 40, 30);
    let mut child = Command::new(env!("CARGO_BIN_EXE_pack-dataset"))
        .arg(folder.path())
        .arg("--check")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
}
