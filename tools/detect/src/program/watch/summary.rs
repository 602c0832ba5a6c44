//! What a run comes to: frames, ages, rates.

use std::fmt;
use std::time::{Duration, Instant};

/// Widths of the histogram's buckets: a percentile is known to 2.5 percent.
const GROWTH: f64 = 1.05;
/// Enough for ages from a microsecond to a day.
const BUCKETS: usize = 520;

/// Counts what happens, in memory that does not grow.
pub struct Summary {
    start: Instant,
    frames: u64,
    failed: u64,
    /// Of ages.
    total: Duration,
    histogram: [u64; BUCKETS],
}

impl Summary {
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            frames: 0,
            failed: 0,
            total: Duration::ZERO,
            histogram: [0; BUCKETS],
        }
    }

    /// A result was written when its frame had this age.
    pub fn done(&mut self, age: Duration) {
        self.frames += 1;
        self.total += age;
        let bucket = (1e6 * age.as_secs_f64()).max(1.0).ln() / GROWTH.ln();
        self.histogram[(bucket as usize).min(BUCKETS - 1)] += 1;
    }

    /// A frame could not be used.
    pub fn failed(&mut self) {
        self.failed += 1;
    }

    /// Frames that were looked at, whether they could be used or not.
    pub fn seen(&self) -> u64 {
        self.frames + self.failed
    }

    /// The age, in milliseconds, that so large a share of the results did not exceed.
    fn percentile(&self, share: f64) -> f64 {
        let rank = (share * self.frames as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        let bucket = self.histogram.iter().position(|&count| {
            below += count;
            below >= rank
        });
        // The middle of the bucket.
        1e-3 * GROWTH.powf(bucket.unwrap_or_default() as f64 + 0.5)
    }
}

/// `120 frames, 3 dropped, 1 failed`, with more where there is more to say; dropped frames are the slot's to count.
pub struct Line<'a>(pub &'a Summary, pub u64);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(summary, dropped) = self;
        let frames = summary.frames;
        write!(
            f,
            "{frames} frames, {dropped} dropped, {} failed",
            summary.failed
        )?;
        if frames > 0 {
            let seconds = summary.start.elapsed().as_secs_f64();
            write!(
                f,
                "; age of results {:.1} ms in the mean, {:.1} ms at the 95th percentile; {:.1} frames/s over {seconds:.1} s",
                1e3 * summary.total.as_secs_f64() / frames as f64,
                summary.percentile(0.95),
                frames as f64 / seconds
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_is_that_of_the_ages() {
        let mut summary = Summary::new();
        for milliseconds in 1..=100 {
            summary.done(Duration::from_millis(milliseconds));
        }
        for (share, expected) in [(0.01, 1.0), (0.5, 50.0), (0.95, 95.0), (1.0, 100.0)] {
            let found = summary.percentile(share);
            assert!((found / expected - 1.0).abs() < 0.05, "{share}: {found}");
        }
    }

    #[test]
    fn no_age_is_out_of_range() {
        let mut summary = Summary::new();
        summary.done(Duration::ZERO);
        summary.done(Duration::MAX / 2);
        assert_eq!(summary.histogram.iter().sum::<u64>(), 2);
        summary.failed();
        let line = Line(&summary, 7).to_string();
        assert!(
            line.starts_with("2 frames, 7 dropped, 1 failed; age"),
            "{line}"
        );
    }
}
