//! What goes wrong with a source that can be connected to again.

use std::time::Duration;

use anyhow::Result;

/// The pause before the first attempt to connect again; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a source is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The longest that nothing may come.
    pub timeout: Duration,
    /// The most failures without a frame in between; none to go on for ever.
    pub retries: Option<u32>,
}

/// Failures in a row, and how many of them there may be.
pub struct Failures {
    /// What fails, as messages call it.
    name: String,
    /// None to go on for ever.
    retries: Option<u32>,
    /// Since the last frame.
    count: u32,
}

impl Failures {
    /// None so far.
    pub fn new(name: String, retries: Option<u32>) -> Self {
        Self {
            name,
            retries,
            count: 0,
        }
    }

    /// A frame came.
    pub fn forget(&mut self) {
        self.count = 0;
    }

    /// Tells of a failure and waits until the next attempt.
    ///
    /// # Errors
    /// The failure itself, if it was one too many.
    pub fn wait_after(&mut self, error: anyhow::Error) -> Result<()> {
        if Some(self.count) == self.retries {
            return Err(error.context(self.name.clone()));
        }
        let pause = pause(self.count);
        self.count = self.count.saturating_add(1);
        let seconds = pause.as_secs_f32();
        eprintln!("{}: {error:#}; connecting again in {seconds} s", self.name);
        std::thread::sleep(pause);
        Ok(())
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
