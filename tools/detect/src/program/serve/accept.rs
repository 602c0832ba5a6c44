//! Connections: taken up to a number, ended when they are too slow, and finished before the server ends.

use std::convert::Infallible;
use std::future::{poll_fn, Future};
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_io_timeout::TimeoutStream;

use super::route::{answer, Server};
use crate::program::complain;

/// Most bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;
/// Bytes read at once, of a body too.
const BUFFER_BYTES: usize = 64 << 10;
/// How long nothing is accepted after that has failed, as it does when the process has no file handle left.
const PAUSE: Duration = Duration::from_millis(100);
/// Said to a connection too many.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: application/json\r\ncontent-length: 61\r\n\r\n\
    {\"error\":\"too many open connections; try again in a second\"}\n";

/// Serves connections until `stop`, then finishes what they have begun: no longer than a client may take to
/// send its request or read its answer.
pub async fn until(listener: TcpListener, server: Arc<Server>, stop: &Notify) {
    let patience = server.limits.patience;
    let graceful = GracefulShutdown::new();
    {
        let mut accepting = pin!(accept(&listener, server, &graceful));
        let mut stopping = pin!(stop.notified());
        poll_fn(|context| {
            let Poll::Pending = accepting.as_mut().poll(context);
            stopping.as_mut().poll(context)
        })
        .await;
    }
    drop(listener);
    if tokio::time::timeout(patience, graceful.shutdown())
        .await
        .is_err()
    {
        let seconds = patience.as_secs_f64();
        complain(format_args!(
            "connections that were still open after {seconds} s were cut off"
        ));
    }
}

/// Accepts connections and never ends.
async fn accept(
    listener: &TcpListener,
    server: Arc<Server>,
    graceful: &GracefulShutdown,
) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match server.connections.clone().try_acquire_owned() {
                Ok(place) => {
                    tokio::spawn(serve(stream, place, server.clone(), graceful.watcher()));
                }
                Err(_) => {
                    server.metrics.full_connections.fetch_add(1, Relaxed);
                    refuse(&stream);
                }
            },
            // The client went away before its turn.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => {
                complain(format_args!("cannot accept a connection: {error}"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end.
async fn serve(
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
    server: Arc<Server>,
    watcher: Watcher,
) {
    // Answers are whole when they are sent, so there is nothing to wait for.
    let _ = stream.set_nodelay(true);
    let patience = server.limits.patience;
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience));
    let service = service_fn(|request| answer(request, server.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    if watcher.watch(connection).await.is_err() {
        server.metrics.broken.fetch_add(1, Relaxed);
    }
}

/// Says no in a few bytes that fit into any socket's buffer, without waiting for anything.
fn refuse(stream: &TcpStream) {
    // What was sent already is taken first: closing a socket with unread bytes may take back the answer.
    let _ = stream.try_read(&mut [0; 4096]);
    let _ = stream.try_write(TOO_MANY);
}
