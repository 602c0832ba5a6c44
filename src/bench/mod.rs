//! How long things take here: the work that the scripts in `tests/peers` have their peers do.
//!
//! # Layout
//! - [`data`]: from files or a packed set to augmented views.
//! - [`encoder`]: a transformer alone.
//! - [`pretraining`]: the whole method, from a batch in memory.

pub mod data;
pub mod encoder;
pub mod pretraining;

use std::time::Instant;

use crate::nn::autocast::Precision;

/// Steps before the timed ones: buffers are allocated, pages touched, threads woken.
const WARM_UP: usize = 2;

/// The times of a training step.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StepTimes {
    /// What was timed.
    pub what: &'static str,
    /// Of its matrix products: `f32` or `bf16`.
    pub precision: &'static str,
    /// Threads that worked on it.
    pub threads: usize,
    /// Pictures in a step.
    pub images: usize,
    /// Wall-clock milliseconds of each step.
    pub steps_ms: Vec<f64>,
    /// The process's largest resident memory so far in bytes, where the system tells.
    pub peak_bytes: Option<u64>,
}

impl StepTimes {
    /// Times `steps` steps after a few untimed ones.
    ///
    /// # Errors
    /// What a step runs into.
    pub fn measure<E>(
        what: &'static str,
        precision: Precision,
        images: usize,
        steps: usize,
        mut step: impl FnMut() -> Result<(), E>,
    ) -> Result<Self, E> {
        for _ in 0..WARM_UP {
            step()?;
        }
        let mut steps_ms = Vec::with_capacity(steps);
        for _ in 0..steps {
            let start = Instant::now();
            step()?;
            steps_ms.push(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(Self {
            what,
            precision: match precision {
                Precision::F32 => "f32",
                Precision::Bf16 => "bf16",
            },
            threads: rayon::current_num_threads(),
            images,
            steps_ms,
            peak_bytes: peak_bytes(),
        })
    }

    /// Median milliseconds of a step; the mean of the two in the middle when there are two.
    pub fn median_ms(&self) -> f64 {
        median(&self.steps_ms)
    }
}

/// The median; the mean of the two in the middle when there are two, NaN of nothing.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n => (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0,
    }
}

/// `VmHWM` of Linux's `/proc/self/status`.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let times = |steps_ms: &[f64]| StepTimes {
            what: "test",
            precision: "f32",
            threads: 1,
            images: 1,
            steps_ms: steps_ms.to_vec(),
            peak_bytes: None,
        };
        assert_eq!(times(&[3.0, 1.0, 100.0]).median_ms(), 3.0);
        assert_eq!(times(&[4.0, 1.0, 2.0, 100.0]).median_ms(), 3.0);
        assert!(times(&[]).median_ms().is_nan());
    }

    #[test]
    fn warm_up_is_not_timed_and_an_error_ends_it() {
        let mut calls = 0;
        let times = StepTimes::measure("test", Precision::F32, 8, 3, || {
            calls += 1;
            Ok::<(), ()>(())
        })
        .unwrap();
        assert_eq!((times.steps_ms.len(), calls), (3, 3 + WARM_UP));
        let mut left = 4;
        let failed = StepTimes::measure("test", Precision::F32, 8, 30, || {
            left -= 1;
            if left == 0 {
                Err("full")
            } else {
                Ok(())
            }
        });
        assert_eq!(failed.unwrap_err(), "full");
        assert_eq!(left, 0);
    }
}
