//! From pictures to a packed set and back, through the two programs.

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use intertwine_datasets::PackedSet;
use tempfile::TempDir;

fn run(program: &str, arguments: &[&dyn AsRef<OsStr>]) -> Output {
    Command::new(program)
        .args(arguments.iter().map(|argument| argument.as_ref()))
        .output()
        .unwrap()
}

fn pack(arguments: &[&dyn AsRef<OsStr>]) -> Output {
    run(env!("CARGO_BIN_EXE_pack-dataset"), arguments)
}

fn unpack(arguments: &[&dyn AsRef<OsStr>]) -> Output {
    run(env!("CARGO_BIN_EXE_unpack-dataset"), arguments)
}

#[test]
fn pictures_come_back_and_nothing_is_written_over() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("pictures")).unwrap();
    let picture = RgbImage::from_fn(20, 12, |x, y| Rgb([x as u8, y as u8, 7]));
    picture.save(path("pictures/a.bmp")).unwrap();
    assert!(pack(&[&path("pictures"), &path("packed")]).status.success());

    let output = unpack(&[&path("packed"), &path("back")]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("Wrote 1 pictures and 0 objects: 1 files"),
        "{said}"
    );
    let back = image::open(path("back/a.png")).unwrap();
    assert_eq!(back.into_rgb8(), picture);

    let output = unpack(&[&path("packed"), &path("back"), &"--to", &"webdataset"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("back") && error.contains("nothing is written over"),
        "{error}"
    );

    let shards = path("shards");
    assert!(unpack(&[&path("packed"), &shards, &"--to", &"webdataset"])
        .status
        .success());
    assert!(
        pack(&[&shards.join("data-{000000..000000}.tar"), &path("again")])
            .status
            .success()
    );
    let again = PackedSet::open(&path("again")).unwrap();
    assert_eq!(again.read(0).unwrap().image, picture);
}

#[test]
fn what_is_no_packed_set_is_named() {
    let folder = TempDir::new().unwrap();
    let output = unpack(&[&folder.path(), &folder.path().join("out")]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("manifest.json"), "{error}");
    assert!(!folder.path().join("out").exists());
}

/// Packing makes a long picture narrower than what it accepts; said is how it comes back all the same.
#[test]
fn a_picture_made_narrow_comes_back_with_a_smallest_side_of_one() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("pictures")).unwrap();
    let picture = RgbImage::from_fn(1000, 15, |x, y| Rgb([x as u8, y as u8, 7]));
    picture.save(path("pictures/a.png")).unwrap();
    let side = ["--max-side", "256"];
    assert!(
        pack(&[&path("pictures"), &path("packed"), &side[0], &side[1]])
            .status
            .success()
    );
    assert!(unpack(&[&path("packed"), &path("back")]).status.success());
    let again = pack(&[
        &path("back"),
        &path("again"),
        &side[0],
        &side[1],
        &"--smallest-side",
        &"1",
    ]);
    assert!(again.status.success());
    let read = |name: &str| PackedSet::open(&path(name)).unwrap().read(0).unwrap().image;
    assert_eq!(read("packed").dimensions(), (256, 4));
    assert_eq!(read("again"), read("packed"));
    let help = String::from_utf8(unpack(&[&"--help"]).stdout).unwrap();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("pack with --smallest-side 1"), "{help}");
}
