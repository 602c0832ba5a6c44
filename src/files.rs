//! Files that are never half-written.
//!
//! A run folder has one writer, which holds its lock, so the name beside is fixed: a run that is killed again and again
//! leaves one unfinished file at most, and the next write takes its place.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{bail, Context};
use intertwine_detect::write::replaceable;

/// Writes `bytes` to `path`: into a file beside it, synced, then renamed over it. Whoever reads sees the
/// old content or the new one, also after a crash. A link stays: what it points at is written. What is no file, such as
/// `/dev/null`, is written to as it is.
///
/// # Errors
/// What the file system says; `path` then still has its old content.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let Some(path) = &replaceable(path)? else {
        return File::options().write(true).open(path)?.write_all(bytes);
    };
    let beside = beside(path);
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
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

/// Where a file is written before it takes its place.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// [`write_atomic`] with an error that names the file.
///
/// # Errors
/// What the file system says.
pub fn save(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_atomic(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Makes room for a file before the work that it is to hold is done: makes its folder, and tries whether it can be written.
///
/// # Errors
/// If it cannot, or what is there is a folder.
pub fn make_room(path: &Path) -> anyhow::Result<()> {
    let room = || -> io::Result<()> {
        let Some(path) = replaceable(path)? else {
            return Ok(());
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let beside = beside(&path);
        drop(File::create(&beside)?);
        std::fs::remove_file(&beside)
    };
    if path.is_dir() {
        bail!(
            "cannot write {}: it is a folder; expected the name of a file",
            path.display()
        );
    }
    room().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_and_nothing_that_is_there_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("old");
        std::fs::write(&old, "kept").unwrap();
        let new = dir.path().join("made/too/new");
        for place in [&old, &new] {
            make_room(place).unwrap();
        }
        make_room(Path::new("/dev/null")).unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "kept");
        assert_eq!(std::fs::read_dir(new.parent().unwrap()).unwrap().count(), 0);
        let said = |path: &Path| make_room(path).unwrap_err().to_string();
        assert!(said(dir.path()).contains("it is a folder"));
        assert!(said(&old.join("new")).contains("cannot write"));
    }

    #[test]
    #[cfg(unix)]
    fn links_and_devices_stay_what_they_are() {
        use std::os::unix::fs::FileTypeExt;
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        write_atomic(&file, b"old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomic(&link, b"new").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert!(link.is_symlink());
        write_atomic(Path::new("/dev/null"), b"nothing").unwrap();
        let kind = std::fs::metadata("/dev/null").unwrap().file_type();
        assert!(kind.is_char_device());
        assert!(write_atomic(dir.path(), b"").is_err());
    }
}
