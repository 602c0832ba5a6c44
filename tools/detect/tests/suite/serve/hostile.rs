//! Bytes that are no HTTP, clients that lie or leave. Whatever they do, the next one is served.

use intertwine_flow::random::{stream, Purpose};
use rand::RngExt;

use super::*;

#[test]
fn garbage_ends_its_own_connection_only() {
    let server = Server::start(&[]);
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5000));
    let long_header = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(100_000));
    let garbage: [&[u8]; 12] = [
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /detect HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /detect HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /detect HTTP/1.1\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        long_path.as_bytes(),
        many_headers.as_bytes(),
        long_header.as_bytes(),
    ];
    for bytes in garbage {
        let mut client = server.connect();
        client.raw(bytes);
        client.shutdown(Shutdown::Write);
        let answer = client.try_answer();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
        assert!(answer.is_none_or(|answer| answer.status >= 400), "{shown}");
    }
    server.assert_well();
}

#[test]
fn a_length_that_is_not_true_harms_nobody_else() {
    let server = Server::start(&[]);
    let file = png(&two_squares());
    // Less comes than was said.
    let mut client = server.connect();
    client.send(&post("", file.len() + 1), &file);
    client.shutdown(Shutdown::Write);
    assert!(client
        .try_answer()
        .is_none_or(|answer| answer.status == 400));
    // More comes than was said: half a picture, and then what is no request.
    let mut client = server.connect();
    client.send(&post("", file.len() / 2), &file);
    client.answer().assert_refused(400, &["cannot decode"]);
    assert!(client
        .try_answer()
        .is_none_or(|answer| answer.status == 400));
    // A whole picture, and then another request, is two requests.
    let mut client = server.connect();
    client.send(&post("", file.len()), &file);
    client.send("GET /health HTTP/1.1", b"");
    assert_found(&client.answer());
    assert_eq!(client.answer().json()["status"], "ok");
    server.assert_well();
}

#[test]
fn hundreds_of_damaged_requests_leave_the_server_as_it_was() {
    let server = Server::start(&["--timeout", "2"]);
    let requests = requests();
    for round in 0..300 {
        damaged(&server, &requests, round);
    }
    assert_well_after_work(&server);
}

/// `INTERTWINE_MINUTES=10 cargo test -p intertwine-detect damaged -- --ignored --nocapture`
#[test]
#[ignore = "minutes"]
fn damaged_requests_for_minutes_leave_the_server_as_it_was() {
    let minutes = std::env::var("INTERTWINE_MINUTES").map_or(1.0, |n| n.parse().unwrap());
    let (start, limit) = (Instant::now(), Duration::from_secs_f64(60.0 * minutes));
    let server = Server::start(&["--timeout", "2"]);
    let requests = requests();
    let mut round = 300;
    while start.elapsed() < limit {
        damaged(&server, &requests, round);
        if round.is_multiple_of(1000) {
            assert_well_after_work(&server);
        }
        round += 1;
    }
    assert_well_after_work(&server);
    println!("{} damaged requests", round - 300);
}

/// What came in has to be looked at first: a full queue refuses.
fn assert_well_after_work(server: &Server) {
    server.wait_until("the queue is empty", |server| {
        server.metric("detect_queue_length") == Some(0.0)
    });
    server.assert_well();
}

/// Sound requests: a picture as it is, in formats that are decoded by different code, and one in a form.
fn requests() -> Vec<Vec<u8>> {
    let picture = two_squares();
    let mut requests = Vec::new();
    let head =
        |query, length| format!("{}\r\nHost: test\r\n\r\n", post(query, length)).into_bytes();
    for format in [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Gif,
    ] {
        let file = encoded(&picture, format);
        requests.push([head("?draw=1", file.len()), file].concat());
    }
    let form = [
        b"--xyz\r\nContent-Disposition: form-data; name=\"picture\"; filename=\"a.png\"\r\n\r\n"
            .to_vec(),
        png(&picture),
        b"\r\n--xyz--\r\n".to_vec(),
    ]
    .concat();
    let head = format!(
        "POST /detect HTTP/1.1\r\nHost: test\r\nContent-Type: multipart/form-data; boundary=xyz\r\nContent-Length: {}\r\n\r\n",
        form.len()
    );
    requests.push([head.into_bytes(), form].concat());
    requests
}

/// Sends a request with some bits and bytes changed, cut somewhere or not, and leaves in one of several ways.
fn damaged(server: &Server, requests: &[Vec<u8>], round: u64) {
    let mut random = stream(7, Purpose::Probe, 0, round);
    let mut bytes = requests[random.random_range(0..requests.len())].clone();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..4) {
            0 => bytes[at] = random.random(),
            1 => {
                // A part comes twice.
                let end = (at + random.random_range(1..40)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => bytes[at] ^= 1 << random.random_range(0..8),
        }
    }
    if random.random() {
        bytes.truncate(random.random_range(1..=bytes.len()));
    }
    let mut client = server.connect();
    client.raw(&bytes);
    match round % 3 {
        0 => drop(client),
        1 => client.shutdown(Shutdown::Both),
        _ => {
            client.shutdown(Shutdown::Write);
            let _ = client.try_answer();
        }
    }
}

#[test]
fn a_client_that_hangs_up_does_not_end_the_server() {
    let server = Server::start(&["--threads", "1"]);
    // Answers of megabytes, to sockets that are gone.
    let file = noise(2000);
    for _ in 0..2 {
        let mut client = server.connect();
        client.send(
            &format!("{}\r\nAccept: image/png", post("", file.len())),
            &file,
        );
        let mut first = [0; 1];
        client.0.read_exact(&mut first).unwrap();
    }
    server.assert_well();
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let server = Server::start(&["--timeout", "1"]);
    let file = noise(1000);
    let mut client = server.connect();
    // Answers of megabytes, none of them read: the sockets' buffers fill up.
    let _ = client
        .0
        .get_ref()
        .set_write_timeout(Some(Duration::from_secs(5)));
    let request = format!(
        "{}\r\nAccept: image/png\r\nHost: x\r\n\r\n",
        post("", file.len())
    );
    let request = [request.as_bytes(), &file].concat();
    while client.raw(&request) {}
    server.wait_until("the connection is cut off", |server| {
        server.metric("detect_open_connections") == Some(1.0)
    });
    assert_eq!(server.metric("detect_broken_connections_total"), Some(1.0));
    server.assert_well();
}

/// A picture file that does not compress, and neither does its drawn copy.
fn noise(side: u32) -> Vec<u8> {
    png(&RgbImage::from_fn(side, side, |x, y| {
        let bits = (x * 7919 + y * 104_729).wrapping_mul(2_654_435_761);
        image::Rgb([bits as u8, (bits >> 8) as u8, (bits >> 16) as u8])
    }))
}
