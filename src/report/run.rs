//! The report of a single training run, from its own metrics.

use std::path::Path;

use intertwine_flow::Stats;

use super::{LinePlot, Report, ReportError, Section, Table};

/// A plot of a run's report: title, unit, and each curve's label with its key in `metrics.jsonl`.
pub type Curves<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// Writes `report.html` into a run folder: curves, where the time of the steps since `stats` were begun went, and the
/// config.
///
/// # Errors
/// If the report cannot be written.
pub fn write(
    folder: &Path,
    title: &str,
    plots: &[Curves<'_>],
    stats: &Stats,
) -> Result<(), ReportError> {
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
    let mut report = Report::new(title).section(curves);
    if stats.consumed > 0 {
        report = report.section(time_section(stats));
    }
    let report = report.section(Section::new("Config").code(config));
    report.write(&folder.join("report.html"))
}

/// Where the time of the last call went.
fn time_section(stats: &Stats) -> Section {
    let tables = [stats.consumer_table(), stats.work_table()];
    let about = format!(
        "{}. The figures are of the program's last call, from its first step on.",
        stats.verdict()
    );
    tables
        .into_iter()
        .map(|table| Table::new(table.head).rows(table.rows))
        .fold(
            Section::new("Where the time went").text(about),
            Section::table,
        )
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
