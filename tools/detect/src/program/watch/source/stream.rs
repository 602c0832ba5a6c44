//! A stream of JPEG pictures over HTTP, as network cameras send it ("MJPEG"), connected to again when it ends.

use std::time::Duration;

use anyhow::{bail, Context, Result};
use intertwine_flow::Pool;

use super::parts::{boundary, Parts};
use super::{Frame, Pixels, Source};
use crate::program::watch::http::{AnswerBody, Url};

/// The pause before the first attempt to connect again; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a stream is waited for, and how much of it is held.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The longest that nothing may come.
    pub timeout: Duration,
    /// The most failures without a picture in between; none to go on for ever.
    pub retries: Option<u32>,
    /// The most bytes of a picture.
    pub max_part: usize,
}

/// The pictures of a stream. They are read as they come and decoded only when they are looked at.
pub struct Stream {
    url: Url,
    patience: Patience,
    parts: Option<Parts<AnswerBody>>,
    /// Since the last picture.
    failures: u32,
    number: u64,
    buffers: Pool<Vec<u8>>,
}

impl Stream {
    /// Connects when the first frame is asked for.
    pub fn new(url: Url, patience: Patience) -> Self {
        Self {
            url,
            patience,
            parts: None,
            failures: 0,
            number: 0,
            buffers: Pool::default(),
        }
    }

    /// The next picture of the connection, which is made if there is none.
    fn attempt(&mut self) -> Result<Frame> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert(connect(&self.url, self.patience)?),
        };
        let mut bytes = self.buffers.take();
        if !parts.next(&mut bytes)? {
            bail!("the stream has ended");
        }
        self.number += 1;
        Ok(Frame::now(self.number, Pixels::Encoded(bytes)))
    }
}

fn connect(url: &Url, patience: Patience) -> Result<Parts<AnswerBody>> {
    let answer = url.get(patience.timeout)?;
    let kind = answer.header("content-type").unwrap_or("(none)");
    let boundary = boundary(kind).with_context(|| {
        format!("the content type is `{kind}`, expected multipart/x-mixed-replace with a boundary")
    })?;
    let boundary = boundary.to_owned();
    Ok(Parts::new(answer.body, &boundary, patience.max_part))
}

impl Source for Stream {
    fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            match self.attempt() {
                Ok(frame) => {
                    self.failures = 0;
                    return Ok(Some(frame));
                }
                Err(error) => {
                    // Whatever went wrong, a new connection begins at a boundary.
                    self.parts = None;
                    if Some(self.failures) == self.patience.retries {
                        return Err(error.context(self.url.to_string()));
                    }
                    let pause = pause(self.failures);
                    self.failures = self.failures.saturating_add(1);
                    let seconds = pause.as_secs_f32();
                    eprintln!("{}: {error:#}; connecting again in {seconds} s", self.url);
                    std::thread::sleep(pause);
                }
            }
        }
    }
}

fn pause(failures: u32) -> Duration {
    let factor = 2u32.saturating_pow(failures);
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let pauses: Vec<u128> = (0..8).map(|failures| pause(failures).as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
