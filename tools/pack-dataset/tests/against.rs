//! Two splits of one data set held against each other, through the program.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use tempfile::TempDir;

fn check(yaml: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pack-dataset"))
        .args([yaml.as_os_str(), "--check".as_ref()])
        .args(["--split", "train", "--against"])
        .arg(yaml)
        .args(more)
        .output()
        .unwrap()
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
    // Which split is meant is not guessed, and said is how to say it.
    let output = check(&yaml, &[]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("has the splits train, val") && error.contains("--against-split"),
        "{error}"
    );
}
