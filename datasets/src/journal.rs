//! The journal of a packing: what is finished, so that a run that was killed can be gone on with.
//!
//! It lies in the working folder, not in the set: a first line for what is being done, a line for each
//! finished shard, a last one when all is finished. A line is the CRC-32 of the rest in hexadecimal, a space
//! and a JSON object. What follows the first line that is cut off or damaged does not count, so that the
//! worst a bad journal can do is to have work done again.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{DatasetError, Result};
use crate::import::Source;
use crate::manifest::VERSION;
use crate::options::{Existing, PackOptions};
use crate::quarantine::Quarantined;
use crate::shard::FinishedShard;

/// The journal's file name.
pub(crate) const JOURNAL: &str = "journal.jsonl";

/// What is being done. Work done for one task is never used for another.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Task {
    /// The program and its version: another one may write other bytes.
    program: String,
    source: String,
    /// What of the source is taken, and how, see [`Source`].
    format: String,
    images: Option<String>,
    split: Option<String>,
    classes_from_folders: bool,
    options: Value,
    /// BLAKE3 of the manifest of the set that is appended to.
    appends_to: Option<String>,
}

impl Task {
    pub fn new(source: &Source, options: &PackOptions) -> Self {
        let whole = |path: &PathBuf| {
            let path = path.canonicalize().unwrap_or_else(|_| path.clone());
            path.to_string_lossy().into_owned()
        };
        Self {
            program: format!(
                "intertwine-datasets {}, format {VERSION}",
                env!("CARGO_PKG_VERSION")
            ),
            source: whole(&source.path),
            format: source.format.name().into(),
            images: source.images.as_ref().map(whole),
            split: source.split.clone(),
            classes_from_folders: source.classes_from_folders,
            options: plain(options),
            appends_to: None,
        }
    }

    /// The same, appending to the set with a manifest of this BLAKE3.
    pub fn appending_to(self, manifest: Option<String>) -> Self {
        Self {
            appends_to: manifest,
            ..self
        }
    }

    /// The manifest that is appended to.
    pub fn appends_to(&self) -> Option<&str> {
        self.appends_to.as_deref()
    }

    /// Whether it appends or makes a set where there is none.
    pub fn existing(&self) -> Existing {
        match self.appends_to {
            Some(_) => Existing::Append,
            None => Existing::Refuse,
        }
    }

    /// What differs, as `key = theirs, now ours`; empty for equal tasks.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let whole = |task: &Self| {
            plain(&Self {
                options: Value::Null,
                ..task.clone()
            })
        };
        let mut found = differences(&whole(self), &whole(now));
        found.extend(differences(&self.options, &now.options));
        found
    }
}

/// Plain data as JSON.
fn plain(data: &impl serde::Serialize) -> Value {
    serde_json::to_value(data).expect("plain data with string keys")
}

/// The differences of two options, as `key = first, now second`.
pub(crate) fn option_differences(first: &PackOptions, now: &PackOptions) -> Vec<String> {
    differences(&plain(first), &plain(now))
}

fn differences(first: &Value, now: &Value) -> Vec<String> {
    let mut keys: Vec<_> = [first, now]
        .into_iter()
        .filter_map(Value::as_object)
        .flat_map(|map| map.keys())
        .collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| first[key.as_str()] != now[key.as_str()])
        .map(|key| format!("{key} = {}, now {}", first[key.as_str()], now[key.as_str()]))
        .collect()
}

/// A finished shard and what it took.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Step {
    /// Items of the source that are dealt with, from the first on.
    pub end: usize,
    /// What the items since the step before were, see [`crate::resume`].
    pub inputs: String,
    /// The shard that they ended up in.
    pub shard: FinishedShard,
    /// Whether it was closed because the source ended, not because it was full.
    pub last: bool,
    /// What was listed about them.
    pub quarantined: Vec<Quarantined>,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Task(Task),
    Step(Step),
    /// BLAKE3 of the finished manifest.
    Complete(String),
}

/// What a journal tells of an earlier run.
pub(crate) struct Past {
    pub task: Task,
    pub steps: Vec<Step>,
    /// BLAKE3 of the manifest, once all was finished and the set about to be put in place.
    pub complete: Option<String>,
}

impl Past {
    /// Reads the journal in a working folder; none if there is none or not even its first line is whole.
    pub fn read(work: &Path) -> Result<Option<Self>> {
        let path = work.join(JOURNAL);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(DatasetError::io("read", &path))?,
        };
        let mut lines = bytes.split_inclusive(|&byte| byte == b'\n').map_while(json);
        let Some(first) = lines.next() else {
            return Ok(None);
        };
        let Ok(Line::Task(task)) = serde_json::from_slice(first) else {
            let what =
                "begins like no journal of this version of the program; finish with the version \
                        that began it, or remove the folder to start over";
            return Err(DatasetError::Output {
                path,
                what: what.into(),
            });
        };
        let mut past = Self {
            task,
            steps: Vec::new(),
            complete: None,
        };
        for line in lines {
            match serde_json::from_slice(line) {
                Ok(Line::Step(step)) => past.steps.push(step),
                Ok(Line::Complete(manifest)) => past.complete = Some(manifest),
                Ok(Line::Task(_)) | Err(_) => break,
            }
        }
        Ok(Some(past))
    }
}

/// The JSON of a line, if the line is whole.
fn json(line: &[u8]) -> Option<&[u8]> {
    let (crc, json) = line.strip_suffix(b"\n")?.split_at_checked(9)?;
    let crc = std::str::from_utf8(crc).ok()?.strip_suffix(' ')?;
    (u32::from_str_radix(crc, 16).ok()? == crc32fast::hash(json)).then_some(json)
}

/// A journal that is being written.
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Begins a journal with the steps that are taken over, in place of whatever is there.
    pub fn begin(work: &Path, task: Task, steps: &[Step]) -> Result<Self> {
        let path = work.join(JOURNAL);
        let beside = work.join(format!("{JOURNAL}.partial"));
        let begin = || -> io::Result<File> {
            let mut text = text(&Line::Task(task));
            for step in steps {
                text.extend(self::text(&Line::Step(step.clone())));
            }
            let mut file = File::create(&beside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            Ok(file)
        };
        let file = begin().map_err(DatasetError::io("write", &path))?;
        Ok(Self { path, file })
    }

    /// Records a finished shard, which must be on the disk.
    pub fn step(&mut self, step: Step) -> Result<()> {
        self.append(&Line::Step(step))
    }

    /// Records that all is finished and what the manifest's BLAKE3 is.
    pub fn complete(&mut self, manifest: String) -> Result<()> {
        self.append(&Line::Complete(manifest))
    }

    fn append(&mut self, line: &Line) -> Result<()> {
        self.file
            .write_all(&text(line))
            .and_then(|()| self.file.sync_data())
            .map_err(DatasetError::io("write", &self.path))
    }
}

fn text(line: &Line) -> Vec<u8> {
    let json = serde_json::to_vec(line).expect("a line is plain data with string keys");
    let mut text = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    text.extend(json);
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Format;
    use crate::quarantine::Reason;

    fn step(end: usize) -> Step {
        let shard = FinishedShard {
            file: format!("{end}"),
            records: 1,
            instances: 2,
            bytes: 3,
            blake3: "4".into(),
        };
        Step {
            end,
            inputs: "5".into(),
            shard,
            last: false,
            quarantined: vec![Quarantined::picture("a\nb", Reason::Damaged, "ü")],
        }
    }

    #[test]
    fn a_damaged_journal_tells_less_and_nothing_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let task = Task::new(&Source::new("a"), &PackOptions::default());
        let mut journal = Journal::begin(folder.path(), task.clone(), &[step(10)]).unwrap();
        journal.step(step(20)).unwrap();
        journal.complete("6".into()).unwrap();
        let read = || {
            let past = Past::read(folder.path()).ok().flatten()?;
            let ends: Vec<_> = past.steps.iter().map(|step| step.end).collect();
            assert!(past.task.differences(&task).is_empty());
            assert!(past.steps.iter().all(|s| plain(s) == plain(&step(s.end))));
            Some((ends, past.complete))
        };
        let sound = (vec![10, 20], Some("6".to_owned()));
        assert_eq!(read(), Some(sound.clone()));
        let path = folder.path().join(JOURNAL);
        let bytes = fs::read(&path).unwrap();
        let prefix = |found: Option<(Vec<usize>, Option<String>)>| match found {
            None => true,
            Some((ends, complete)) => [10, 20].starts_with(&ends) && complete.is_none(),
        };
        for at in 0..bytes.len() {
            fs::write(&path, &bytes[..at]).unwrap();
            assert!(prefix(read()), "cut at {at}");
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x01;
            fs::write(&path, damaged).unwrap();
            assert!(prefix(read()), "byte {at} changed");
        }
    }

    #[test]
    fn another_part_of_the_source_is_another_task() {
        let source = || Source::new("a");
        let task = |source: Source| Task::new(&source, &PackOptions::default());
        let others = [
            Source {
                format: Format::Folder,
                ..source()
            },
            Source {
                images: Some("pictures".into()),
                ..source()
            },
            Source {
                split: Some("train".into()),
                ..source()
            },
            Source {
                classes_from_folders: true,
                ..source()
            },
        ];
        let expected = [
            r#"format = "auto", now "folder""#,
            r#"images = null, now "pictures""#,
            r#"split = null, now "train""#,
            "classes_from_folders = false, now true",
        ];
        for (other, expected) in others.into_iter().zip(expected) {
            assert_eq!(task(source()).differences(&task(other)), [expected]);
        }
    }
}
