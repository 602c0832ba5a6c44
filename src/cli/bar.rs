//! The progress bar of a long job.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `steps` steps of `batch` pictures, showing rate and remaining time.
pub fn bar(label: &str, steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    let style = ProgressStyle::with_template(
        "{prefix:>10} [{bar:30}] {pos}/{len} steps  {per_sec}  {elapsed} (left {eta})  {msg}",
    );
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(label.to_owned());
    bar
}

/// Moves the bar to `step`. The steps before a resumed run's first do not count for rate and remaining time.
pub fn advance(bar: &ProgressBar, step: u64) {
    if bar.position() == 0 && step > 1 {
        bar.set_position(step - 1);
        bar.reset_eta();
    }
    bar.set_position(step);
}
