//! What happened so far, as Prometheus reads it.
//!
//! The format: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>. It is a page of
//! counters, which a library would not make shorter.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;

use crate::program::memory;

/// Upper bounds of the histograms, seconds: a small model on a fast machine to a large picture on a slow one.
const BOUNDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Counters of a server.
#[derive(Default)]
pub struct Metrics {
    /// Requests answered, by path and status.
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// Pictures looked at.
    pub pictures: AtomicU64,
    /// Things found in them.
    pub detections: AtomicU64,
    /// Pictures refused because the queue was full.
    pub full_queue: AtomicU64,
    /// Pictures refused because there was no memory for them.
    pub full_memory: AtomicU64,
    /// Connections refused because there were too many.
    pub full_connections: AtomicU64,
    /// Requests whose client went away before the answer.
    pub abandoned: AtomicU64,
    /// Connections that ended in an error: too slow, or not HTTP.
    pub broken: AtomicU64,
    /// From bytes to pixels.
    pub decode: Histogram,
    /// From pixels to detections.
    pub detect: Histogram,
    /// From the head of a request to its answer.
    pub total: Histogram,
}

/// What is measured at the moment of asking.
pub struct Gauges {
    /// Pictures that wait for a worker.
    pub queue: usize,
    /// Connections.
    pub connections: usize,
    /// Bytes of bodies in memory.
    pub uploads: usize,
    /// Since the start.
    pub uptime: Duration,
}

impl Metrics {
    /// A request was answered.
    pub fn answered(&self, path: &'static str, status: StatusCode) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((path, status.as_u16())).or_default() += 1;
    }

    /// All of them as text.
    pub fn page(&self, gauges: &Gauges) -> String {
        let mut page = Page(String::new());
        page.head("detect_requests_total", "counter", "Requests answered.");
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for ((path, status), count) in requests.iter() {
            let labels = format!("path=\"{path}\",status=\"{status}\"");
            page.sample("detect_requests_total", &labels, *count as f64);
        }
        drop(requests);
        for (name, help, counter) in [
            (
                "detect_pictures_total",
                "Pictures looked at.",
                &self.pictures,
            ),
            (
                "detect_detections_total",
                "Things found in them.",
                &self.detections,
            ),
            (
                "detect_abandoned_total",
                "Requests whose client went away before the answer.",
                &self.abandoned,
            ),
            (
                "detect_broken_connections_total",
                "Connections that were too slow, broke off or did not speak HTTP.",
                &self.broken,
            ),
        ] {
            page.head(name, "counter", help);
            page.sample(name, "", counter.load(Relaxed) as f64);
        }
        let name = "detect_rejected_total";
        page.head(
            name,
            "counter",
            "What was refused because there was too much of it.",
        );
        for (reason, counter) in [
            ("queue", &self.full_queue),
            ("memory", &self.full_memory),
            ("connections", &self.full_connections),
        ] {
            let labels = format!("reason=\"{reason}\"");
            page.sample(name, &labels, counter.load(Relaxed) as f64);
        }
        let name = "detect_stage_seconds";
        page.head(
            name,
            "histogram",
            "Time that pictures took: decoding, detection, and from request to answer.",
        );
        for (stage, histogram) in [
            ("decode", &self.decode),
            ("detect", &self.detect),
            ("total", &self.total),
        ] {
            histogram.write(&mut page, name, &format!("stage=\"{stage}\""));
        }
        for (name, help, value) in [
            (
                "detect_queue_length",
                "Pictures that wait for a worker.",
                Some(gauges.queue as f64),
            ),
            (
                "detect_open_connections",
                "Connections.",
                Some(gauges.connections as f64),
            ),
            (
                "detect_upload_bytes",
                "Bytes of pictures being sent or waiting.",
                Some(gauges.uploads as f64),
            ),
            (
                "detect_uptime_seconds",
                "Time since the start.",
                Some(gauges.uptime.as_secs_f64()),
            ),
            (
                "process_resident_memory_bytes",
                "Memory the process holds.",
                memory::resident().map(|bytes| bytes as f64),
            ),
        ] {
            if let Some(value) = value {
                page.head(name, "gauge", help);
                page.sample(name, "", value);
            }
        }
        page.0
    }
}

/// Counts durations by size.
#[derive(Default)]
pub struct Histogram {
    /// Durations up to each bound and above the one before it; those above all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

impl Histogram {
    /// Counts a duration.
    pub fn observe(&self, time: Duration) {
        let bucket = BOUNDS.partition_point(|&bound| bound < time.as_secs_f64());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.microseconds
            .fetch_add(time.as_micros() as u64, Relaxed);
    }

    fn write(&self, page: &mut Page, name: &str, labels: &str) {
        let mut count = 0;
        let bounds = BOUNDS.map(Some).into_iter().chain([None]);
        for (bucket, bound) in self.buckets.iter().zip(bounds) {
            count += bucket.load(Relaxed);
            let bound = bound.map_or("+Inf".into(), |bound| bound.to_string());
            let labels = format!("{labels},le=\"{bound}\"");
            page.sample(&format!("{name}_bucket"), &labels, count as f64);
        }
        let seconds = self.microseconds.load(Relaxed) as f64 / 1e6;
        page.sample(&format!("{name}_sum"), labels, seconds);
        page.sample(&format!("{name}_count"), labels, count as f64);
    }
}

/// Text in Prometheus' form.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let text = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        self.0.push_str(&text);
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{labels}}}"),
        };
        writeln!(self.0, "{name}{labels} {value}").expect("a String takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_is_below_each_bound() {
        let histogram = Histogram::default();
        for milliseconds in [1, 2, 30, 700, 60_000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let mut page = Page(String::new());
        histogram.write(&mut page, "t", "stage=\"x\"");
        for line in [
            "t_bucket{stage=\"x\",le=\"0.001\"} 1",
            "t_bucket{stage=\"x\",le=\"0.0025\"} 2",
            "t_bucket{stage=\"x\",le=\"0.025\"} 2",
            "t_bucket{stage=\"x\",le=\"0.05\"} 3",
            "t_bucket{stage=\"x\",le=\"1\"} 4",
            "t_bucket{stage=\"x\",le=\"10\"} 4",
            "t_bucket{stage=\"x\",le=\"+Inf\"} 5",
            "t_sum{stage=\"x\"} 60.733",
            "t_count{stage=\"x\"} 5",
        ] {
            assert!(
                page.0.lines().any(|found| found == line),
                "{line} in\n{}",
                page.0
            );
        }
    }
}
