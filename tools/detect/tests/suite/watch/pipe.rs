//! Raw pixels on the standard input.

use std::path::PathBuf;

use image::{Rgb, RgbImage};

use super::{both, lines, pipe, said, tracks, BRIGHT, DARK};
use crate::squares::{picture, BLACK, SIZE, WHITE};

#[test]
fn ids_stay_with_what_is_hidden_or_dim_for_some_frames() {
    // 0.65 bright scores 0.25: too weak to count, but enough to go on.
    let dim = Rgb([210; 3]);
    let scenes = [
        both(),
        both(),
        picture(SIZE, SIZE, &[(BRIGHT, dim), (DARK, BLACK)]),
        picture(SIZE, SIZE, &[(BRIGHT, WHITE)]),
        picture(SIZE, SIZE, &[(BRIGHT, WHITE), ([64, 112, 16, 16], dim)]),
        picture(SIZE, SIZE, &[]),
        both(),
    ];
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("found.jsonl");
    let size = format!("{SIZE}x{SIZE}");
    let args = [
        "-",
        "--size",
        &size,
        "--masks",
        "--json",
        json.to_str().unwrap(),
    ];
    let output = pipe(&args, &scenes.map(RgbImage::into_raw).concat());
    assert!(output.status.success(), "{}", said(&output));
    assert!(output.stdout.is_empty());
    assert!(
        said(&output).contains("7 frames, 0 dropped, 0 failed"),
        "{}",
        said(&output)
    );

    let lines = lines(&std::fs::read(&json).unwrap());
    let (bright, dark) = match tracks(&lines[0])[..] {
        [("bright", bright), ("dark", dark)] => (("bright", bright), ("dark", dark)),
        ref other => panic!("{other:?}"),
    };
    assert_ne!(bright.1, dark.1);
    let expected = [
        vec![bright, dark],
        vec![bright, dark],
        vec![bright, dark],
        vec![bright],
        vec![bright],
        vec![],
        vec![bright, dark],
    ];
    for ((number, line), expected) in (1..).zip(&lines).zip(&expected) {
        assert_eq!(&tracks(line), expected, "{line}");
        assert_eq!(line["frame"], number);
        assert_eq!(
            (&line["width"], &line["height"], &line["source"]),
            (&128.into(), &128.into(), &"-".into())
        );
        assert!(line["age_ms"].as_f64().unwrap() >= 0.0 && line["time"].as_f64().unwrap() > 1.6e9);
    }
    let found = lines[3]["detections"][0].as_object().unwrap();
    assert_eq!(
        (&found["category_id"], &found["bbox"]),
        (&3.into(), &serde_json::json!([32.0, 64.0, 16.0, 16.0]))
    );
    let counts = found["segmentation"]["counts"].as_str().unwrap();
    let mask = intertwine_rle::Rle::from_string(SIZE, SIZE, counts).unwrap();
    assert_eq!(mask.bbox(), [32.0, 64.0, 16.0, 16.0]);
}

#[test]
fn a_short_last_frame_is_an_error_and_what_came_before_is_kept() {
    let mut bytes = [both().into_raw(), both().into_raw()].concat();
    bytes.extend([0; 100]);
    let output = pipe(&["-", "--size", "128x128"], &bytes);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(lines(&output.stdout).len(), 2);
    let said = said(&output);
    assert!(
        said.contains("frame 3 is short: 100 bytes of 49152 (3 x 128 x 128)"),
        "{said}"
    );
    assert!(said.contains("2 frames, 0 dropped"), "{said}");
}

#[test]
fn of_live_frames_every_one_is_looked_at_or_counted_and_the_last_is_looked_at() {
    let frames = 300;
    let bytes = both().into_raw().repeat(frames);
    let output = pipe(&["-", "--size", "128x128", "--live"], &bytes);
    let lines = lines(&output.stdout);
    let last = lines.last().unwrap();
    assert_eq!(last["frame"], frames);
    assert_eq!(
        lines.len() + last["dropped"].as_u64().unwrap() as usize,
        frames
    );
    assert!(lines.is_sorted_by(|a, b| a["frame"].as_u64() < b["frame"].as_u64()));
    assert!(lines.iter().all(|line| tracks(line) == tracks(&lines[0])));
}

#[test]
fn a_frame_that_no_jpeg_holds_is_looked_at_and_not_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let args = ["-", "--size", "65536x2", "--out", out.to_str().unwrap()];
    let output = pipe(&args, &[128; 2 * 3 * 65_536 * 2]);
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("not drawn: frame 2: 65536 x 2 pixels"),
        "{told}"
    );
    let lines = lines(&output.stdout);
    assert_eq!((&lines[1]["width"], lines.len()), (&65_536.into(), 2));
    assert!(lines.iter().all(|line| line.get("drawn").is_none()));
}

#[test]
fn drawn_frames_are_numbered_and_only_the_newest_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let args = [
        "-",
        "--size",
        "128x128",
        "--out",
        out.to_str().unwrap(),
        "--keep",
        "2",
    ];
    let output = pipe(&args, &both().into_raw().repeat(5));
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(lines(&output.stdout)[3]["drawn"], "frame-00000004.jpg");
    let mut names: Vec<PathBuf> = std::fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            out.join("frame-00000004.jpg"),
            out.join("frame-00000005.jpg")
        ]
    );
    let drawn = image::open(&names[0]).unwrap().into_rgb8();
    // Enlarged four times, with the edge of the bright square's box in its class's colour.
    assert_eq!(drawn.width(), 512);
    let Rgb([red, green, blue]) = *drawn.get_pixel(129, 300);
    assert!(
        red.abs_diff(green).max(green.abs_diff(blue)) > 60,
        "{red} {green} {blue}"
    );
}
