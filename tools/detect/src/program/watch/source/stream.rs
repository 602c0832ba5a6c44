//! A stream of JPEG pictures over HTTP, as network cameras send it ("MJPEG"), connected to again when it ends.

use std::time::Duration;

use anyhow::{bail, Context, Result};
use intertwine_flow::Pool;

use super::parts::{boundary, Parts};
use super::persistent::Attempt;
use super::{Frame, Pixels};
use crate::program::watch::http::{AnswerBody, Url};

/// The pictures of a stream. They are read as they come and decoded only when they are looked at.
pub struct Stream {
    url: Url,
    /// The longest that nothing may come.
    timeout: Duration,
    /// The most bytes of a picture.
    max_part: usize,
    parts: Option<Parts<AnswerBody>>,
    number: u64,
    buffers: Pool<Vec<u8>>,
}

impl Stream {
    /// Connects when the first frame is asked for.
    pub fn new(url: Url, timeout: Duration, max_part: usize) -> Self {
        Self {
            url,
            timeout,
            max_part,
            parts: None,
            number: 0,
            buffers: Pool::default(),
        }
    }
}

impl Attempt for Stream {
    fn attempt(&mut self) -> Result<Option<Frame>> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert(connect(&self.url, self.timeout, self.max_part)?),
        };
        let mut bytes = self.buffers.take();
        if !parts.next(&mut bytes)? {
            bail!("the stream has ended");
        }
        self.number += 1;
        Ok(Some(Frame::now(self.number, Pixels::Encoded(bytes))))
    }

    fn disconnect(&mut self) {
        self.parts = None;
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
