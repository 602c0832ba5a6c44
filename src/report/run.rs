//! The report of a single training run, from its own metrics.

use std::path::{Path, PathBuf};

use image::RgbImage;
use intertwine_flow::Stats;
use serde_json::Value;

use super::pictures::{contact_sheet, first_column};
use super::{LinePlot, Report, ReportError, Section, Table};
use crate::run::{Origin, RunFolder, Source};

/// Drawings of a run that are shown side by side.
const STRIP: usize = 8;

/// A plot of a run's report: title, unit, and each curve's label with its key in `metrics.jsonl`.
pub type Curves<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// Writes `report.html` into a run folder: what came out, curves, where the time of the steps since `stats` were begun went, and
/// the config.
///
/// # Errors
/// If the report cannot be written, or a drawing of the run cannot be read.
pub fn write(
    folder: &Path,
    title: &str,
    outcome: impl IntoIterator<Item = Section>,
    plots: &[Curves<'_>],
    stats: &Stats,
) -> Result<(), ReportError> {
    let history = History::read(folder);
    let mut curves = Section::new("Training");
    for (title, unit, series) in plots {
        let read = |&(label, key)| (label, history.curve(key));
        let mut series: Vec<_> = series.iter().map(read).collect();
        // What this run does not measure.
        series.retain(|(_, points)| !points.is_empty());
        if series.is_empty() {
            continue;
        }
        let plot = LinePlot::new(*title).axes("step", *unit);
        let add = |plot: LinePlot, (label, points)| plot.series(label, points);
        curves = curves.line_plot(series.into_iter().fold(plot, add));
    }
    let config = std::fs::read_to_string(folder.join("config.toml")).unwrap_or_default();
    let report = outcome
        .into_iter()
        .fold(Report::new(title), Report::section);
    let mut report = report.section(curves);
    if let Some(drawings) = drawings_section(folder)? {
        report = report.section(drawings);
    }
    if stats.consumed > 0 {
        report = report.section(time_section(stats));
    }
    if let Ok(Some(origin)) = Origin::read(folder) {
        report = report.section(origin_section(&origin));
    }
    let report = report.section(Section::new("Config").code(config));
    report.write(&folder.join("report.html"))
}

/// What a report says of a run that came to no end.
pub fn stopped(why: &str) -> Section {
    Section::new("Why it stopped").text(why)
}

/// Ends a run of which this call has learnt from so many pictures in so many seconds, and says how many that is a second. A
/// run that `was_finished` before keeps its report and its rate.
///
/// # Errors
/// As [`write`].
pub fn finish(
    folder: &RunFolder,
    title: &str,
    plots: &[Curves<'_>],
    stats: &Stats,
    (images, seconds): (u64, f64),
    was_finished: bool,
) -> Result<f64, ReportError> {
    if images > 0 || !was_finished || !folder.report().exists() {
        write(folder.path(), title, None, plots, stats)?;
    }
    Ok(match images {
        0 => folder.rate().unwrap_or_default(),
        _ => images as f64 / seconds.max(1e-9),
    })
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

/// What it was made of.
fn origin_section(origin: &Origin) -> Section {
    let row = |(option, source): (&String, &Source)| {
        let option = format!("--{option}");
        [option, source.path.clone(), source.about.clone()]
    };
    let sources = origin.sources.iter().map(row);
    Section::new("What it was made of")
        .text(format!("Begun with intertwine {}.", origin.version))
        .table(Table::new(["option", "where", "what"]).rows(sources))
}

/// What a run drew: its last drawing, and the first picture's column of several over time.
fn drawings_section(folder: &Path) -> Result<Option<Section>, ReportError> {
    let mut drawings: Vec<(u64, PathBuf)> = std::fs::read_dir(folder.join("pictures"))
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?;
            let step = name.strip_prefix("step-")?.strip_suffix(".png")?;
            Some((step.parse().ok()?, path))
        })
        .collect();
    drawings.sort_unstable();
    let Some((last, path)) = drawings.last() else {
        return Ok(None);
    };
    let read = |path: &Path| -> Result<RgbImage, ReportError> {
        let read = image::open(path).map_err(|source| ReportError::Drawing {
            path: path.to_owned(),
            source,
        })?;
        Ok(read.into_rgb8())
    };
    let section = Section::new("What the teacher sees")
        .text(
            "Each picture stands above its patch features, whose first three principal components over all of these \
             pictures are shown as red, green and blue, and above what the CLS token attends to in the last block, \
             from dark for nothing to light for the most.",
        )
        .picture(read(path)?, format!("after step {last}"));
    // At most so many, the first and the last among them.
    let count = drawings.len().min(STRIP);
    let pick = |i: usize| &drawings[i * (drawings.len() - 1) / (count - 1)];
    if count < 2 {
        return Ok(Some(section));
    }
    let picked: Vec<_> = (0..count).map(pick).collect();
    let columns = picked
        .iter()
        .map(|(_, path)| Ok(first_column(&read(path)?, 3)))
        .collect::<Result<Vec<_>, ReportError>>()?;
    let steps: Vec<String> = picked.iter().map(|(step, _)| step.to_string()).collect();
    let caption = format!("the first picture after steps {}", steps.join(", "));
    Ok(Some(
        section.picture(contact_sheet(&columns, count), caption),
    ))
}

/// The lines of a run's `metrics.jsonl`.
#[derive(Clone, Debug)]
pub struct History(Vec<Value>);

impl History {
    /// Those in a run folder; none if there is no such file. What is no JSON is left out.
    pub fn read(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap_or_default();
        let lines = text.lines();
        Self(
            lines
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect(),
        )
    }

    /// A curve over the steps; `a.b` is key `b` of the object `a`. Lines that do not have the key are left out.
    pub fn curve(&self, key: &str) -> Vec<(f64, f64)> {
        let point = |line: &Value| {
            let figure = key.split('.').try_fold(line, |value, key| value.get(key));
            Some((line.get("step")?.as_f64()?, figure?.as_f64()?))
        };
        self.0.iter().filter_map(point).collect()
    }
}
