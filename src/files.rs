//! Files that are never half-written.
//!
//! A run folder has one writer, which holds its lock, so the name beside is fixed: a run that is killed again and again
//! leaves one unfinished file at most, and the next write takes its place.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;

/// Writes `bytes` to `path`: into a file beside it, synced, then renamed over it. Whoever reads sees the
/// old content or the new one, also after a crash.
///
/// # Errors
/// What the file system says; `path` then still has its old content.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    let beside = Path::new(&beside);
    let mut file = File::create(beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(beside, path)?;
    // The rename itself must survive a crash too; not every platform can sync a folder.
    if let Some(folder) = path.parent() {
        if let Ok(folder) = File::open(if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        }) {
            let _ = folder.sync_all();
        }
    }
    Ok(())
}

/// [`write_atomic`] with an error that names the file.
///
/// # Errors
/// What the file system says.
pub fn save(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_atomic(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
