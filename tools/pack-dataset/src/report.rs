//! The file of a check's report: its place is tried before the pictures are read, and nobody ever sees half of it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where a report goes.
pub struct Place(PathBuf);

impl Place {
    /// Makes the folder of `path`, and tries whether a file can be written there. What is there is not touched.
    ///
    /// # Errors
    /// If it cannot.
    pub fn tried(path: &Path) -> Result<Self> {
        let place = Self(followed(path));
        let attempt = || -> io::Result<()> {
            if place.0.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            if place.is_special() {
                return Ok(()); // Whoever reads a pipe takes its first closing for the end.
            }
            if let Some(folder) = place.0.parent() {
                fs::create_dir_all(folder)?;
            }
            File::create(place.beside())?;
            fs::remove_file(place.beside())
        };
        attempt().with_context(|| place.failure())?;
        Ok(place)
    }

    /// Writes the report.
    ///
    /// # Errors
    /// If it cannot be written; an older one is then still there.
    pub fn write(&self, page: &str) -> Result<()> {
        let write = || -> io::Result<()> {
            if self.is_special() {
                return fs::write(&self.0, page);
            }
            let mut file = File::create(self.beside())?;
            file.write_all(page.as_bytes())?;
            file.sync_all()?;
            fs::rename(self.beside(), &self.0)
        };
        let written = write();
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(self.beside());
        }
        written.with_context(|| self.failure())
    }

    /// A device or a pipe, which is written as it is.
    fn is_special(&self) -> bool {
        fs::metadata(&self.0).is_ok_and(|found| !found.is_file())
    }

    fn beside(&self) -> PathBuf {
        let mut name = self.0.as_os_str().to_owned();
        name.push(".partial");
        name.into()
    }

    fn failure(&self) -> String {
        format!("cannot write `{}`", self.0.display())
    }
}

/// What a path leads to, there or not yet: a link stays.
fn followed(path: &Path) -> PathBuf {
    let of_link = || {
        let target = path.read_link().ok()?;
        Some(path.parent()?.join(target))
    };
    let found = path.canonicalize().ok().or_else(of_link);
    found.unwrap_or_else(|| path.to_owned())
}
