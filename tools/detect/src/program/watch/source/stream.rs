//! A stream of JPEG pictures over HTTP, as network cameras send it ("MJPEG"), connected to again when it ends.

use std::time::Duration;

use anyhow::{bail, Context, Result};
use intertwine_flow::Pool;

use super::failures::Failures;
use super::parts::{boundary, Parts};
use super::{Frame, Patience, Pixels, Source};
use crate::program::watch::http::{AnswerBody, Url};

/// The pictures of a stream. They are read as they come and decoded only when they are looked at.
pub struct Stream {
    url: Url,
    patience: Patience,
    /// The most bytes of a picture.
    max_part: usize,
    parts: Option<Parts<AnswerBody>>,
    failures: Failures,
    number: u64,
    buffers: Pool<Vec<u8>>,
}

impl Stream {
    /// Connects when the first frame is asked for.
    pub fn new(url: Url, patience: Patience, max_part: usize) -> Self {
        Self {
            failures: Failures::new(url.to_string(), patience.retries),
            url,
            patience,
            max_part,
            parts: None,
            number: 0,
            buffers: Pool::default(),
        }
    }

    /// The next picture of the connection, which is made if there is none.
    fn attempt(&mut self) -> Result<Frame> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert(connect(&self.url, self.patience.timeout, self.max_part)?),
        };
        let mut bytes = self.buffers.take();
        if !parts.next(&mut bytes)? {
            bail!("the stream has ended");
        }
        self.number += 1;
        Ok(Frame::now(self.number, Pixels::Encoded(bytes)))
    }
}

fn connect(url: &Url, timeout: Duration, max_part: usize) -> Result<Parts<AnswerBody>> {
    let answer = url.get(timeout)?;
    let kind = answer.header("content-type").unwrap_or("(none)");
    let boundary = boundary(kind).with_context(|| {
        format!("the content type is `{kind}`, expected multipart/x-mixed-replace with a boundary")
    })?;
    let boundary = boundary.to_owned();
    Ok(Parts::new(answer.body, &boundary, max_part))
}

impl Source for Stream {
    fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            match self.attempt() {
                Ok(frame) => {
                    self.failures.forget();
                    return Ok(Some(frame));
                }
                Err(error) => {
                    // Whatever went wrong, a new connection begins at a boundary.
                    self.parts = None;
                    self.failures.wait_after(error)?;
                }
            }
        }
    }
}
