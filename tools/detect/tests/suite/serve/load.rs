//! Too much at once, and the end.

use std::thread;

use prost::Message;
use tract_onnx::pb;

use super::*;

#[test]
fn a_full_queue_is_503_at_once() {
    let server = Server::start(&["--threads", "1", "--queue", "1"]);
    let file = heavy();
    let mut clients: Vec<Client> = (0..6).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(&post("", file.len()), &file);
    }
    let answers: Vec<Answer> = clients.iter_mut().map(Client::answer).collect();
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    let refused: Vec<&Answer> = answers
        .iter()
        .filter(|answer| answer.status != 200)
        .collect();
    assert!(served >= 1 && !refused.is_empty(), "{served} of 6 served");
    for answer in &refused {
        answer.assert_refused(503, &["the queue is full (1 waiting)", "try again"]);
        assert_eq!(answer.headers["retry-after"], "1");
    }
    let counted = server.metric("detect_rejected_total{reason=\"queue\"}");
    assert_eq!(counted, Some(refused.len() as f64));
    server.assert_well();
}

#[test]
fn a_queue_without_an_end_costs_nothing_before_it_fills() {
    Server::start(&["--queue", &usize::MAX.to_string()]).assert_well();
}

#[test]
fn more_threads_than_any_machine_has_cores_are_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_detect"))
        .args(["serve", "--model", "m.onnx", "--threads"])
        .arg(usize::MAX.to_string())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("from 1 to 1024"), "{told}");
}

#[test]
fn those_who_left_give_up_their_places() {
    let server = Server::start(&["--threads", "1", "--queue", "3"]);
    let file = heavy();
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(&post("", file.len()), &file);
    }
    drop(clients);
    // The first may have been answered before its client left.
    let answered = "detect_requests_total{path=\"/detect\",status=\"200\"}";
    server.wait_until("all four have left or been answered", |server| {
        let answered = server.metric(answered).unwrap_or(0.0);
        server.metric("detect_abandoned_total") == Some(4.0 - answered)
    });
    server.assert_well();
    // That was one picture; of the four not all were looked at.
    assert!(server.metric("detect_pictures_total") < Some(5.0));
}

#[test]
fn a_connection_too_many_is_503() {
    let server = Server::start(&["--connections", "2", "--timeout", "20"]);
    let mut first = server.connect();
    let mut second = server.connect();
    // Answered, so taken.
    for client in [&mut first, &mut second] {
        client.send("GET /health HTTP/1.1", b"");
        assert_eq!(client.answer().status, 200);
    }
    let mut third = server.connect();
    third
        .answer()
        .assert_refused(503, &["too many open connections"]);
    assert!(third.is_cut_off());
    drop(first);
    server.wait_until("there is room again", |server| {
        let mut client = server.connect();
        client.send("GET /health HTTP/1.1", b"");
        client
            .try_answer()
            .is_some_and(|answer| answer.status == 200)
    });
    drop(second);
    server.wait_until("the refusal is counted", |server| {
        server.metric("detect_rejected_total{reason=\"connections\"}") >= Some(1.0)
    });
}

#[test]
fn bodies_together_have_a_limit() {
    // Room for two bodies of a megabyte: one thread, one place in the queue.
    let server = Server::start(&["--threads", "1", "--queue", "1", "--max-bytes", "1M"]);
    let large = vec![0; 1 << 20];
    let mut held: Vec<Client> = (0..2).map(|_| server.connect()).collect();
    for client in &mut held {
        client.send(&post("", large.len()), &large[1..]);
    }
    let most = 2.0 * (large.len() - 1) as f64;
    server.wait_until("the memory is taken", |server| {
        server.metric("detect_upload_bytes") == Some(most)
    });
    server
        .post("", &large[..1000])
        .assert_refused(503, &["all the memory", "try again"]);
    let refused = server.metric("detect_rejected_total{reason=\"memory\"}");
    assert_eq!(refused, Some(1.0));
    for client in &mut held {
        client.raw(&[0]);
        client.answer().assert_refused(400, &["cannot decode"]);
    }
    assert_eq!(server.metric("detect_upload_bytes"), Some(0.0));
    server.assert_well();
}

#[test]
fn many_at_once_are_all_answered_rightly() {
    let server = Server::start(&["--threads", "2", "--queue", "64"]);
    let file = png(&two_squares());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = server.connect();
                for _ in 0..20 {
                    client.send(&post("", file.len()), &file);
                    assert_found(&client.answer());
                }
            });
        }
    });
    assert_eq!(server.metric("detect_pictures_total"), Some(160.0));
}

#[test]
fn a_failure_of_the_model_is_500_and_the_next_picture_is_served() {
    // Coefficients are read from a table at a place that follows from the strongest score: 0 on grey pictures, far
    // outside on those with a square.
    let to_integers = pb::AttributeProto {
        name: "to".into(),
        r#type: pb::attribute_proto::AttributeType::Int as i32,
        i: pb::tensor_proto::DataType::Int64 as i64,
        ..Default::default()
    };
    let mut proto = squares::proto();
    let graph = proto.graph.as_mut().unwrap();
    let node = graph
        .node
        .iter_mut()
        .find(|node| node.output == ["coefficients"]);
    *node.unwrap() = squares::node("Gather", &["table", "place"], "coefficients", vec![]);
    graph.node.extend([
        squares::node("ReduceMax", &["scores"], "strongest", vec![]),
        squares::node("Reshape", &["strongest", "one"], "strength", vec![]),
        squares::node("Mul", &["strength", "thousand"], "far", vec![]),
        squares::node("Cast", &["far"], "place", vec![to_integers]),
    ]);
    graph.initializer.extend([
        squares::floats("table", &[2, 64, 2], &[1.0; 256]),
        squares::floats("thousand", &[1], &[1000.0]),
        squares::integers("one", &[1]),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("fails.onnx");
    std::fs::write(&model, proto.encode_to_vec()).unwrap();
    let server = Server::with_model(model.to_str().unwrap(), &["--threads", "1"]);
    let grey = png(&squares::picture(128, 128, &[]));
    let fatal = png(&two_squares());
    for _ in 0..3 {
        server
            .post("", &fatal)
            .assert_refused(500, &["could not be looked at"]);
        assert_eq!(server.post("", &grey).status, 200);
    }
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn the_end_waits_for_what_was_begun() {
    let server = Server::start(&[]);
    let file = png(&two_squares());
    let mut idle = server.connect();
    idle.send("GET /health HTTP/1.1", b"");
    assert_eq!(idle.answer().status, 200);
    let mut client = server.connect();
    // Waits for the server's word, so that the request is surely begun.
    client.send(
        &format!("{}\r\nExpect: 100-continue", post("", file.len())),
        b"",
    );
    assert_eq!(client.answer().status, 100);
    server.ask_to_stop();
    server.wait_until("nobody else is let in", |server| {
        TcpStream::connect(&server.address).is_err()
    });
    assert!(idle.is_cut_off());
    client.raw(&file);
    assert_found(&client.answer());
    let (status, printed) = server.end();
    assert_eq!(status.code(), Some(0));
    assert!(printed.ends_with("stopped\n"), "{printed}");
}

#[test]
fn an_address_that_is_taken_is_an_error_with_a_remedy() {
    let server = Server::start(&[]);
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/squares.onnx");
    for address in [server.address.as_str(), "nowhere", "127.0.0.1:99999"] {
        let output = Command::new(env!("CARGO_BIN_EXE_detect"))
            .args(["serve", "--model", model, "--listen", address])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        for part in [address, "--listen"] {
            assert!(error.contains(part), "`{part}` is missing in: {error}");
        }
    }
}
