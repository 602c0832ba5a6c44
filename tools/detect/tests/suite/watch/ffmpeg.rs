//! What ffmpeg reads. It is played by a shell script here, which says what it was asked for and sends pictures.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

/// A folder with a program called ffmpeg, which runs this script.
fn stand_in(script: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("script");
    let script = format!("#!/bin/sh\ncd {}\n{script}", folder.path().display());
    std::fs::write(&written, script).unwrap();
    std::fs::set_permissions(&written, std::fs::Permissions::from_mode(0o755)).unwrap();
    // Copied by a process of its own: what this one has open for writing, a child of another test may hold open for a
    // moment, and then it cannot be executed.
    let program = folder.path().join("ffmpeg");
    let copied = Command::new("cp").arg(&written).arg(program).status();
    assert!(copied.unwrap().success());
    let picture = both();
    let head = format!("P6\n{SIZE} {SIZE}\n255\n");
    let frame = [head.as_bytes(), picture.as_raw()].concat();
    std::fs::write(folder.path().join("frame"), frame).unwrap();
    folder
}

fn watch(ffmpeg: &Path, args: &[&str]) -> Output {
    let path = format!("{}:{}", ffmpeg.display(), std::env::var("PATH").unwrap());
    command(args).env("PATH", path).output().unwrap()
}

#[test]
fn every_frame_of_a_video_is_looked_at_and_its_end_is_the_end() {
    let ffmpeg = stand_in("echo \"$@\" >> asked; for i in 1 2 3 4 5; do cat frame; done");
    let video = ffmpeg.path().join("clip.mp4");
    std::fs::write(&video, b"").unwrap();
    let output = watch(ffmpeg.path(), &[video.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    let lines = lines(&output.stdout);
    let numbers: Vec<_> = lines
        .iter()
        .map(|line| line["frame"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert_eq!(tracks(&lines[4]), tracks(&lines[0]));
    let asked = std::fs::read_to_string(ffmpeg.path().join("asked")).unwrap();
    assert!(
        asked.contains(&format!("-i file:{} ", video.display())),
        "{asked}"
    );
}

#[test]
fn a_stream_that_ends_is_connected_to_again() {
    let ffmpeg = stand_in("echo \"$@\" >> asked; cat frame");
    let output = watch(ffmpeg.path(), &["rtsp://camera/1", "--frames", "3"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(lines(&output.stdout).len(), 3);
    let told = said(&output);
    assert!(
        told.contains("rtsp://camera/1: the stream has ended; connecting again"),
        "{told}"
    );
    let asked = std::fs::read_to_string(ffmpeg.path().join("asked")).unwrap();
    assert!(
        asked.lines().count() >= 3 && asked.contains("-rtsp_transport tcp -i rtsp://camera/1 ")
    );
}

#[test]
fn what_goes_wrong_with_ffmpeg_is_told_and_ends_after_the_retries() {
    for (script, expected) in [
        ("exit 7", "ffmpeg cannot read it (exit status: 7)"),
        ("echo nonsense", "ffmpeg sends what is no picture"),
        ("head -c 900 frame", "ffmpeg ended within a frame"),
        // Silent, and it would not end by itself.
        ("exec sleep 600", "silent for 0.5 s"),
    ] {
        let ffmpeg = stand_in(script);
        let args = ["https://camera/1", "--retries", "1", "--timeout", "0.5"];
        let output = watch(ffmpeg.path(), &args);
        assert_eq!(output.status.code(), Some(1), "{script}");
        let told = said(&output);
        assert!(
            told.contains(&format!("error: https://camera/1: {expected}")),
            "{told}"
        );
        assert_eq!(told.matches(expected).count(), 2, "{told}");
    }
}

#[test]
fn without_ffmpeg_the_remedy_is_told() {
    let output = command(&["rtsp://camera/1"])
        .env("PATH", "")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("apt-get install ffmpeg"),
        "{}",
        said(&output)
    );
}
