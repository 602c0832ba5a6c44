//! A folder that pictures are written to.
//!
//! The folder is listed again and again. That is portable, works on network file systems, which announce nothing, and
//! costs little: a listing of a thousand files takes about a millisecond, and pauses grow with what a listing takes.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use intertwine_detect::picture::has_picture_extension;

use super::persistent::Attempt;
use super::{Frame, Pixels};

/// How long a file has not changed when it is taken for complete. Should its writer have paused for longer, it is
/// taken again once it has changed.
const SETTLED: Duration = Duration::from_millis(500);
/// How long a file may go on changing before it is taken as it is: one that is replaced without pause never settles.
const PATIENCE: Duration = Duration::from_secs(2);
/// Least pause between two listings.
const PAUSE: Duration = Duration::from_millis(50);
/// Pauses are at least this many times as long as the last listing took.
const PAUSE_SHARE: u32 = 9;

/// The pictures of a folder, as they come: those directly in it, hidden files left out, the oldest first. A picture
/// that is written again is a new one.
pub struct Folder {
    path: PathBuf,
    /// What the last listing that saw any saw: nothing is remembered of files that are gone while others are there.
    files: HashMap<OsString, Known>,
    ready: VecDeque<Ready>,
    number: u64,
}

/// What is known of a file.
#[derive(Clone, Copy)]
struct Known {
    version: Version,
    /// When this version was first seen.
    since: Instant,
    /// When the first version since one was taken was first seen.
    waiting: Instant,
    /// Whether it was taken.
    taken: bool,
}

/// A file whose version differs was written in between.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    bytes: u64,
    modified: Option<SystemTime>,
}

/// A picture that is complete, and since when we know.
struct Ready {
    path: PathBuf,
    arrived: Instant,
    time: SystemTime,
}

impl Folder {
    /// Watches a folder; with `existing`, the pictures in it are frames too.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn new(path: &Path, existing: bool) -> Result<Self> {
        let mut folder = Self {
            path: path.to_owned(),
            files: HashMap::new(),
            ready: VecDeque::new(),
            number: 0,
        };
        folder.list(Instant::now(), SystemTime::now())?;
        if !existing {
            folder.ready.clear();
            folder.files.values_mut().for_each(|file| file.taken = true);
        }
        Ok(folder)
    }

    /// Lists the folder and appends what is complete to `ready`. A failure changes nothing.
    fn list(&mut self, now: Instant, time: SystemTime) -> Result<()> {
        let context = "cannot list the folder";
        let mut files = HashMap::with_capacity(self.files.len());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path).context(context)? {
            let entry = entry.context(context)?;
            let (path, name) = (entry.path(), entry.file_name());
            if name.as_encoded_bytes().starts_with(b".") || !has_picture_extension(&path) {
                continue;
            }
            let known = self.files.get(&name).copied();
            let data = match std::fs::metadata(&path) {
                Ok(data) => data,
                // It can be gone again by now.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                // It is there, and what was known of it still holds.
                Err(_) => {
                    files.extend(known.map(|known| (name, known)));
                    continue;
                }
            };
            if !data.is_file() {
                continue;
            }
            let version = Version {
                bytes: data.len(),
                modified: data.modified().ok(),
            };
            let mut file = match known {
                Some(known) if known.version == version => known,
                before => Known {
                    version,
                    since: now,
                    waiting: before
                        .filter(|known| !known.taken)
                        .map_or(now, |known| known.waiting),
                    taken: false,
                },
            };
            // A file that was renamed in is old at first sight, if it took a moment to write. A clock that
            // differs from ours, as a file server's may, says nothing; then watching it decides.
            let age = version
                .modified
                .and_then(|then| time.duration_since(then).ok());
            let settled = now.duration_since(file.since) >= SETTLED
                || now.duration_since(file.waiting) >= PATIENCE
                || age.is_some_and(|age| age >= SETTLED);
            if settled && !file.taken && version.bytes > 0 {
                file.taken = true;
                found.push((version.modified, path));
            }
            files.insert(name, file);
        }
        // Where a share is no longer mounted there is an empty folder. What is on the share will be there again.
        if !files.is_empty() {
            self.files = files;
        }
        found.sort();
        self.ready.extend(found.into_iter().map(|(_, path)| Ready {
            path,
            arrived: now,
            time,
        }));
        Ok(())
    }
}

impl Attempt for Folder {
    fn attempt(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(Ready {
                path,
                arrived,
                time,
            }) = self.ready.pop_front()
            {
                self.number += 1;
                return Ok(Some(Frame {
                    number: self.number,
                    name: path
                        .file_name()
                        .map(|name| name.to_string_lossy().into_owned()),
                    arrived,
                    time,
                    pixels: Pixels::File(path),
                }));
            }
            let start = Instant::now();
            self.list(start, SystemTime::now())?;
            if self.ready.is_empty() {
                std::thread::sleep(PAUSE.max(PAUSE_SHARE * start.elapsed()));
            }
        }
    }

    /// What is known of the files is what keeps them from being taken twice.
    fn disconnect(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Watched {
        root: tempfile::TempDir,
        folder: Folder,
        start: Instant,
        time: SystemTime,
    }

    impl Watched {
        fn new(existing: bool, before: &[&str]) -> Self {
            let root = tempfile::tempdir().unwrap();
            for name in before {
                std::fs::write(root.path().join(name), "old").unwrap();
            }
            let folder = Folder::new(root.path(), existing).unwrap();
            Self {
                root,
                folder,
                start: Instant::now(),
                time: SystemTime::now(),
            }
        }

        fn write(&self, name: &str, content: &str) {
            std::fs::write(self.root.path().join(name), content).unwrap();
        }

        /// The names that are found so many milliseconds after the start, by both clocks.
        fn after(&mut self, milliseconds: u64) -> Vec<String> {
            let passed = Duration::from_millis(milliseconds);
            self.folder
                .list(self.start + passed, self.time + passed)
                .unwrap();
            let ready = std::mem::take(&mut self.folder.ready);
            let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
            ready.iter().map(|ready| name(&ready.path)).collect()
        }
    }

    const NONE: [&str; 0] = [];

    #[test]
    fn a_file_is_taken_once_when_it_has_not_changed_for_a_moment() {
        let mut watched = Watched::new(false, &["old.png"]);
        watched.write("new.png", "half");
        watched.write("notes.txt", "no picture");
        watched.write(".hidden.png", "not yet");
        watched.write("empty.png", "");
        assert_eq!(watched.after(100), NONE);
        watched.write("new.png", "half and half");
        assert_eq!(watched.after(400), NONE);
        assert_eq!(watched.after(5000), ["new.png"]);
        assert_eq!(watched.after(9000), NONE);
    }

    #[test]
    fn a_file_that_was_taken_too_early_or_is_replaced_comes_again() {
        let mut watched = Watched::new(false, &["latest.png"]);
        assert_eq!(watched.after(5000), NONE);
        watched.write("latest.png", "new content");
        assert_eq!(watched.after(5100), ["latest.png"]);
    }

    #[test]
    fn a_file_that_is_always_changing_is_looked_at_now_and_then() {
        let mut watched = Watched::new(false, &[]);
        // The file server's clock does not tell.
        watched.time -= Duration::from_secs(3600);
        let mut taken = Vec::new();
        for i in 0..30u64 {
            watched.write("latest.png", &"x".repeat(1 + i as usize));
            if !watched.after(200 * i).is_empty() {
                taken.push(200 * i);
            }
        }
        assert_eq!(taken, [2000, 4200]);
    }

    #[test]
    fn existing_pictures_come_first_if_they_are_wanted() {
        let mut watched = Watched::new(true, &["a.png", "b.jpg"]);
        let mut found = watched.after(5000);
        found.sort();
        assert_eq!(found, ["a.png", "b.jpg"]);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut watched = Watched::new(true, &["a.png", "b.png"]);
        watched.after(5000);
        std::fs::remove_file(watched.root.path().join("a.png")).unwrap();
        assert_eq!(watched.after(6000), NONE);
        assert!(watched.folder.files.keys().eq(["b.png"]));
    }

    #[test]
    fn a_share_that_is_away_for_a_moment_does_not_come_twice() {
        let mut watched = Watched::new(true, &["a.png"]);
        assert_eq!(watched.after(5000), ["a.png"]);
        let (here, away) = (watched.root.path().to_owned(), tempfile::tempdir().unwrap());
        let away = away.path().join("share");
        std::fs::rename(&here, &away).unwrap();
        let (start, time) = (watched.start, watched.time);
        assert!(watched.folder.list(start, time).is_err());
        // An empty mount point.
        std::fs::create_dir(&here).unwrap();
        assert_eq!(watched.after(6000), NONE);
        std::fs::remove_dir(&here).unwrap();
        std::fs::rename(&away, &here).unwrap();
        watched.write("b.png", "new");
        assert_eq!(watched.after(9000), ["b.png"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_cannot_be_looked_at_for_a_moment_does_not_come_twice() {
        let mut watched = Watched::new(true, &["a.png", "b.png"]);
        watched.after(5000);
        let path = |name: &str| watched.root.path().join(name);
        let (here, away) = (path("a.png"), path("away"));
        std::fs::rename(&here, &away).unwrap();
        // A link to itself is an error other than a file that is not there.
        std::os::unix::fs::symlink(&here, &here).unwrap();
        assert_eq!(watched.after(6000), NONE);
        std::fs::remove_file(&here).unwrap();
        std::fs::rename(&away, &here).unwrap();
        assert_eq!(watched.after(7000), NONE);
    }

    #[test]
    fn a_clock_of_the_file_server_that_is_ahead_changes_nothing() {
        let mut watched = Watched::new(false, &[]);
        watched.time -= Duration::from_secs(3600);
        watched.write("new.png", "picture");
        assert_eq!(watched.after(0), NONE);
        assert_eq!(watched.after(499), NONE);
        assert_eq!(watched.after(500), ["new.png"]);
    }
}
