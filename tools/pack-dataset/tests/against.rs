//! Two splits of one data set held against each other, through the program.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use tempfile::TempDir;

fn checking(yaml: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pack-dataset"));
    command
        .args([yaml.as_os_str(), "--check".as_ref()])
        .args(["--split", "train", "--against"])
        .arg(yaml)
        .args(more);
    command
}

fn check(yaml: &Path, more: &[&str]) -> Output {
    checking(yaml, more).output().unwrap()
}

#[test]
fn a_split_is_held_against_another_of_the_same_set() {
    let folder = TempDir::new().unwrap();
    let picture = RgbImage::from_fn(64, 48, |x, y| Rgb([(x * 4) as u8, (y * 5) as u8, 9]));
    for split in ["train", "val"] {
        let file = |kind: &str, name: &str| {
            let within = folder.path().join(kind).join(split);
            fs::create_dir_all(&within).unwrap();
            within.join(name)
        };
        picture.save(file("images", "a.png")).unwrap();
        fs::write(file("labels", "a.txt"), "0 .5 .5 .5 .5").unwrap();
    }
    let yaml = folder.path().join("data.yaml");
    fs::write(&yaml, "train: images/train\nval: images/val\nnames: [cat]").unwrap();

    let output = check(&yaml, &["--against-split", "val"]);
    let said = String::from_utf8(output.stdout).unwrap();
    for part in [
        "Held against 1 pictures",
        "images/train/a.png = images/val/a.png of",
    ] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    // The report's place is tried before a picture is read, and what is there stays until there is another.
    let report = folder.path().join("pages/report.html");
    let with_report = |path: &Path| {
        let option = ["--against-split", "val", "--report"];
        let mut command = checking(&yaml, &option);
        command.arg(path).output().unwrap()
    };
    assert!(with_report(&report).status.success());
    let page = fs::read_to_string(&report).unwrap();
    assert!(page.contains("images/train/a.png"));
    assert_eq!(fs::read_dir(report.parent().unwrap()).unwrap().count(), 1);
    for place in [folder.path(), &report.join("within.html")] {
        let output = with_report(place);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains("cannot write"));
        assert!(output.stdout.is_empty(), "it has looked at the pictures");
    }
    assert_eq!(fs::read_to_string(&report).unwrap(), page);
    // Which split is meant is not guessed, and said is how to say it.
    let output = check(&yaml, &[]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("has the splits train, val") && error.contains("--against-split"),
        "{error}"
    );
}
