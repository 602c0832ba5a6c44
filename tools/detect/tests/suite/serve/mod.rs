//! `detect serve`, as clients meet it: the program on a free port, requests written by hand.

mod answers;
mod browser;
mod hostile;
mod load;
mod page;
mod refusals;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use image::{ImageFormat, RgbImage};
use serde_json::Value;

use crate::squares::{self, BLACK, WHITE};

/// Longer than anything here takes, on any machine.
const FOREVER: Duration = Duration::from_secs(60);

/// A running server, ended when dropped.
pub struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    /// The model of the squares on a free port, with further arguments.
    pub fn start(args: &[&str]) -> Self {
        Self::with_model(
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/squares.onnx"),
            args,
        )
    }

    pub fn with_model(model: &str, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_detect"))
            .args(["serve", "--model", model, "--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let address = line.trim_end().rsplit_once("http://").unwrap().1.into();
        Self {
            child,
            out,
            address,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub fn connect(&self) -> Client {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(FOREVER)).unwrap();
        Client(BufReader::new(stream))
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn ask(&self, head: &str, body: &[u8]) -> Answer {
        let mut client = self.connect();
        client.send(head, body);
        client.answer()
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1"), b"")
    }

    /// A picture to `/detect`, with parameters.
    #[track_caller]
    pub fn post(&self, query: &str, picture: &[u8]) -> Answer {
        self.ask(&post(query, picture.len()), picture)
    }

    /// The server is up, and right.
    #[track_caller]
    pub fn assert_well(&self) {
        assert_eq!(self.get("/health").json()["status"], "ok");
        assert_found(&self.post("", &png(&two_squares())));
    }

    /// The value of a line of `/metrics`.
    #[track_caller]
    pub fn metric(&self, name: &str) -> Option<f64> {
        let page = self.get("/metrics").text();
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    }

    /// Asks until the answer is yes.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < FOREVER, "never: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGTERM.
    pub fn ask_to_stop(&self) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits for the end: the exit status and what was printed since the start.
    pub fn end(mut self) -> (ExitStatus, String) {
        let mut printed = String::new();
        self.out.read_to_string(&mut printed).unwrap();
        (self.child.wait().unwrap(), printed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection, read through a buffer.
pub struct Client(BufReader<TcpStream>);

impl Client {
    /// Sends no more, or neither sends nor reads any more.
    pub fn shutdown(&self, how: Shutdown) {
        // Fails where the server was faster.
        let _ = self.0.get_ref().shutdown(how);
    }

    /// A head (its first line and whatever else, without the last line ends) and a body.
    pub fn send(&mut self, head: &str, body: &[u8]) {
        self.raw(format!("{head}\r\nHost: test\r\n\r\n").as_bytes());
        self.raw(body);
    }

    /// Bytes as they are. The server may have hung up, which the answer shows.
    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.0.get_mut().write_all(bytes).is_ok()
    }

    /// The next answer.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("an answer")
    }

    /// The next answer; none if the connection ends without one.
    pub fn try_answer(&mut self) -> Option<Answer> {
        let reader = &mut self.0;
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return None,
                Ok(_) if line == "\r\n" => break,
                Ok(_) => lines.push(line.trim_end().to_owned()),
            }
        }
        let status = lines[0].split(' ').nth(1)?.parse().ok()?;
        let headers: HashMap<String, String> = lines[1..]
            .iter()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers
            .get("content-length")
            .map_or(0, |l| l.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Answer {
            status,
            headers,
            body,
        })
    }

    /// Whether the connection ended without a further word, within a time that only a defect takes.
    pub fn is_cut_off(&mut self) -> bool {
        let mut rest = Vec::new();
        let error = self.0.read_to_end(&mut rest).err();
        let late = error.is_some_and(|error| {
            use std::io::ErrorKind::{TimedOut, WouldBlock};
            matches!(error.kind(), TimedOut | WouldBlock)
        });
        rest.is_empty() && !late
    }
}

pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// It is a refusal of that status, whose sentence has these parts.
    #[track_caller]
    pub fn assert_refused(&self, status: u16, parts: &[&str]) {
        assert_eq!(self.status, status, "{}", self.text());
        let json = self.json();
        let error = json["error"].as_str().unwrap();
        for part in parts {
            assert!(error.contains(part), "`{part}` is missing in: {error}");
        }
    }
}

/// The head of a request with a PNG file of so many bytes.
pub fn post(query: &str, length: usize) -> String {
    format!("POST /detect{query} HTTP/1.1\r\nContent-Type: image/png\r\nContent-Length: {length}")
}

/// One bright square and one dark one.
pub fn two_squares() -> RgbImage {
    let squares = [([32, 64, 16, 16], WHITE), ([96, 16, 16, 16], BLACK)];
    squares::picture(128, 128, &squares)
}

/// The answer is that of [`two_squares`].
#[track_caller]
pub fn assert_found(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    let found: Vec<_> = json["detections"].as_array().unwrap().iter().collect();
    assert_eq!(found.len(), 2, "{json}");
    for (name, id, bbox) in [
        ("bright", 3, [32.0, 64.0, 16.0, 16.0]),
        ("dark", 8, [96.0, 16.0, 16.0, 16.0]),
    ] {
        let entry = found.iter().find(|entry| entry["category_name"] == name);
        let entry = entry.unwrap_or_else(|| panic!("no {name} in {json}"));
        assert_eq!(entry["category_id"], id);
        assert_eq!(entry["bbox"], serde_json::json!(bbox));
    }
}

pub fn png(picture: &RgbImage) -> Vec<u8> {
    encoded(picture, ImageFormat::Png)
}

pub fn encoded(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture
        .write_to(&mut Cursor::new(&mut bytes), format)
        .unwrap();
    bytes
}

/// A picture that keeps a worker busy for a good part of a second, in few bytes: of as many pixels as are accepted.
pub fn heavy() -> Vec<u8> {
    png(&RgbImage::from_pixel(5000, 5000, squares::GREY))
}
