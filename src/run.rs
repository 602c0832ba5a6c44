//! The run folder: what a long job writes where a person will look.
//!
//! ```text
//! config.toml      the resolved config
//! origin.toml      what it reads: data, encoder, labelled sets; the version that began it
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
//! `log` writes the lines, `events` the same for TensorBoard; `lock` keeps a second process out; `origin` notes what is read.

mod events;
mod lock;
mod log;
mod origin;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::RgbImage;
use intertwine_datasets::PackedSet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{require, ConfigError, Validate};
use crate::nn::autocast::Choice;
use crate::report::pictures::png;

pub use lock::Lock;
pub use log::Log;
pub(crate) use log::Times;
pub use origin::{Accept, Origin, Source};

/// Where a run's checkpoint is.
pub(crate) const CHECKPOINT: &str = "checkpoints/last.safetensors";

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
    /// What is there is not a run.
    #[error("{} holds a packed set; choose another --out", path.display())]
    PackedSet {
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
    /// The run that should go on was made of something else.
    #[error("{}: {problem}, or choose another --out", path.display())]
    OtherSource {
        /// The notes of the run.
        path: PathBuf,
        /// What is another, and what would do.
        problem: String,
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
    pub fn open<C: Serialize + DeserializeOwned>(
        path: &Path,
        config: &C,
        resume: bool,
    ) -> Result<Self, RunError> {
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
        self.path.join(CHECKPOINT)
    }
    /// The result.
    pub fn model(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }

    /// The report.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.html")
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
            intertwine_files::own_bytes(&path, &bytes)
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
/// compares it with the one there. What is written and watched may have changed since, and keys that have come since are as they
/// are by default.
///
/// # Errors
/// If there is one already and `resume` is not set, or it is another, or there is a run without one, or the folder is in use.
pub fn claim<C: Serialize + DeserializeOwned>(
    folder: &Path,
    config: &C,
    resume: bool,
) -> Result<Lock, RunError> {
    let written = |config: &C| toml::to_string(config).expect("a config is plain data");
    let config = &written(config);
    if PackedSet::is_in(folder) {
        return Err(RunError::PackedSet {
            path: folder.to_owned(),
        });
    }
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
            if let Some(difference) = difference(&complete::<C>(old), config) {
                return Err(RunError::OtherConfig {
                    path: stored,
                    difference,
                });
            }
        }
        None => {
            let begun = [CHECKPOINT, "metrics.jsonl"];
            if begun.iter().any(|file| folder.join(file).exists()) {
                return Err(RunError::NoConfig {
                    path: folder.to_owned(),
                });
            }
        }
    }
    if old.as_ref() != Some(config) {
        intertwine_files::own_bytes(&stored, config.as_bytes()).map_err(failed)?;
    }
    Ok(lock)
}

/// The sections of a config, or of several in one, that say what is written and watched, not what is learnt.
const BOOKKEEPING: [&str; 2] = ["run", "watch"];

/// A config with the keys that it has not, as they are by default; as it stands, if it cannot be read.
fn complete<C: Serialize + DeserializeOwned>(text: &str) -> String {
    fn fill(table: &mut toml::Table, from: toml::Table) {
        for (key, value) in from {
            match (table.get_mut(&key), value) {
                (Some(toml::Value::Table(inner)), toml::Value::Table(value)) => fill(inner, value),
                (Some(_), _) => {}
                (None, value) => drop(table.insert(key, value)),
            }
        }
    }
    let known = toml::from_str::<C>(text).ok().map(toml::Table::try_from);
    match (text.parse::<toml::Table>(), known) {
        (Ok(mut table), Some(Ok(known))) => {
            fill(&mut table, known);
            table.to_string()
        }
        _ => text.to_owned(),
    }
}

fn forget_bookkeeping(table: &mut toml::Table) {
    table.retain(|section, _| !BOOKKEEPING.contains(&section));
    let sections = table
        .iter_mut()
        .filter_map(|(_, value)| value.as_table_mut());
    sections.for_each(forget_bookkeeping);
}

/// Where two configs differ in what is learnt.
fn difference(old: &str, new: &str) -> Option<String> {
    let learnt = |text: &str| -> Option<String> {
        let mut table: toml::Table = text.parse().ok()?;
        forget_bookkeeping(&mut table);
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

/// Whether the run in a folder has a checkpoint to go on from.
pub fn is_begun(folder: &Path) -> bool {
    folder.join(CHECKPOINT).exists()
}

/// What the config of the run in a folder says; none if there is no run, or its config has no such keys.
pub fn stored<T: DeserializeOwned>(folder: &Path) -> Option<T> {
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

/// Signals that come within this time of the first are the same wish to stop.
const ONE_WISH: Duration = Duration::from_secs(1);
/// The exit status of a job that was not let save, as of one that was killed.
const ENDED_AT_ONCE: i32 = 137;

/// Whether the user asked to stop. The first Ctrl-C asks; the job saves and ends; the second kills.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens to Ctrl-C (and SIGTERM). For programs; a library user keeps [`Interrupt::default`].
    pub fn listen() -> Self {
        let interrupt = Self::default();
        let flag = interrupt.clone();
        let mut asked: Option<Instant> = None;
        // Fails only if another handler is set: then that one decides.
        let _ = ctrlc::set_handler(move || {
            flag.request();
            match asked {
                // `timeout` and terminals send one wish as two signals.
                Some(at) if at.elapsed() < ONE_WISH => return,
                Some(_) => std::process::exit(ENDED_AT_ONCE),
                None => asked = Some(Instant::now()),
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
    use std::collections::BTreeMap;

    use super::*;

    /// As a run's config.
    #[derive(Clone, Serialize, Deserialize)]
    struct Config {
        a: u32,
        b: u32,
        /// Which the first runs did not have.
        #[serde(default)]
        newer: u32,
        part: Part,
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct Part {
        watch: BTreeMap<String, u32>,
    }

    fn config(b: u32) -> Config {
        let watch = BTreeMap::new();
        Config {
            a: 1,
            b,
            newer: 0,
            part: Part { watch },
        }
    }

    #[test]
    fn a_run_that_is_older_than_a_key_goes_on_with_its_default() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        let old = "a = 1\nb = 2\n[part.watch]\n";
        std::fs::write(&file, old).unwrap();
        let other = Config {
            newer: 4,
            ..config(2)
        };
        let said = RunFolder::open(dir.path(), &other, true).unwrap_err();
        assert!(
            said.to_string()
                .contains("`newer = 0` there, `newer = 4` now"),
            "{said}"
        );
        RunFolder::open(dir.path(), &config(2), true).unwrap();
        assert!(std::fs::read_to_string(&file)
            .unwrap()
            .contains("newer = 0"));
        // Of a newer program, or of none.
        for other in [&format!("c = 3\n{old}"), "c = 3"] {
            std::fs::write(&file, other).unwrap();
            assert!(RunFolder::open(dir.path(), &config(2), true).is_err());
        }
    }

    #[test]
    fn an_old_run_is_neither_overwritten_nor_mixed() {
        let dir = tempfile::tempdir().unwrap();
        RunFolder::open(dir.path(), &config(2), false).unwrap();
        assert!(matches!(
            RunFolder::open(dir.path(), &config(2), false),
            Err(RunError::Exists { .. })
        ));
        let other = RunFolder::open(dir.path(), &config(3), true)
            .unwrap_err()
            .to_string();
        assert!(other.contains("`b = 2` there, `b = 3` now"), "{other}");
        RunFolder::open(dir.path(), &config(2), true).unwrap();
        // What is only watched may change, and is noted.
        let mut watched = config(2);
        watched.part.watch.insert("every".into(), 5);
        RunFolder::open(dir.path(), &watched, true).unwrap();
        let file = dir.path().join("config.toml");
        assert!(std::fs::read_to_string(&file)
            .unwrap()
            .contains("every = 5"));
        // Without its config, what is there is nobody's to go on with, or to write over.
        std::fs::write(dir.path().join("metrics.jsonl"), "").unwrap();
        std::fs::remove_file(&file).unwrap();
        for resume in [false, true] {
            let lost = RunFolder::open(dir.path(), &watched, resume);
            assert!(matches!(lost, Err(RunError::NoConfig { .. })));
        }
        assert!(!file.exists());
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
        let open = || RunFolder::open(dir.path(), &config(2), true);
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
