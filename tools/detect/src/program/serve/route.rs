//! From a request to its response.

use std::convert::Infallible;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, CONNECTION, CONTENT_TYPE};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use intertwine_detect::{Class, ModelCard};
use serde::Serialize;
use tokio::sync::{oneshot, Semaphore};

use super::fault::Fault;
use super::look::Look;
use super::metrics::{Gauges, Metrics};
use super::pool::Pool;
use super::query::Wish;
use super::upload::{Arriving, Limits};
use super::{answer, multipart, page};

/// The field of a form that holds the picture.
const FIELD: &str = "picture";

/// Everything that requests share.
pub struct Server {
    /// Name of the model's file.
    pub model: String,
    /// What the model says about itself.
    pub card: ModelCard,
    /// Lowest score of a result, where a request names none.
    pub score: f32,
    /// What bodies are accepted.
    pub limits: Limits,
    /// A permit for each further connection.
    pub connections: Arc<Semaphore>,
    /// Most connections.
    pub most_connections: usize,
    /// Where pictures are looked at.
    pub pool: Pool<Look>,
    /// What happened so far.
    pub metrics: Arc<Metrics>,
    /// When the server started.
    pub start: Instant,
}

/// Where a request goes.
#[derive(Clone, Copy)]
enum Path {
    Page,
    Detect,
    Health,
    Metrics,
    Unknown,
}

impl Path {
    fn of(path: &str) -> Self {
        match path {
            "/" => Self::Page,
            "/detect" => Self::Detect,
            "/health" => Self::Health,
            "/metrics" => Self::Metrics,
            _ => Self::Unknown,
        }
    }

    /// As it is counted. Paths that do not exist are counted as one: their number is the clients' to choose.
    fn name(self) -> &'static str {
        match self {
            Self::Page => "/",
            Self::Detect => "/detect",
            Self::Health => "/health",
            Self::Metrics => "/metrics",
            Self::Unknown => "other",
        }
    }

    /// As `Allow` lists them.
    fn methods(self) -> &'static str {
        match self {
            Self::Detect => "POST",
            _ => "GET, HEAD",
        }
    }
}

/// Answers a request, whatever it is.
pub async fn answer(
    request: Request<Incoming>,
    server: Arc<Server>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let start = Instant::now();
    let pending = Pending(&server.metrics);
    let (head, body) = request.into_parts();
    let mut body = Arriving::new(body);
    let path = Path::of(head.uri.path());
    let result = respond(path, &head, &mut body, &server).await;
    let mut response = result.unwrap_or_else(|fault| fault.response());
    if !body.ended() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
        // Who was too slow has had its time.
        if response.status() != StatusCode::REQUEST_TIMEOUT {
            tokio::spawn(body.discard());
        }
    }
    pending.answered();
    server.metrics.answered(path.name(), response.status());
    if matches!(path, Path::Detect) && response.status().is_success() {
        server.metrics.total.observe(start.elapsed());
    }
    Ok(response)
}

/// A request that counts as abandoned if it is dropped before it is answered, which is what happens to it when
/// its client goes away.
struct Pending<'a>(&'a Metrics);

impl Pending<'_> {
    fn answered(self) {
        std::mem::forget(self);
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.abandoned.fetch_add(1, Relaxed);
    }
}

async fn respond(
    path: Path,
    head: &Parts,
    body: &mut Arriving,
    server: &Server,
) -> Result<Response<Full<Bytes>>, Fault> {
    let known = match path {
        Path::Unknown => true,
        Path::Detect => head.method == Method::POST,
        _ => head.method == Method::GET || head.method == Method::HEAD,
    };
    if !known {
        return Err(Fault::Method {
            path: path.name(),
            allowed: path.methods(),
            found: head.method.as_str().chars().take(20).collect(),
        });
    }
    match path {
        Path::Page => page::response(),
        Path::Health => Ok(health(server)),
        Path::Metrics => Ok(metrics(server)),
        Path::Detect => detect(head, body, server).await,
        Path::Unknown => Err(Fault::Path(head.uri.path().chars().take(100).collect())),
    }
}

/// `POST /detect`. What can be refused on the head's word is refused before the body is read.
async fn detect(
    head: &Parts,
    body: &mut Arriving,
    server: &Server,
) -> Result<Response<Full<Bytes>>, Fault> {
    let wish = Wish::of(head)?;
    let kind = match head.headers.get(CONTENT_TYPE) {
        Some(value) => String::from_utf8_lossy(value.as_bytes()),
        None => "missing".into(),
    };
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    let is_form = essence == "multipart/form-data";
    if !is_form && !essence.starts_with("image/") {
        return Err(Fault::Type(kind.chars().take(100).collect()));
    }
    let full = || {
        server.metrics.full_queue.fetch_add(1, Relaxed);
        Fault::Queue(server.pool.capacity())
    };
    if server.pool.is_full() {
        return Err(full());
    }
    let upload = body.read(&server.limits).await;
    if matches!(upload, Err(Fault::Memory)) {
        server.metrics.full_memory.fetch_add(1, Relaxed);
    }
    let mut picture = upload?;
    if is_form {
        let field = multipart::field(&kind, &picture.bytes, FIELD)?;
        picture = picture.with(field);
    }
    let (reply, answer) = oneshot::channel();
    let look = Look {
        picture,
        wish,
        reply,
    };
    server.pool.push(look).map_err(|_| full())?;
    answer.await.unwrap_or_else(|_| {
        // A worker drops its job without a word only when it panics; the panic itself was printed.
        let what = "an internal error, which the server's terminal shows".into();
        Err(Fault::Detect(what))
    })
}

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    version: &'static str,
    model: &'a str,
    /// Side of the network's square input, pixels.
    input_size: u32,
    masks: bool,
    classes: &'a [Class],
    /// Lowest score of a result, where a request names none.
    score: f32,
    workers: usize,
    uptime_s: f64,
}

fn health(server: &Server) -> Response<Full<Bytes>> {
    answer::json(&Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        model: &server.model,
        input_size: server.card.input_size,
        masks: server.card.masks.is_some(),
        classes: &server.card.classes,
        score: server.score,
        workers: server.pool.threads(),
        uptime_s: server.start.elapsed().as_secs_f64(),
    })
}

fn metrics(server: &Server) -> Response<Full<Bytes>> {
    let page = server.metrics.page(&Gauges {
        queue: server.pool.waiting(),
        connections: server.most_connections - server.connections.available_permits(),
        uploads: server.limits.most_memory - server.limits.memory.available_permits(),
        uptime: server.start.elapsed(),
    });
    answer::typed("text/plain; version=0.0.4; charset=utf-8", page)
}
