//! What people see while `detect` runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use intertwine_detect::ModelCard;

use super::run::{Done, Failure};
use super::{complain, say};

/// From this many pictures on, a progress bar is shown.
const PROGRESS_FROM: usize = 5;

/// What people see: a line for each picture on the standard output, failures and progress on the other.
pub struct Report {
    progress: ProgressBar,
    done: usize,
    failed: usize,
    notes: Vec<String>,
}

impl Report {
    /// For so many pictures.
    pub fn new(pictures: usize) -> Self {
        let progress = match pictures < PROGRESS_FROM {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(pictures as u64),
        };
        let style = "{bar:30} {pos}/{len} pictures, {per_sec}, {eta} left";
        progress.set_style(ProgressStyle::with_template(style).expect("a valid template"));
        Self {
            progress,
            done: 0,
            failed: 0,
            notes: Vec::new(),
        }
    }

    /// One picture is done, or failed.
    pub fn picture(&mut self, path: &Path, result: &Result<Done, Failure>, card: &ModelCard) {
        match result {
            Ok(done) => {
                let line = describe(done, card);
                // A closed pipe (`detect .. | head`) is no reason to stop: the files are still wanted.
                self.progress
                    .suspend(|| say(format_args!("{}: {line}", path.display())));
                match &done.undrawn {
                    None => self.done += 1,
                    Some(reason) => {
                        self.fail(path, &format!("{reason}; what was found in it is kept"));
                    }
                }
            }
            Err(reason) => self.fail(path, reason),
        }
        self.progress.inc(1);
    }

    fn fail(&mut self, path: &Path, reason: &str) {
        self.failed += 1;
        self.progress
            .suspend(|| complain(format_args!("failed: {}: {reason}", path.display())));
    }

    /// Something to say in the summary.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Writes the summary. 0 if every picture was done.
    pub fn finish(self) -> ExitCode {
        self.progress.finish_and_clear();
        let mut summary = format!("{} of {} pictures done", self.done, self.done + self.failed);
        for note in &self.notes {
            summary.push_str("; ");
            summary.push_str(note);
        }
        complain(summary);
        match self.failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

/// `640 x 480, 2 person, 1 dog`.
fn describe(done: &Done, card: &ModelCard) -> String {
    let mut counts = BTreeMap::new();
    for detection in &done.detections[..done.shown] {
        *counts.entry(detection.class).or_insert(0) += 1;
    }
    let mut line = format!("{} x {}", done.size.0, done.size.1);
    if counts.is_empty() {
        line.push_str(", nothing found");
        if let Some(best) = done.detections.first() {
            line.push_str(&format!(
                " (the best has a score of {:.2}; see --score)",
                best.score
            ));
        }
    }
    for (class, count) in counts {
        line.push_str(&format!(", {count} {}", card.classes[class].name));
    }
    line
}
