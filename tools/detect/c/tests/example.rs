//! The C example, compiled by the C compiler and run.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

// The library must have been built for what is linked below.
use intertwine_detect_c as _;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder in which cargo put the newest library of this name.
fn library(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folders = test.ancestors().skip(1).take(2);
    folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("no {name} beside {}", test.display()))
}

fn compile(into: &Path, link: &[&str]) {
    let status = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(root().join("include"))
        .arg(root().join("examples/detect.c"))
        .args(link)
        .arg("-o")
        .arg(into)
        .status()
        .unwrap();
    assert!(status.success(), "the C compiler refused the example");
}

fn run(program: &Path, arguments: &[&Path]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

/// Grey, with a bright square at 32 to 48, 64 to 80.
fn picture() -> Vec<u8> {
    let mut ppm = b"P6 128 128 255\n".to_vec();
    for i in 0..128 * 128 {
        let (x, y) = (i % 128, i / 128);
        let bright = (32..48).contains(&x) && (64..80).contains(&y);
        ppm.extend([if bright { 255 } else { 128 }; 3]);
    }
    ppm
}

#[test]
fn the_example_finds_the_square_with_either_library() {
    let folder = tempfile::tempdir().unwrap();
    let square = folder.path().join("square.ppm");
    std::fs::write(&square, picture()).unwrap();
    let model = root().join("../tests/data/squares.onnx");

    let archive = library("libintertwine_detect_c.a");
    let shared = library("libintertwine_detect_c.so");
    let place = format!("-Wl,-rpath,{}", shared.parent().unwrap().display());
    let shared = shared.display().to_string();
    let archive = archive.display().to_string();
    for link in [
        vec![archive.as_str(), "-lpthread", "-ldl", "-lm"],
        vec![shared.as_str(), place.as_str()],
    ] {
        let program = folder.path().join("detect");
        compile(&program, &link);
        let output = run(&program, &[&model, &square]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            text.starts_with("bright ") && text.contains("at 32 64 48 80"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);

        for head in [
            "P6 0 128 255\n",
            "P6 128 0 255\n",
            "P6 128 128 65535\n",
            "P6 128 128 25\n",
            "P5 1 1 255\n",
        ] {
            let other = folder.path().join("other.ppm");
            std::fs::write(&other, [head.as_bytes(), &picture()[15..]].concat()).unwrap();
            let output = run(&program, &[&model, &other]);
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{head}");
            assert!(
                error.contains("not a PPM picture of 8 bits"),
                "{head}{error}"
            );
        }

        let output = run(&program, &[&square, &square]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && error.contains("not a usable ONNX model"),
            "{error}"
        );
    }
}
