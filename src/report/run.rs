//! The report of a single training run, from its own metrics.

use std::error::Error;
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

/// The report of a run.
pub struct Page<'a> {
    folder: &'a RunFolder,
    title: &'a str,
    plots: &'a [Curves<'a>],
    /// Before this call.
    was_finished: bool,
}

impl<'a> Page<'a> {
    /// Of the run in a folder, before this call writes its model.
    pub fn new(folder: &'a RunFolder, title: &'a str, plots: &'a [Curves<'a>]) -> Self {
        Self {
            folder,
            title,
            plots,
            was_finished: folder.model().exists(),
        }
    }

    /// Writes `report.html`: what came out, curves, where the time of the steps since `stats` were begun went, and the config.
    ///
    /// # Errors
    /// If it cannot be written, or a drawing of the run cannot be read.
    pub fn write(
        &self,
        outcome: impl IntoIterator<Item = Section>,
        stats: &Stats,
    ) -> Result<(), ReportError> {
        let folder = self.folder.path();
        let history = History::read(folder);
        let mut curves = Section::new("Training");
        for (title, unit, series) in self.plots {
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
            .fold(Report::new(self.title), Report::section);
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
        report.write(&self.folder.report())
    }

    /// Writes that the run was asked to stop.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn asked(&self, step: u64, steps: u64, stats: &Stats) -> Result<(), ReportError> {
        let why = format!("It was asked to, after step {step} of {steps}.");
        self.write([stopped(why)], stats)
    }

    /// Writes what the run failed of, and gives it back: also where the report cannot be written it is the one to tell of.
    pub fn failed<E: Error>(&self, failure: E, stats: &Stats) -> E {
        let _ = self.write([stopped(chain(&failure))], stats);
        failure
    }

    /// Ends a run of which this call has learnt from so many pictures in so many seconds, and says how many that is a second. A
    /// run that was finished before keeps its report and its rate.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(&self, stats: &Stats, (images, seconds): (u64, f64)) -> Result<f64, ReportError> {
        if images > 0 || !self.was_finished || !self.folder.report().exists() {
            self.write(None, stats)?;
        }
        Ok(match images {
            0 => self.folder.rate().unwrap_or_default(),
            _ => images as f64 / seconds.max(1e-9),
        })
    }
}

/// What a report says of a run that came to no end.
fn stopped(why: String) -> Section {
    Section::new("Why it stopped").text(why)
}

/// An error with its causes, each that is not in what is said before.
fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = error.to_string();
        if !said.contains(&why) {
            said = format!("{said}: {why}");
        }
        cause = error.source();
    }
    said
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
