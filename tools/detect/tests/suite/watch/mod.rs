//! `detect watch`, as people run it.

mod camera;
mod ffmpeg;
mod folder;
mod pipe;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use image::RgbImage;
use serde_json::Value;

use crate::squares::{picture, BLACK, SIZE, WHITE};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/squares.onnx");

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_detect"));
    command
        .args(["watch", "--model", MODEL, "--threads", "1"])
        .args(args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the program on bytes at its standard input.
fn pipe(args: &[&str], bytes: &[u8]) -> Output {
    let mut child = command(args).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // A program that ends early does not read all of it.
        scope.spawn(move || stdin.write_all(bytes).ok());
        child.wait_with_output().unwrap()
    })
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Name and track id of what a line tells of, by name.
fn tracks(line: &Value) -> Vec<(&str, u64)> {
    let detections = line["detections"]
        .as_array()
        .unwrap_or_else(|| panic!("{line}"));
    let mut tracks: Vec<_> = detections
        .iter()
        .map(|found| {
            (
                found["name"].as_str().unwrap(),
                found["track_id"].as_u64().unwrap(),
            )
        })
        .collect();
    tracks.sort_unstable();
    tracks
}

const BRIGHT: [u32; 4] = [32, 64, 16, 16];
const DARK: [u32; 4] = [96, 16, 16, 16];

fn both() -> RgbImage {
    picture(SIZE, SIZE, &[(BRIGHT, WHITE), (DARK, BLACK)])
}

/// The program while it runs.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut child = command(args).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// Waits for the next line.
    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| {
            let mut said = String::new();
            self.child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut said)
                .unwrap();
            panic!("{line:?}\n{said}")
        })
    }

    /// Waits for its end: the exit status and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        let output = self.child.wait_with_output().unwrap();
        (output.status.code(), said(&output))
    }
}

#[test]
fn what_does_not_go_together_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let missing: &Path = &folder.path().join("missing");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/squares.onnx");
    for (args, expected) in [
        (vec!["-"], "--size WIDTHxHEIGHT"),
        (vec!["-", "--size", "640"], "640x480"),
        (vec!["http://"], "no host"),
        (vec![path, "--live"], "standard input"),
        (vec![path, "--size", "8x8"], "pictures say their size"),
        (
            vec!["-", "--size", "8x8", "--existing"],
            "--existing is for a folder",
        ),
        (vec![path, "--out", path], "another folder to --out"),
        (vec![path, "--keep", "3"], "--out"),
        (vec![missing.to_str().unwrap()], "cannot list the folder"),
        // Whether or not there is one here.
        (vec![file], "ffmpeg"),
        (vec!["/dev/video-none"], "/dev/video-none: "),
        (vec!["/dev/null"], "/dev/null: "),
        (vec!["/dev/null", "--live"], "cameras are live anyway"),
        (vec![path, "--timeout", "0"], "above 0"),
    ] {
        let output = pipe(&args, b"");
        assert!(!output.status.success(), "{args:?}");
        assert!(
            said(&output).contains(expected),
            "{args:?}: {}",
            said(&output)
        );
    }
}
