//! The run folder: what a long job writes where a person will look.
//!
//! ```text
//! config.toml      the resolved config
//! metrics.jsonl    one JSON object a logged step; a function of config and data alone
//! times.jsonl      wall-clock figures of the same steps; differ from run to run
//! checkpoints/     last.safetensors: everything needed to go on
//! model.safetensors   the result
//! report.html      curves and config, for a person
//! ```

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::{require, ConfigError, Validate};
use crate::files::write_atomic;

/// Bookkeeping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Steps between two lines of metrics.
    pub log_every: u64,
    /// Steps between two checkpoints.
    pub checkpoint_every: u64,
}

impl Validate for RunConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        for (value, key) in [
            (self.log_every, "run.log_every"),
            (self.checkpoint_every, "run.checkpoint_every"),
        ] {
            require(value > 0, key, || "must be at least 1".into())?;
        }
        Ok(())
    }
}

/// Why a run folder could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A run is there already.
    #[error("{} holds a run already; pass --resume to go on with it, or choose another --out", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The run that should go on was made with another config.
    #[error("{}: the run there was started with another config ({difference}); resume with the same settings or choose another --out", path.display())]
    OtherConfig {
        /// The stored config.
        path: PathBuf,
        /// The first line that differs.
        difference: String,
    },
}

/// A run folder.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes a new run folder, or opens the old one with `resume`.
    ///
    /// # Errors
    /// If there is a run already and `resume` is not set, or it was made with another config.
    pub fn open(path: &Path, config: &str, resume: bool) -> Result<Self, RunError> {
        let checkpoints = path.join("checkpoints");
        std::fs::create_dir_all(&checkpoints).map_err(|source| RunError::Io {
            path: checkpoints,
            source,
        })?;
        claim(path, config, resume)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The checkpoint to go on from.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoints/last.safetensors")
    }
    /// The result.
    pub fn model(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }

    /// Opens `metrics.jsonl` and `times.jsonl` to go on at `step`: lines of that step and later, written
    /// after the checkpoint by a run that was then killed, are dropped.
    ///
    /// # Errors
    /// What the file system says.
    pub fn log(&self, step: u64) -> Result<Log, RunError> {
        let open = |name: &str| {
            let path = self.path.join(name);
            open_at(&path, step).map_err(|source| RunError::Io { path, source })
        };
        Ok(Log {
            metrics: open("metrics.jsonl")?,
            times: open("times.jsonl")?,
            folder: self.path.clone(),
        })
    }
}

/// Notes in a folder with what config it is made: writes `config.toml`, or compares it with the one there.
///
/// # Errors
/// If there is one already and `resume` is not set, or it is another.
pub fn claim(folder: &Path, config: &str, resume: bool) -> Result<(), RunError> {
    let stored = folder.join("config.toml");
    match std::fs::read_to_string(&stored) {
        Ok(_) if !resume => Err(RunError::Exists {
            path: folder.to_owned(),
        }),
        Ok(old) if old != config => {
            let difference = old
                .lines()
                .zip(config.lines())
                .find(|(a, b)| a != b)
                .map_or("its length".to_owned(), |(a, b)| {
                    format!("`{a}` there, `{b}` now")
                });
            Err(RunError::OtherConfig {
                path: stored,
                difference,
            })
        }
        Ok(_) => Ok(()),
        Err(_) => write_atomic(&stored, config.as_bytes()).map_err(|source| RunError::Io {
            path: stored,
            source,
        }),
    }
}

fn open_at(path: &Path, step: u64) -> io::Result<File> {
    let mut keep = Vec::new();
    if let Ok(file) = File::open(path) {
        for line in BufReader::new(file).split(b'\n') {
            let line = line?;
            // A line cut short by a crash is no JSON and ends the file.
            let Ok(value) = serde_json::from_slice::<serde_json::Value>(&line) else {
                break;
            };
            if value
                .get("step")
                .and_then(serde_json::Value::as_u64)
                .is_none_or(|s| s >= step)
            {
                break;
            }
            keep.extend_from_slice(&line);
            keep.push(b'\n');
        }
    }
    write_atomic(path, &keep)?;
    File::options().append(true).open(path)
}

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
}

/// The open metric files of a run.
#[derive(Debug)]
pub struct Log {
    metrics: File,
    times: File,
    folder: PathBuf,
}

impl Log {
    /// Adds a line of deterministic figures and one of wall-clock figures; both objects hold `step`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(
        &mut self,
        metrics: &impl serde::Serialize,
        times: &impl serde::Serialize,
    ) -> Result<(), RunError> {
        let io = |source| RunError::Io {
            path: self.folder.join("metrics.jsonl"),
            source,
        };
        let line = |v: serde_json::Result<Vec<u8>>| -> io::Result<Vec<u8>> {
            let mut v = v?;
            v.push(b'\n');
            Ok(v)
        };
        self.metrics
            .write_all(&line(serde_json::to_vec(metrics)).map_err(io)?)
            .map_err(io)?;
        self.times
            .write_all(&line(serde_json::to_vec(times)).map_err(io)?)
            .map_err(io)
    }
    /// Makes sure that what was written survives a crash: called before a checkpoint is.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sync(&self) -> Result<(), RunError> {
        let io = |source| RunError::Io {
            path: self.folder.join("metrics.jsonl"),
            source,
        };
        self.metrics.sync_all().map_err(io)?;
        self.times.sync_all().map_err(io)
    }
}

/// Whether the user asked to stop. The first Ctrl-C asks; the job saves and ends; the second kills.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens to Ctrl-C (and SIGTERM). For programs; a library user keeps [`Interrupt::default`].
    pub fn listen() -> Self {
        let interrupt = Self::default();
        let flag = interrupt.clone();
        // Fails only if another handler is set: then that one decides.
        let _ = ctrlc::set_handler(move || {
            if flag.0.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            eprintln!("\nstopping after this step and saving; press Ctrl-C again to stop at once");
        });
        interrupt
    }
    /// Asks to stop, as Ctrl-C would.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
    /// Whether to stop.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_resumed_log_drops_what_came_after_the_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunFolder::open(dir.path(), "a = 1\n", false).unwrap();
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

    #[test]
    fn an_old_run_is_neither_overwritten_nor_mixed() {
        let dir = tempfile::tempdir().unwrap();
        RunFolder::open(dir.path(), "a = 1\nb = 2\n", false).unwrap();
        assert!(matches!(
            RunFolder::open(dir.path(), "a = 1\nb = 2\n", false),
            Err(RunError::Exists { .. })
        ));
        let other = RunFolder::open(dir.path(), "a = 1\nb = 3\n", true)
            .unwrap_err()
            .to_string();
        assert!(other.contains("`b = 2` there, `b = 3` now"), "{other}");
        RunFolder::open(dir.path(), "a = 1\nb = 2\n", true).unwrap();
    }
}
