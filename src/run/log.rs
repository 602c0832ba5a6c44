//! The open metric files of a run.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;

use super::{events, RunError, RunFolder};

/// A line of `times.jsonl`.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Times {
    /// The step.
    pub step: u64,
    /// Seconds since training was started or resumed.
    pub seconds: f64,
    /// Pictures a second in that time.
    pub images_per_s: f64,
    /// Share of that time in which the step could not go on for want of data.
    pub data_wait: f64,
    /// Share of that time that probes, drawings and evaluations took, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watching: Option<f64>,
}

/// The open metric files of a run.
#[derive(Debug)]
pub struct Log {
    metrics: File,
    times: File,
    events: File,
    folder: RunFolder,
}

/// A line of `times.jsonl` with the time of day, in seconds since 1970.
#[derive(Serialize)]
struct Stamped<'a, T> {
    #[serde(flatten)]
    figures: &'a T,
    unix: f64,
}

impl RunFolder {
    /// Opens the metric files to go on at `step`: lines of that step and later, written after the checkpoint by a run
    /// that was then killed, are dropped. TensorBoard's file is written anew from the lines that stay.
    ///
    /// # Errors
    /// What the file system says.
    pub fn log(&self, step: u64) -> Result<Log, RunError> {
        let named = |name: &str, open: &dyn Fn(&Path) -> io::Result<File>| {
            let path = self.path().join(name);
            open(&path).map_err(|source| RunError::Io { path, source })
        };
        let metrics = named("metrics.jsonl", &|path| open_at(path, step))?;
        let times = named("times.jsonl", &|path| open_at(path, step))?;
        let events = named(events::FILE, &|path| {
            intertwine_files::own_bytes(path, &self.all_events()?)?;
            File::options().append(true).open(path)
        })?;
        Ok(Log {
            metrics,
            times,
            events,
            folder: self.clone(),
        })
    }

    /// Pictures a second of the call that learnt last, as it noted.
    pub(crate) fn rate(&self) -> Option<f64> {
        let lines = lines(&self.path().join("times.jsonl")).ok()?;
        lines.last()?.1["images_per_s"].as_f64()
    }

    /// `metrics.jsonl` as it is, for TensorBoard.
    fn all_events(&self) -> io::Result<Vec<u8>> {
        let times = lines(&self.path().join("times.jsonl"))?;
        let at = |line: &Value| Some((line.get("step")?.as_u64()?, line.get("unix")?.as_f64()?));
        let times: HashMap<u64, f64> = times.iter().filter_map(|(_, line)| at(line)).collect();
        let mut bytes = events::header();
        for (_, line) in lines(&self.path().join("metrics.jsonl"))? {
            let time = line["step"].as_u64().and_then(|step| times.get(&step));
            bytes.extend(self.events(&line, time.copied().unwrap_or_default())?);
        }
        Ok(bytes)
    }

    /// A line of `metrics.jsonl`, with the drawing of its step, for TensorBoard.
    fn events(&self, line: &Value, time: f64) -> io::Result<Vec<u8>> {
        let step = line["step"].as_u64().unwrap_or_default();
        let picture = match std::fs::read(self.picture(step)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            read => Some(read?),
        };
        events::event(step, time, line, picture)
    }
}

/// The lines of a file, each with its object; a line cut short by a crash is no JSON and ends the file.
fn lines(path: &Path) -> io::Result<Vec<(Vec<u8>, Value)>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut all = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = line?;
        let Ok(value) = serde_json::from_slice(&line) else {
            break;
        };
        all.push((line, value));
    }
    Ok(all)
}

fn open_at(path: &Path, step: u64) -> io::Result<File> {
    let mut keep = Vec::new();
    for (line, value) in lines(path)? {
        if value["step"].as_u64().is_none_or(|s| s >= step) {
            break;
        }
        keep.extend_from_slice(&line);
        keep.push(b'\n');
    }
    intertwine_files::own_bytes(path, &keep)?;
    File::options().append(true).open(path)
}

impl Log {
    /// Adds a line of deterministic figures and one of wall-clock figures; both objects hold `step`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(
        &mut self,
        metrics: &impl Serialize,
        times: &impl Serialize,
    ) -> Result<(), RunError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix = now.map_or(0.0, |now| now.as_secs_f64());
        let stamped = Stamped {
            figures: times,
            unix,
        };
        let mut write = || -> io::Result<()> {
            self.metrics.write_all(&line(metrics)?)?;
            self.times.write_all(&line(&stamped)?)?;
            let events = self.folder.events(&serde_json::to_value(metrics)?, unix)?;
            self.events.write_all(&events)
        };
        write().map_err(|source| self.error(source))
    }

    /// Makes sure that what was written survives a crash: called before a checkpoint is.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sync(&self) -> Result<(), RunError> {
        let sync = || {
            self.metrics.sync_all()?;
            self.times.sync_all()?;
            self.events.sync_all()
        };
        sync().map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> RunError {
        RunError::Io {
            path: self.folder.path().join("metrics.jsonl"),
            source,
        }
    }
}

/// An object as a line.
fn line(figures: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(figures)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_resumed_log_drops_what_came_after_the_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunFolder::open(dir.path(), &toml::Table::new(), false).unwrap();
        let mut log = run.log(0).unwrap();
        for step in 0..5 {
            log.write(
                &json!({"step": step, "loss": 0.5}),
                &json!({"step": step, "seconds": 1.0}),
            )
            .unwrap();
        }
        drop(log);
        let path = dir.path().join("metrics.jsonl");
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend_from_slice(b"{\"step\": 5, \"lo");
        std::fs::write(&path, torn).unwrap();
        drop(run.log(3).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(text.ends_with("{\"loss\":0.5,\"step\":2}\n"));
    }
}
