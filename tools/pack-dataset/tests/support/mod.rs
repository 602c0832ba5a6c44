//! The program as a user runs it, and pictures for it.
#![allow(dead_code)] // Each test program uses its own part.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use image::{Rgb, RgbImage};

/// The program, run to its end.
pub fn run(arguments: &[&dyn AsRef<OsStr>]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pack-dataset"))
        .args(arguments.iter().map(|argument| argument.as_ref()))
        .output()
        .unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn draw(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * 5) as u8, (y * 3) as u8, ((x + y) * 2) as u8])
    })
}

/// Writes a picture of this size in the format of its name.
pub fn save(path: PathBuf, width: u32, height: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    draw(width, height).save(path).unwrap();
}
