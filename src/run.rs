//! The run folder: what a long job writes where a person will look.
//!
//! ```text
//! config.toml      the resolved config
//! metrics.jsonl    one JSON object a logged step; a function of config and data alone
//! times.jsonl      wall-clock figures of the same steps; differ from run to run
//! events.*         the figures of metrics.jsonl, and pictures, for TensorBoard
//! pictures/        what the encoder made of a few pictures, if the run draws them
//! checkpoints/     last.safetensors: everything needed to go on
//! failed/          a step of a pretraining that was not finite, to be taken again
//! model.safetensors   the result
//! report.html      curves and config, for a person
//! .lock            held by the process that is at work here
//! ```
//!
//! `log` writes the lines, `events` the same for TensorBoard; `lock` keeps a second process out.

mod events;
mod lock;
mod log;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::config::{require, ConfigError, Validate};
use crate::files::write_atomic;
use crate::nn::autocast::Choice;
use crate::report::pictures::png;

pub use lock::Lock;
pub use log::Log;
pub(crate) use log::Times;

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
    /// Another process is at work there, or another thread of this one.
    #[error("{} is in use{}; wait until that run has ended, or stop it (it saves and can go on), or choose another --out", path.display(), by.map_or(String::new(), |by| format!(" by process {by}")))]
    Busy {
        /// The folder.
        path: PathBuf,
        /// The process, if it is known.
        by: Option<u32>,
    },
    /// A run is there already.
    #[error("{} holds a run already; pass --resume to go on with it, or choose another --out", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A run without the file that says what it is.
    #[error("{} holds a run, but no config.toml, so that nothing says with what settings it was made; put that file back, or choose another --out", path.display())]
    NoConfig {
        /// The folder.
        path: PathBuf,
    },
    /// The run that should go on was made with another config.
    #[error("{}: the run there was started with another config ({difference}); resume with the same settings and --init, or choose another --out", path.display())]
    OtherConfig {
        /// The stored config.
        path: PathBuf,
        /// The first line that differs.
        difference: String,
    },
}

/// A run folder, kept from other processes as long as a clone of this lives.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: Arc<Lock>,
}

impl RunFolder {
    /// Makes a new run folder, or opens the old one with `resume`.
    ///
    /// # Errors
    /// If there is a run already and `resume` is not set, it was made with another config, or is in use.
    pub fn open(path: &Path, config: &str, resume: bool) -> Result<Self, RunError> {
        let lock = claim(path, config, resume)?;
        make_folder(&path.join("checkpoints"))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: Arc::new(lock),
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

    /// The drawing made after step `at`.
    pub fn picture(&self, at: u64) -> PathBuf {
        self.path.join(format!("pictures/step-{at:06}.png"))
    }

    /// Writes the drawing made after step `at`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_picture(&self, at: u64, picture: &RgbImage) -> Result<(), RunError> {
        let path = self.picture(at);
        let write = || {
            std::fs::create_dir_all(self.path.join("pictures"))?;
            let bytes = png(picture).map_err(io::Error::other)?;
            write_atomic(&path, &bytes)
        };
        write().map_err(|source| RunError::Io { path, source })
    }
}

fn make_folder(path: &Path) -> Result<(), RunError> {
    std::fs::create_dir_all(path).map_err(|source| RunError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Keeps a folder from other processes, and notes in it with what config it is made: makes it and writes `config.toml`, or
/// compares it with the one there. What is written and watched may have changed since.
///
/// # Errors
/// If there is one already and `resume` is not set, or it is another, or there is a run without one, or the folder is in use.
pub fn claim(folder: &Path, config: &str, resume: bool) -> Result<Lock, RunError> {
    make_folder(folder)?;
    let lock = Lock::take(folder)?;
    let stored = folder.join("config.toml");
    let failed = |source| RunError::Io {
        path: stored.clone(),
        source,
    };
    let old = match std::fs::read_to_string(&stored) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    match &old {
        Some(_) if !resume => {
            return Err(RunError::Exists {
                path: folder.to_owned(),
            })
        }
        Some(old) => {
            if let Some(difference) = difference(old, config) {
                return Err(RunError::OtherConfig {
                    path: stored,
                    difference,
                });
            }
        }
        None => {
            let begun = ["checkpoints/last.safetensors", "metrics.jsonl"];
            if begun.iter().any(|file| folder.join(file).exists()) {
                return Err(RunError::NoConfig {
                    path: folder.to_owned(),
                });
            }
        }
    }
    if old.as_deref() != Some(config) {
        write_atomic(&stored, config.as_bytes()).map_err(failed)?;
    }
    Ok(lock)
}

/// The sections of a config that say what is written and watched, not what is learnt.
const BOOKKEEPING: [&str; 2] = ["run", "watch"];

/// Where two configs differ in what is learnt.
fn difference(old: &str, new: &str) -> Option<String> {
    let learnt = |text: &str| -> Option<String> {
        let mut table: toml::Table = text.parse().ok()?;
        for section in BOOKKEEPING {
            table.remove(section);
        }
        Some(table.to_string())
    };
    if old == new {
        return None;
    }
    // What cannot be read is compared as it stands.
    let (old, new) = match (learnt(old), learnt(new)) {
        (Some(old), Some(new)) if old == new => return None,
        (Some(old), Some(new)) => (old, new),
        _ => (old.to_owned(), new.to_owned()),
    };
    let lines = old.lines().zip(new.lines()).find(|(a, b)| a != b);
    Some(lines.map_or("its length".to_owned(), |(a, b)| {
        format!("`{a}` there, `{b}` now")
    }))
}

/// What the config of the run in a folder says; none if there is no run, or its config has no such keys.
pub fn stored<T: serde::de::DeserializeOwned>(folder: &Path) -> Option<T> {
    let text = std::fs::read_to_string(folder.join("config.toml")).ok()?;
    toml::from_str(&text).ok()
}

/// The precision of a run: as it is on this machine, and as it was where a run that goes on was started. So a run says what
/// it did, and can be gone on with on another machine.
pub fn precision(given: Choice, folder: &Path, resume: bool, has_bf16: bool) -> Choice {
    #[derive(Deserialize)]
    struct Stored {
        precision: Choice,
    }
    let before = resume.then(|| stored(folder)).flatten();
    let before = before.map(|run: Stored| run.precision);
    given.gone_on(before).resolved(has_bf16)
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
        // What is only watched may change, and is noted.
        let watched = "a = 1\nb = 2\n[watch]\nevery = 5\n";
        RunFolder::open(dir.path(), watched, true).unwrap();
        let config = dir.path().join("config.toml");
        assert_eq!(std::fs::read_to_string(&config).unwrap(), watched);
        // Without its config, what is there is nobody's to go on with, or to write over.
        std::fs::write(dir.path().join("metrics.jsonl"), "").unwrap();
        std::fs::remove_file(&config).unwrap();
        for resume in [false, true] {
            let lost = RunFolder::open(dir.path(), watched, resume);
            assert!(matches!(lost, Err(RunError::NoConfig { .. })));
        }
        assert!(!config.exists());
    }

    #[test]
    fn a_run_goes_on_in_the_precision_it_was_started_in() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("config.toml"),
            "seed = 1\nprecision = \"f32\"",
        )
        .unwrap();
        let found = |given, resume| precision(given, dir.path(), resume, true);
        assert_eq!(found(Choice::Auto, true), Choice::F32);
        assert_eq!(found(Choice::Auto, false), Choice::Bf16);
        assert_eq!(found(Choice::Bf16, true), Choice::Bf16);
    }

    #[test]
    fn a_folder_has_one_run_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let open = || RunFolder::open(dir.path(), "a = 1\n", true);
        let first = open().unwrap();
        let again = first.clone();
        drop(first);
        let busy = open().unwrap_err().to_string();
        let by = format!("is in use by process {}", std::process::id());
        assert!(busy.contains(&by), "{busy}");
        drop(again);
        open().unwrap();
    }
}
