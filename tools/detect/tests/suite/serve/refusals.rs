//! Requests that cannot be served: the status, and a sentence that helps.

use super::*;
use crate::hostile_pictures::half_a_colour;

#[test]
fn what_is_no_picture_is_400() {
    let server = Server::start(&[]);
    let file = png(&two_squares());
    server
        .post("", b"This is a text.")
        .assert_refused(400, &["cannot decode", "send a whole JPEG"]);
    server
        .post("", &file[..file.len() / 2])
        .assert_refused(400, &["cannot decode"]);
    server.post("", b"").assert_refused(400, &["cannot decode"]);
    server
        .post("?score=2", &file)
        .assert_refused(400, &["`score` is `2`", "0 to 1"]);
    server
        .post("?treshold=0.5", &file)
        .assert_refused(400, &["`treshold`", "`score`"]);
    let form = b"--b\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nx\r\n--b--\r\n";
    let head = format!(
        "POST /detect HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {}",
        form.len()
    );
    server
        .ask(&head, form)
        .assert_refused(400, &["no field `picture`", "`image`", "curl"]);
    server.assert_well();
}

#[test]
fn a_type_that_is_none_of_ours_is_415() {
    let server = Server::start(&[]);
    for (header, named) in [
        (
            "Content-Type: application/x-www-form-urlencoded\r\n",
            "x-www-form-urlencoded",
        ),
        ("Content-Type: text/plain\r\n", "text/plain"),
        ("", "missing"),
    ] {
        let head = format!("POST /detect HTTP/1.1\r\n{header}Content-Length: 3");
        server
            .ask(&head, b"abc")
            .assert_refused(415, &[named, "expected image/*", "curl"]);
    }
}

#[test]
fn wrong_paths_and_methods_are_404_and_405() {
    let server = Server::start(&[]);
    for path in ["/detect/", "/../etc/passwd", "/Health", "/%64etect"] {
        server
            .get(path)
            .assert_refused(404, &[path, "POST /detect"]);
    }
    for (line, allowed) in [
        ("GET /detect", "POST"),
        ("PUT /detect", "POST"),
        ("POST /health", "GET, HEAD"),
        ("DELETE /", "GET, HEAD"),
        ("BREW /metrics", "GET, HEAD"),
    ] {
        let answer = server.ask(&format!("{line} HTTP/1.1"), b"");
        answer.assert_refused(405, &[allowed, line.split(' ').next().unwrap()]);
        assert_eq!(answer.headers["allow"], allowed);
    }
}

#[test]
fn a_body_too_large_is_413_by_its_word_or_once_it_is() {
    let server = Server::start(&["--max-bytes", "100k"]);
    let large = vec![7; 1 << 20];
    // By its word; nothing is read, and the answer arrives although the client goes on sending.
    let answer = server.post("", &large);
    answer.assert_refused(413, &["102400 bytes", "--max-bytes"]);
    assert_eq!(answer.headers["connection"], "close");
    // A word is enough.
    server
        .ask(&post("", usize::MAX >> 1), b"")
        .assert_refused(413, &["102400 bytes"]);
    // Without a word.
    let mut client = server.connect();
    client.send(
        "POST /detect HTTP/1.1\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked",
        b"",
    );
    for chunk in large.chunks(1 << 14) {
        client.raw(format!("{:x}\r\n", chunk.len()).as_bytes());
        client.raw(chunk);
        client.raw(b"\r\n");
    }
    client.answer().assert_refused(413, &["102400 bytes"]);
    // Just small enough.
    server
        .post("", &large[..100 << 10])
        .assert_refused(400, &["decode"]);
    server.assert_well();
}

#[test]
fn more_pixels_than_are_accepted_are_413() {
    let server = Server::start(&[]);
    let mut bmp = Vec::new();
    two_squares()
        .write_to(&mut Cursor::new(&mut bmp), ImageFormat::Bmp)
        .unwrap();
    bmp[18..22].copy_from_slice(&40_000u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&40_000u32.to_le_bytes());
    server
        .post("", &bmp)
        .assert_refused(413, &["40000 x 40000", "25000000 pixels", "--max-pixels"]);

    let server = Server::start(&["--max-pixels", "16384"]);
    // Few bytes in the file, hundreds of times as many in memory.
    let deep = image::ImageBuffer::<image::Rgba<u16>, _>::new(16_385, 1);
    let mut flat = Vec::new();
    image::DynamicImage::from(deep)
        .write_to(&mut Cursor::new(&mut flat), ImageFormat::Png)
        .unwrap();
    server
        .post("", &flat)
        .assert_refused(413, &["16385 x 1", "16384 pixels", "--max-pixels"]);
    // 128 x 128, just few enough.
    server.assert_well();
}

#[test]
fn a_picture_that_its_decoder_panics_about_is_400() {
    let server = Server::start(&["--threads", "1"]);
    server
        .post("", &half_a_colour())
        .assert_refused(400, &["the palette of the PNG", "send a whole JPEG"]);
    server.assert_well();
}

#[test]
fn a_drawn_picture_that_no_jpeg_holds_is_413_and_png_holds_it() {
    let server = Server::start(&[]);
    let strip = png(&RgbImage::new(65_536, 2));
    server
        .post("?draw=1", &strip)
        .assert_refused(413, &["65536 x 2 pixels", "Accept: image/png"]);
    let head = format!("{}\r\nAccept: image/png", post("?draw=1", strip.len()));
    let answer = server.ask(&head, &strip);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let drawn = image::load_from_memory(&answer.body).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (65_536, 2));
}

#[test]
fn a_slow_body_is_408_and_a_slow_head_is_cut_off() {
    let server = Server::start(&["--timeout", "1"]);
    let file = png(&two_squares());
    let mut slow_body = server.connect();
    slow_body.send(&post("", file.len()), &file[..10]);
    let mut slow_head = server.connect();
    slow_head.raw(b"POST /detect HTTP/1.1\r\nContent-Ty");
    let mut silent = server.connect();
    // One that has had an answer and asks no more.
    let mut idle = server.connect();
    idle.send(&post("", file.len()), &file);
    assert_found(&idle.answer());

    let answer = slow_body.answer();
    answer.assert_refused(408, &["after 1 s", "--timeout"]);
    assert!(slow_body.is_cut_off());
    assert!(slow_head.is_cut_off());
    assert!(silent.is_cut_off());
    assert!(idle.is_cut_off());
    server.assert_well();
}

#[test]
fn who_trickles_is_cut_off_however_steadily() {
    let server = Server::start(&["--timeout", "1"]);
    let mut body = server.connect();
    body.send(&post("", 1_000_000), b"");
    let mut head = server.connect();
    let start = Instant::now();
    let (mut body_goes_on, mut head_goes_on) = (true, true);
    while body_goes_on || head_goes_on {
        assert!(
            start.elapsed() < FOREVER,
            "body {body_goes_on}, head {head_goes_on}"
        );
        body_goes_on = body_goes_on && body.raw(b"x");
        head_goes_on = head_goes_on && head.raw(b"GET / HTTP/1.1\r\n"[..1].as_ref());
        std::thread::sleep(Duration::from_millis(50));
    }
    server.assert_well();
}
