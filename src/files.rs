//! Files that are never half-written.
//!
//! A run folder has one writer, which holds its lock, so the name beside is fixed: a run that is killed again and again
//! leaves one unfinished file at most, and the next write takes its place.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

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

/// Whether a file can be put there, asked before the work that it is to hold is done.
///
/// # Errors
/// If its folder is not there, or what is there is a folder.
pub fn check_place(path: &Path) -> anyhow::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => bail!(
            "cannot write {}: expected the name of a file",
            path.display()
        ),
    };
    if path.is_dir() {
        bail!(
            "cannot write {}: it is a folder; expected the name of a file",
            path.display()
        );
    }
    if !folder.is_dir() {
        bail!(
            "cannot write {}: there is no folder {}; make it first",
            path.display(),
            folder.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_name_in_a_folder_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let check = |path: &Path| check_place(path).map_err(|error| error.to_string());
        std::fs::write(dir.path().join("old"), "").unwrap();
        for place in ["new", "old"] {
            check(&dir.path().join(place)).unwrap();
        }
        check(Path::new("in-the-working-folder")).unwrap();
        check(Path::new("/dev/null")).unwrap();
        let gone = check(&dir.path().join("gone/new")).unwrap_err();
        assert!(
            gone.contains("there is no folder") && gone.contains("/gone;"),
            "{gone}"
        );
        assert!(check(dir.path()).unwrap_err().contains("it is a folder"));
        assert!(check(&dir.path().join("old/new")).is_err());
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
