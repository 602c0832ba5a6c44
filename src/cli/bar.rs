//! What a long job shows while it works: a bar on a terminal, a line now and then elsewhere.

use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Time between two lines where there is no terminal to draw a bar on.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// How many steps a training takes to come to something, whatever the data.
pub struct Needed {
    /// Fewer are called few.
    pub few: u64,
    /// So many are advised then.
    pub enough: u64,
}

/// The progress of a job: rate, remaining time and a remark.
pub struct Bar {
    bar: ProgressBar,
    /// What is counted.
    unit: &'static str,
    /// When the last line was written.
    told: Instant,
}

impl Bar {
    /// A bar over `steps` steps.
    pub fn new(label: &str, steps: u64) -> Self {
        Self::of(label, steps, "steps")
    }

    /// A bar over so many of a unit.
    pub fn of(label: &str, length: u64, unit: &'static str) -> Self {
        let bar = ProgressBar::new(length);
        let style = ProgressStyle::with_template(&format!(
            "{{prefix:>10}} [{{bar:30}}] {{pos}}/{{len}} {unit}  {{per_sec}}  {{elapsed}} (left {{eta}})  {{msg}}",
        ));
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(label.to_owned());
        Self {
            bar,
            unit,
            told: Instant::now(),
        }
    }

    /// Another number of them.
    pub fn set_length(&self, length: u64) {
        self.bar.set_length(length);
    }

    /// Moves to `step`. The steps before a resumed run's first do not count for rate and remaining time.
    pub fn advance(&mut self, step: u64, remark: String) {
        if self.bar.position() == 0 && step > 1 {
            self.bar.set_position(step - 1);
            self.bar.reset_eta();
        }
        self.bar.set_position(step);
        if self.bar.is_hidden() && self.told.elapsed() >= BETWEEN_LINES {
            self.told = Instant::now();
            eprintln!(
                "{}: {step} of {} {}, {} left  {remark}",
                self.bar.prefix(),
                self.bar.length().unwrap_or(0),
                self.unit,
                HumanDuration(self.bar.eta())
            );
        }
        self.bar.set_message(remark);
    }

    /// Writes a line above the bar.
    pub fn line(&self, text: &str) {
        match self.bar.is_hidden() {
            true => eprintln!("{}: {text}", self.bar.prefix()),
            false => self
                .bar
                .println(format!("{:>10} {text}", self.bar.prefix())),
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Leaves the bar as it stands.
    pub fn abandon(&self) {
        self.bar.abandon();
    }
}

/// Says what a training is about to do, and if its steps are few: presets count passes over the pictures, of which there
/// may be few.
pub fn announce(job: &str, pictures: u64, batch: usize, steps: u64, needed: &Needed, out: &Path) {
    eprintln!(
        "{job}: {pictures} pictures, {steps} steps of {batch}, in {}",
        out.display()
    );
    if steps < needed.few {
        let enough = needed.enough;
        let epochs = (enough * batch as u64).div_ceil(pictures.max(1));
        eprintln!(
            "note: {steps} steps are few, and much more can be learnt; --set optim.epochs={epochs} makes {enough}"
        );
    }
}
