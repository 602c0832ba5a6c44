//! Sources that are tried again when they fail.

use std::time::Duration;

use anyhow::Result;
use intertwine_flow::Told;

use super::{Frame, Source};

/// The pause before the first attempt to connect again; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Something that can be connected to again.
pub trait Attempt: Send {
    /// Waits for the next frame, having connected if there is no connection; none after the last.
    ///
    /// # Errors
    /// What another connection may mend.
    fn attempt(&mut self) -> Result<Option<Frame>>;
    /// Gives the connection up.
    fn disconnect(&mut self);
}

/// A source that tries again.
pub struct Persistent<S> {
    source: S,
    /// As messages call it.
    name: String,
    /// The most failures without a frame in between; none to go on for ever.
    retries: Option<u32>,
    /// Since the last frame.
    failures: u32,
}

impl<S: Attempt> Persistent<S> {
    /// Tries again so often in a row; for ever without a number.
    pub fn new(source: S, name: String, retries: Option<u32>) -> Self {
        Self {
            source,
            name,
            retries,
            failures: 0,
        }
    }

    /// Tells of a failure and waits until the next attempt.
    ///
    /// # Errors
    /// The failure itself, if it was one too many.
    fn wait_after(&mut self, error: anyhow::Error) -> Result<()> {
        if Some(self.failures) == self.retries {
            return Err(error.context(self.name.clone()));
        }
        let pause = pause(self.failures);
        self.failures = self.failures.saturating_add(1);
        let seconds = pause.as_secs_f32();
        let told = Told(&*error);
        eprintln!("{}: {told}; trying again in {seconds} s", self.name);
        std::thread::sleep(pause);
        Ok(())
    }
}

impl<S: Attempt> Source for Persistent<S> {
    fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            match self.source.attempt() {
                Ok(frame) => {
                    self.failures = 0;
                    return Ok(frame);
                }
                Err(error) => {
                    // Whatever went wrong, a new connection begins at a frame.
                    self.source.disconnect();
                    self.wait_after(error)?;
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
