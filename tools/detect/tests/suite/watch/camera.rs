//! A camera, played here, and a receiver of results.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use image::codecs::jpeg::JpegEncoder;

use super::{both, pipe, said, tracks, Running};

/// A camera.
struct Camera {
    listener: TcpListener,
    url: String,
}

impl Camera {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "http://me:secret@{}/video?fps=5",
            listener.local_addr().unwrap()
        );
        Self { listener, url }
    }

    /// Accepts the next connection, reads its request and sends the head of the answer.
    fn accept(&self, headers: &str) -> TcpStream {
        let (mut connection, _) = self.listener.accept().unwrap();
        let mut request = Vec::new();
        let mut reader = BufReader::new(connection.try_clone().unwrap());
        while !request.ends_with(b"\r\n\r\n") {
            assert!(reader.read_until(b'\n', &mut request).unwrap() > 0);
        }
        let request = String::from_utf8(request).unwrap();
        assert!(
            request.starts_with("GET /video?fps=5 HTTP/1.1\r\n"),
            "{request}"
        );
        // base64 of me:secret.
        assert!(
            request.contains("Authorization: Basic bWU6c2VjcmV0\r\n"),
            "{request}"
        );
        write!(connection, "HTTP/1.1 200 OK\r\n{headers}\r\n").unwrap();
        connection
    }
}

const PARTS: &str = "Content-Type: multipart/x-mixed-replace; boundary=frame\r\n";

fn jpeg() -> Vec<u8> {
    let mut bytes = Vec::new();
    both()
        .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 95))
        .unwrap();
    bytes
}

fn part(content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    [head.as_bytes(), content, b"\r\n"].concat()
}

#[test]
fn a_stream_goes_on_after_damage_floods_and_broken_connections() {
    let camera = Camera::new();
    let jpeg = jpeg();
    let mut running = Running::start(&[&camera.url, "--frames", "7", "--max-part", "1"]);

    let mut connection = camera.accept(PARTS);
    connection.write_all(&part(&jpeg)).unwrap();
    let first = running.line();
    assert_eq!(tracks(&first).len(), 2);
    assert_eq!(first["source"], camera.url.replace("me:secret@", ""));
    // A damaged picture.
    connection.write_all(&part(&jpeg[..40])).unwrap();
    assert!(running.line()["error"].is_string());
    // One without a length, which ends with the boundary of the next.
    connection
        .write_all(&[b"--frame\r\n\r\n", &jpeg[..], b"\r\n--frame\r\n"].concat())
        .unwrap();
    assert_eq!(tracks(&running.line()), tracks(&first));
    // The connection breaks within a picture.
    connection
        .write_all(b"Content-Length: 5000\r\n\r\nhalf")
        .unwrap();
    drop(connection);

    // In chunks, cut anywhere.
    let mut connection = camera.accept(&format!("{PARTS}Transfer-Encoding: chunked\r\n"));
    for piece in part(&jpeg).chunks(700) {
        write!(connection, "{:x}\r\n", piece.len()).unwrap();
        connection.write_all(&[piece, b"\r\n"].concat()).unwrap();
    }
    assert_eq!(tracks(&running.line()), tracks(&first));
    drop(connection);

    // A picture that never ends: the other side hangs up.
    let mut connection = camera.accept(PARTS);
    connection.write_all(&part(&jpeg)).unwrap();
    assert_eq!(tracks(&running.line()), tracks(&first));
    connection.write_all(b"--frame\r\n\r\n").unwrap();
    while connection.write_all(&[0xff; 65536]).is_ok() {}

    // What is no stream of parts.
    let mut connection = camera.accept("Content-Type: text/html\r\n");
    let _ = connection.write_all(b"<html>");
    drop(connection);

    let mut connection = camera.accept(PARTS);
    connection.write_all(&part(&jpeg)).unwrap();
    assert_eq!(running.line()["frame"], 6);
    connection.write_all(&part(&jpeg)).unwrap();
    assert_eq!(tracks(&running.line()), tracks(&first));
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    for expected in [
        "the stream ends within a picture; trying again in 0.25 s",
        "more than 1048576 bytes",
        "the content type is `text/html`",
        "6 frames, 0 dropped, 1 failed",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn a_silent_or_absent_camera_is_given_up_only_if_asked_to() {
    let camera = Camera::new();
    let running = Running::start(&[&camera.url, "--retries", "1", "--timeout", "0.2"]);
    let silent = camera.accept(PARTS);
    let address = camera.listener.local_addr().unwrap();
    drop(camera);
    let (code, said) = running.end();
    drop(silent);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("nothing came for 0.2 s; trying again"),
        "{said}"
    );
    assert!(
        said.contains(&format!(
            "error: http://{address}/video?fps=5: cannot connect"
        )),
        "{said}"
    );
}

#[test]
fn every_line_is_posted_and_a_receiver_that_refuses_is_told_of_once() {
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/frames", receiver.local_addr().unwrap());
    let frames = 4;
    let posted = std::thread::spawn(move || {
        let answers = ["200 OK", "503 Busy", "503 Busy", "204 No Content"];
        answers.map(|answer| {
            let (mut connection, _) = receiver.accept().unwrap();
            let mut reader = BufReader::new(connection.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.strip_prefix("Content-Length: ") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            write!(connection, "HTTP/1.1 {answer}\r\n\r\n").unwrap();
            body
        })
    });
    let args = ["-", "--size", "128x128", "--post", &url];
    let output = pipe(&args, &both().into_raw().repeat(frames));
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(posted.join().unwrap().concat(), output.stdout);
    let said = said(&output);
    assert!(
        said.contains("posted: 2 lines, 2 failed, 0 dropped"),
        "{said}"
    );
    assert_eq!(
        said.matches("the answer is `HTTP/1.1 503 Busy`").count(),
        1,
        "{said}"
    );
}
