//! The body of a request: read in good time, within its size, and within the memory there is for all of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{timeout, timeout_at, Instant};

use super::fault::Fault;

/// How long the rest of a body is still taken, and thrown away, after its request has been answered. A client
/// that is still sending would otherwise see a broken connection in place of the answer.
const LINGER: Duration = Duration::from_secs(2);

/// What is accepted.
pub struct Limits {
    /// Most bytes of a body.
    pub bytes: usize,
    /// Longest time a body may take to arrive.
    pub patience: Duration,
    /// A permit for each byte more that may be held, of all bodies together.
    pub memory: Arc<Semaphore>,
    /// Its permits while nothing is held.
    pub most_memory: usize,
}

/// A body in memory, and its share of the memory there is for bodies.
#[derive(Debug)]
pub struct Upload {
    /// The content.
    pub bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

impl Upload {
    /// A part of it in its place. The share stays that of the whole, as does the memory.
    pub fn with(self, bytes: Bytes) -> Self {
        Self { bytes, ..self }
    }
}

/// A body on its way.
pub struct Arriving {
    body: Incoming,
    ended: bool,
}

impl Arriving {
    /// A body of which nothing has been read.
    pub fn new(body: Incoming) -> Self {
        let ended = body.is_end_stream();
        Self { body, ended }
    }

    /// Whether all of it was read.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Reads it to its end.
    ///
    /// # Errors
    /// A body that is too large (by its own word, or once it is), too slow, broken, or one too many.
    pub async fn read(&mut self, limits: &Limits) -> Result<Upload, Fault> {
        if self.body.size_hint().lower() > limits.bytes as u64 {
            return Err(Fault::Size(limits.bytes));
        }
        let deadline = Instant::now() + limits.patience;
        let mut bytes = Vec::new();
        let mut share: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = timeout_at(deadline, self.body.frame())
            .await
            .map_err(|_| Fault::Slow(limits.patience))?
        {
            let Ok(data) = frame.map_err(Fault::Body)?.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > limits.bytes {
                return Err(Fault::Size(limits.bytes));
            }
            // A frame is at most the connection's buffer, so its length fits.
            let permits = u32::try_from(data.len()).map_err(|_| Fault::Size(limits.bytes))?;
            let more = limits.memory.clone().try_acquire_many_owned(permits);
            let more = more.map_err(|_| Fault::Memory)?;
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        self.ended = true;
        Ok(Upload {
            bytes: bytes.into(),
            _share: share,
        })
    }

    /// Takes the rest and throws it away.
    pub async fn discard(mut self) {
        let rest = async { while let Some(Ok(_)) = self.body.frame().await {} };
        let _ = timeout(LINGER, rest).await;
    }
}
