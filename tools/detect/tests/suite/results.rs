//! Where the results of the program `detect` go, and what becomes of them when somebody or something is in the way.

use std::process::Stdio;

use image::RgbImage;

use crate::program::{assert_tidy, succeeded, text, Desk};
use crate::squares::GREY;

#[test]
fn a_picture_that_cannot_be_drawn_keeps_its_detections() {
    let desk = Desk::new();
    // A folder where the copy should go, and a picture named like a JPEG that no JPEG holds.
    std::fs::create_dir_all(desk.path("out/two.png")).unwrap();
    let strip = RgbImage::from_pixel(65_536, 2, GREY);
    strip.save(desk.path("strip.png")).unwrap();
    std::fs::rename(desk.path("strip.png"), desk.path("in/strip.jpg")).unwrap();
    let args = [
        "--model", "m.onnx", "in", "--out", "out", "--json", "r.json",
    ];
    let output = desk.run(&args);
    assert_eq!(output.status.code(), Some(1));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        out.contains("in/two.png: 128 x 128, 1 bright, 1 dark"),
        "{out}"
    );
    for part in [
        "in/strip.jpg: cannot write out/strip.jpg: 65536 x 2 pixels do not fit into a JPEG file, which holds up to 65535",
        "in/two.png: cannot write out/two.png: ",
        "what was found in it is kept",
        "1 of 3 pictures done",
    ] {
        assert!(err.contains(part), "`{part}` is missing in: {err}");
    }
    let ids: Vec<_> = desk
        .json("r.json")
        .iter()
        .map(|entry| entry["image_id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, [1, 1, 3, 3]);
    assert!(!desk.path("out/strip.jpg").exists());
    assert_tidy(&desk.path("out"));
}

#[test]
fn a_reader_that_leaves_early_takes_no_results_along() {
    let desk = Desk::new();
    let args = [
        "--model", "m.onnx", "in", "--out", "out", "--json", "r.json",
    ];
    let mut child = desk
        .command(&args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(desk.json("r.json").len(), 4);
    assert!(desk.path("out/two.png").exists());
}

#[test]
fn bench_without_a_reader_and_without_a_peer_ends_in_order() {
    let desk = Desk::new();
    let args = ["bench", "--model", "m.onnx", "--iterations", "2"];
    let mut child = desk
        .command(&[&args[..], &["--nodes", "--json", "b.json"]].concat())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(desk.path("b.json").exists());

    // It ends at once, as a Python without onnxruntime does.
    let output = desk.run(&[&args[..], &["--onnxruntime", "false"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", output.status);
    let err = text(&output.stderr);
    assert!(err.contains("error: onnxruntime did not answer"), "{err}");
}

#[test]
fn names_as_long_as_names_can_be_are_written() {
    let desk = Desk::new();
    let (picture, json) = ("p".repeat(251) + ".png", "j".repeat(250) + ".json");
    std::fs::copy(desk.path("in/two.png"), desk.path(&picture)).unwrap();
    let args = [
        "--model", "m.onnx", &picture, "--out", "out", "--json", &json,
    ];
    succeeded(&desk.run(&args));
    assert_eq!(desk.json(&json).len(), 2);
    assert!(desk.path("out").join(&picture).exists());
}

#[test]
fn pictures_and_their_copies_in_one_folder_are_refused_with_the_remedy() {
    let desk = Desk::new();
    let output = desk.run(&["--model", "m.onnx", "in", "--out", "in/../in"]);
    assert_eq!(output.status.code(), Some(1));
    let err = text(&output.stderr);
    assert!(err.contains("give another folder to --out"), "{err}");
}

#[cfg(unix)]
#[test]
fn links_stay_links_and_pipes_stay_pipes() {
    use std::os::unix::fs::{symlink, FileTypeExt};
    let desk = Desk::new();
    let write = |to: &str| succeeded(&desk.run(&["--model", "m.onnx", "in", "--json", to]));
    // Twice, since at first there is nothing where the link leads.
    std::fs::create_dir(desk.path("links")).unwrap();
    symlink("../runs/1.json", desk.path("links/latest.json")).unwrap();
    for _ in 0..2 {
        write("links/latest.json");
        assert!(desk.path("links/latest.json").is_symlink());
        assert_eq!(desk.json("runs/1.json").len(), 4);
        std::fs::write(desk.path("runs/1.json"), "older").unwrap();
    }
    assert_tidy(&desk.path("runs"));

    let pipe = desk.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read(pipe).unwrap()
    });
    write("pipe");
    let kept = std::fs::symlink_metadata(&pipe).unwrap().file_type();
    assert!(kept.is_fifo(), "{kept:?}");
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&reader.join().unwrap()).unwrap();
    assert_eq!(entries.len(), 4);
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_that_is_stopped_keeps_what_it_found_and_a_hang_up_stops_none_under_nohup() {
    use std::io::{BufRead, BufReader};
    use std::process::Command;
    let desk = Desk::new();
    RgbImage::from_pixel(6000, 6000, GREY)
        .save(desk.path("heavy.png"))
        .unwrap();
    // Whatever these tests run under.
    for (ignored, signal, heavy, status) in [
        ("HUP", "-HUP", 2, 0),
        ("USR1", "-HUP", 200, 130),
        ("USR1", "-INT", 200, 130),
    ] {
        let mut args = vec![
            "--model",
            "m.onnx",
            "--threads",
            "1",
            "--json",
            "r.json",
            "in/two.png",
        ];
        args.resize(args.len() + heavy, "heavy.png");
        let mut child = Command::new("env")
            .args(["--default-signal", &format!("--ignore-signal={ignored}")])
            .arg(env!("CARGO_BIN_EXE_detect"))
            .args(&args)
            .current_dir(desk.path(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "in/two.png: 128 x 128, 1 bright, 1 dark\n");
        let kill = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        let lines = out.lines().count();
        let output = child.wait_with_output().unwrap();
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{err}");
        assert_eq!(
            err.contains("stopped before the last"),
            status == 130,
            "{err}"
        );
        assert_eq!(lines == heavy, status == 0, "{lines} of {heavy}");
        assert_eq!(desk.json("r.json").len(), 2);
        assert_tidy(&desk.path(""));
        std::fs::remove_file(desk.path("r.json")).unwrap();
    }
}
