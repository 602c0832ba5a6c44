//! A folder that is written to, and a signal that ends it.

#![cfg(unix)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Command;
use std::time::{Duration, SystemTime};

use image::RgbImage;
use tempfile::TempDir;

use super::{both, tracks, Running};

/// As a program that took its time does: written elsewhere and renamed in.
fn write_whole(folder: &TempDir, name: &str, bytes: &[u8]) {
    let beside = folder.path().join("beside");
    std::fs::create_dir_all(&beside).unwrap();
    let mut file = File::create(beside.join(name)).unwrap();
    file.write_all(bytes).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60))
        .unwrap();
    std::fs::rename(beside.join(name), folder.path().join(name)).unwrap();
}

fn png(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

#[test]
fn pictures_of_a_folder_are_taken_when_they_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let whole = png(&both());
    write_whole(&folder, "first.png", &whole);
    let mut running = Running::start(&[folder.path().to_str().unwrap(), "--existing"]);
    let first = running.line();
    assert_eq!(
        (&first["name"], tracks(&first).len()),
        (&"first.png".into(), 2)
    );

    write_whole(&folder, "second.png", &whole);
    assert_eq!(running.line()["name"], "second.png");
    // What is no picture is told of, and ends nothing.
    write_whole(&folder, "text.jpg", b"This is a text.");
    let text = running.line();
    assert_eq!(
        (&text["name"], text.get("detections")),
        (&"text.jpg".into(), None)
    );
    assert!(
        text["error"].as_str().unwrap().contains("cannot decode"),
        "{text}"
    );
    // A writer that pauses for long: half a picture fails, the whole one is taken.
    let mut writer = File::create(folder.path().join("slow.png")).unwrap();
    writer.write_all(&whole[..whole.len() / 2]).unwrap();
    let half = running.line();
    assert!(
        half["name"] == "slow.png" && half["error"].is_string(),
        "{half}"
    );
    writer.write_all(&whole[whole.len() / 2..]).unwrap();
    drop(writer);
    let slow = running.line();
    assert_eq!(
        (&slow["name"], &slow["frame"], tracks(&slow).len()),
        (&"slow.png".into(), &5.into(), 2)
    );

    let id = running.child.id().to_string();
    assert!(Command::new("kill")
        .args(["-TERM", &id])
        .status()
        .unwrap()
        .success());
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("3 frames, 0 dropped, 2 failed; age of results"),
        "{said}"
    );
}

#[test]
fn a_folder_that_is_away_for_a_moment_is_listed_again_and_nothing_in_it_comes_twice() {
    let (folder, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_whole(&folder, "first.png", &png(&both()));
    let path = folder.path().to_str().unwrap();
    let mut running = Running::start(&[path, "--existing", "--frames", "2"]);
    assert_eq!(running.line()["name"], "first.png");

    let mut said = BufReader::new(running.child.stderr.take().unwrap());
    let away = beside.path().join("away");
    std::fs::rename(folder.path(), &away).unwrap();
    let mut told = String::new();
    said.read_line(&mut told).unwrap();
    for part in [
        path,
        ": cannot list the folder: ",
        "; trying again in 0.25 s",
    ] {
        assert!(told.contains(part), "`{part}` is missing in: {told}");
    }
    std::fs::rename(&away, folder.path()).unwrap();
    write_whole(&folder, "second.png", &png(&both()));
    let second = running.line();
    assert_eq!(
        (&second["name"], &second["frame"]),
        (&"second.png".into(), &2.into())
    );
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(running.child.wait().unwrap().success(), "{rest}");
}

#[test]
fn a_folder_that_stays_away_ends_the_run_after_the_retries() {
    let folder = tempfile::tempdir().unwrap();
    write_whole(&folder, "first.png", &png(&both()));
    let path = folder.path().to_str().unwrap();
    let mut running = Running::start(&[path, "--existing", "--retries", "1"]);
    assert_eq!(running.line()["name"], "first.png");
    std::fs::remove_dir_all(folder.path()).unwrap();
    let (code, said) = running.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(&format!("error: {path}: cannot list the folder: ")),
        "{said}"
    );
}
