//! Drawn pictures in a folder: numbered, whole, and of the newest as many as wanted.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::RgbImage;

use crate::program::encode;

/// `frame-00000012.jpg`.
const PREFIX: &str = "frame-";
const SUFFIX: &str = ".jpg";

/// The folder. What an earlier run wrote there stays, and is counted on from.
pub struct Drawn {
    folder: PathBuf,
    keep: Option<NonZeroUsize>,
    /// The numbers that are there, oldest first.
    numbers: VecDeque<u64>,
    next: u64,
}

impl Drawn {
    /// Makes the folder if need be. With `keep`, only so many drawn pictures are left in it.
    ///
    /// # Errors
    /// A folder that cannot be made or listed.
    pub fn new(folder: &Path, keep: Option<NonZeroUsize>) -> Result<Self> {
        let numbers = std::fs::create_dir_all(folder)
            .and_then(|()| numbers(folder))
            .with_context(|| format!("cannot use the folder {}", folder.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
            keep,
            next: numbers.last().map_or(1, |last| last.saturating_add(1)),
            numbers: numbers.into(),
        })
    }

    /// Writes a picture and returns its file name; removes what is too old.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub fn write(&mut self, picture: &RgbImage) -> Result<String> {
        let name = file_name(self.next);
        let path = self.folder.join(&name);
        // The run must not stand still at every frame until the disk has it.
        intertwine_files::quickly(&path, |to| {
            encode(picture, true, to).map_err(io::Error::other)
        })
        .with_context(|| format!("cannot write {}", path.display()))?;
        self.numbers.push_back(self.next);
        self.next = self.next.saturating_add(1);
        while self
            .keep
            .is_some_and(|keep| self.numbers.len() > keep.get())
        {
            if let Some(oldest) = self.numbers.pop_front() {
                let path = self.folder.join(file_name(oldest));
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(error)
                            .with_context(|| format!("cannot remove {}", path.display()));
                    }
                    _ => {}
                }
            }
        }
        Ok(name)
    }
}

fn file_name(number: u64) -> String {
    format!("{PREFIX}{number:08}{SUFFIX}")
}

/// The numbers of the drawn pictures in a folder, in order.
fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| {
            let number = name
                .strip_prefix(PREFIX)?
                .strip_suffix(SUFFIX)?
                .parse()
                .ok()?;
            (file_name(number) == name).then_some(number)
        });
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_strangers_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("new");
        let picture = RgbImage::new(8, 8);
        let names = || {
            let mut names: Vec<String> = std::fs::read_dir(&folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let mut drawn = Drawn::new(&folder, None).unwrap();
        assert_eq!(drawn.write(&picture).unwrap(), "frame-00000001.jpg");
        assert_eq!(drawn.write(&picture).unwrap(), "frame-00000002.jpg");
        for stranger in ["frame-1.jpg", "frame-x.jpg", "a.jpg"] {
            std::fs::write(folder.join(stranger), "mine").unwrap();
        }
        // Another run goes on where this one ended.
        let mut drawn = Drawn::new(&folder, NonZeroUsize::new(2)).unwrap();
        assert_eq!(drawn.write(&picture).unwrap(), "frame-00000003.jpg");
        let strangers = ["a.jpg", "frame-1.jpg", "frame-x.jpg"];
        let mut expected = vec!["frame-00000002.jpg", "frame-00000003.jpg"];
        expected.extend(strangers);
        expected.sort_unstable();
        assert_eq!(names(), expected);
    }
}
