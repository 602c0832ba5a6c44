//! What the server says to those who ask rightly.

use image::Rgb;
use intertwine_rle::Rle;
use serde_json::json;

use super::*;
use crate::squares::{picture, GREY};

#[test]
fn a_picture_is_answered_with_what_is_in_it() {
    let server = Server::start(&[]);
    let answer = server.post("", &png(&two_squares()));
    assert_found(&answer);
    let json = answer.json();
    assert_eq!(json["picture"], json!({"width": 128, "height": 128}));
    for key in ["decode", "detect"] {
        assert!(json["timing_ms"][key].as_f64().unwrap() > 0.0, "{json}");
    }
    let found = json["detections"].as_array().unwrap();
    let bright = found
        .iter()
        .find(|entry| entry["category_name"] == "bright");
    let bright = bright.unwrap();
    assert!(bright["score"].as_f64().unwrap() > 0.9, "{json}");
    let bright = &bright["segmentation"];
    assert_eq!(bright["size"], json!([128, 128]));
    let bright = Rle::from_string(128, 128, bright["counts"].as_str().unwrap()).unwrap();
    assert_eq!(
        (bright.area(), bright.bbox()),
        (16 * 16, [32.0, 64.0, 16.0, 16.0])
    );
}

#[test]
fn a_form_is_as_good_as_a_body_and_so_is_a_chunked_one() {
    let server = Server::start(&[]);
    let file = png(&two_squares());
    let form = [
        b"--edge\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n".as_slice(),
        b"--edge\r\nContent-Disposition: form-data; name=\"picture\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n",
        &file,
        b"\r\n--edge--\r\n",
    ]
    .concat();
    let head = format!(
        "POST /detect HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=edge\r\nContent-Length: {}",
        form.len()
    );
    assert_found(&server.ask(&head, &form));

    let mut client = server.connect();
    client.send(
        "POST /detect HTTP/1.1\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked",
        b"",
    );
    for chunk in file.chunks(100) {
        client.raw(format!("{:x}\r\n", chunk.len()).as_bytes());
        client.raw(chunk);
        client.raw(b"\r\n");
    }
    client.raw(b"0\r\n\r\n");
    assert_found(&client.answer());
    // The connection stays open for the next one.
    client.send(&post("", file.len()), &file);
    assert_found(&client.answer());
}

#[test]
fn the_score_decides_what_counts() {
    // 0.59 bright, and surely dark.
    let squares = [
        ([32, 64, 16, 16], Rgb([219; 3])),
        ([96, 16, 16, 16], squares::BLACK),
    ];
    let file = png(&picture(128, 128, &squares));
    let names = |server: &Server, query: &str| -> Vec<String> {
        let json = server.post(query, &file).json();
        let found = json["detections"].as_array().unwrap().iter();
        found
            .map(|entry| entry["category_name"].as_str().unwrap().to_owned())
            .collect()
    };
    let server = Server::start(&[]);
    assert_eq!(names(&server, ""), ["dark", "bright"]);
    assert_eq!(names(&server, "?score=0.9"), ["dark"]);
    assert!(names(&server, "?score=1").is_empty());
    // A worker does not remember it.
    assert_eq!(names(&server, ""), ["dark", "bright"]);
    let strict = Server::start(&["--score", "0.9"]);
    assert_eq!(names(&strict, ""), ["dark"]);
    assert_eq!(names(&strict, "?score=0.5"), ["dark", "bright"]);
    let said = strict.post("", &file).json()["score"].as_f64().unwrap();
    assert!((said - 0.9).abs() < 1e-6, "{said}");
}

#[test]
fn the_drawn_picture_is_sent_where_it_is_asked_for() {
    let server = Server::start(&[]);
    let file = png(&two_squares());
    let drawn = |query: &str, accept: &str| {
        let head = format!("{}\r\nAccept: {accept}", post(query, file.len()));
        let answer = server.ask(&head, &file);
        assert_eq!(answer.status, 200);
        let kind = answer.headers["content-type"].clone();
        let picture = image::load_from_memory(&answer.body).unwrap().into_rgb8();
        // Enlarged four times, as `detect --out` does.
        assert_eq!(picture.dimensions(), (512, 512));
        (kind, picture)
    };
    let (kind, picture) = drawn("", "image/png");
    assert_eq!(kind, "image/png");
    // Grey stays; the bright square is covered by its mask; its edge has the colour of the box.
    assert_eq!(*picture.get_pixel(4, 500), GREY);
    assert_ne!(*picture.get_pixel(160, 290), squares::WHITE);
    assert_ne!(*picture.get_pixel(160, 290), GREY);
    let (kind, jpeg) = drawn("?draw=1", "*/*");
    assert_eq!(kind, "image/jpeg");
    let Rgb(grey) = *jpeg.get_pixel(4, 500);
    assert!(grey.iter().all(|value| value.abs_diff(128) < 4), "{grey:?}");
}

#[test]
fn health_says_what_is_served() {
    let server = Server::start(&["--threads", "3"]);
    let json = server.get("/health").json();
    assert_eq!(json["model"], "squares.onnx");
    assert_eq!(
        json["classes"],
        json!([{"id": 3, "name": "bright"}, {"id": 8, "name": "dark"}])
    );
    assert_eq!(
        (&json["input_size"], &json["masks"], &json["workers"]),
        (&json!(128), &json!(true), &json!(3))
    );
    assert!(json["uptime_s"].as_f64().unwrap() >= 0.0);
    // Its head alone.
    let mut client = server.connect();
    client.send("HEAD /health HTTP/1.1\r\nConnection: close", b"");
    let mut head = String::new();
    client.0.read_to_string(&mut head).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[test]
fn metrics_count_what_happened() {
    let server = Server::start(&[]);
    let file = png(&two_squares());
    for _ in 0..3 {
        server.post("", &file);
    }
    server.post("", b"no picture");
    server.get("/no/such/path");
    server.get("/neither/this");
    for (name, value) in [
        (
            "detect_requests_total{path=\"/detect\",status=\"200\"}",
            3.0,
        ),
        (
            "detect_requests_total{path=\"/detect\",status=\"400\"}",
            1.0,
        ),
        ("detect_requests_total{path=\"other\",status=\"404\"}", 2.0),
        ("detect_pictures_total", 3.0),
        ("detect_detections_total", 6.0),
        ("detect_rejected_total{reason=\"queue\"}", 0.0),
        ("detect_stage_seconds_count{stage=\"decode\"}", 3.0),
        ("detect_stage_seconds_count{stage=\"detect\"}", 3.0),
        (
            "detect_stage_seconds_bucket{stage=\"total\",le=\"+Inf\"}",
            3.0,
        ),
        ("detect_queue_length", 0.0),
    ] {
        assert_eq!(server.metric(name), Some(value), "{name}");
    }
    assert!(server.metric("detect_open_connections") >= Some(1.0));
    if cfg!(target_os = "linux") {
        assert!(server.metric("process_resident_memory_bytes") > Some(1e6));
    }
    // Every line is a comment or `name{labels} value`, and every name is announced once.
    let page = server.get("/metrics");
    assert!(page.headers["content-type"].starts_with("text/plain; version=0.0.4"));
    for line in page.text().lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let family = name.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| family.strip_suffix(end))
            .unwrap_or(family);
        let announced = format!("# TYPE {family} ");
        assert_eq!(page.text().matches(&announced).count(), 1, "{line}");
    }
}
