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
