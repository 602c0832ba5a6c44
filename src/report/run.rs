//! The report of a single training run, from its own metrics.

use std::path::Path;

use super::{LinePlot, Report, ReportError, Section};

/// A plot of a run's report: title, unit, and each curve's label with its key in `metrics.jsonl`.
pub type Curves<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// Writes `report.html` into a run folder: curves and the config.
///
/// # Errors
/// If the report cannot be written.
pub fn write(folder: &Path, title: &str, plots: &[Curves<'_>]) -> Result<(), ReportError> {
    let metrics = folder.join("metrics.jsonl");
    let mut curves = Section::new("Training");
    for (title, unit, series) in plots {
        let plot = series.iter().fold(
            LinePlot::new(*title).axes("step", *unit),
            |plot, (label, key)| plot.series(*label, read_curve(&metrics, key)),
        );
        curves = curves.line_plot(plot);
    }
    let config = std::fs::read_to_string(folder.join("config.toml")).unwrap_or_default();
    let report = Report::new(title)
        .section(curves)
        .section(Section::new("Config").code(config));
    report.write(&folder.join("report.html"))
}

/// A curve of a `metrics.jsonl`; lines that do not have the key are left out.
pub fn read_curve(path: &Path, key: &str) -> Vec<(f64, f64)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            Some((value.get("step")?.as_f64()?, value.get(key)?.as_f64()?))
        })
        .collect()
}
