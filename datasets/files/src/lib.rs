//! Files that are either complete or not there: written beside their place, synced, and renamed into it.
//!
//! A link stays and what it leads to is written; what is no file, such as a device or a pipe, is written as it is.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file, and makes its folder if there is none. Nobody ever sees half of it, also after a crash. A failure leaves an
/// older file as it was.
///
/// # Errors
/// Whatever the file system or `fill` reports.
pub fn atomically(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    replaced(path, beside, fill, true)
}

/// [`atomically`] without waiting for the disk, for what comes many times a second: nobody sees half a file either, unless
/// the machine itself loses its power.
///
/// # Errors
/// Whatever the file system or `fill` reports.
pub fn quickly(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    replaced(path, beside, fill, false)
}

/// [`atomically`] for bytes that are already there.
///
/// # Errors
/// Whatever the file system reports.
pub fn bytes(path: &Path, content: &[u8]) -> io::Result<()> {
    atomically(path, |writer| writer.write_all(content))
}

/// [`bytes`] for a file that nobody else writes meanwhile, in a folder that is there and has a lock. What a writer that is
/// killed leaves beside it always has the same name, so that it does not grow with every try.
///
/// # Errors
/// Whatever the file system reports.
pub fn own_bytes(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        Ok(name.into())
    };
    replaced(path, beside, |writer| writer.write_all(content), true)
}

/// Makes room for a file before the work that it is to hold is done: makes its folder, and tries whether it can be written.
/// What is there is not touched.
///
/// # Errors
/// If it cannot, or what is there is a folder.
pub fn make_room(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a folder; expected the name of a file",
        ));
    }
    // Whoever reads a pipe takes its first closing for the end.
    let Some(path) = replaceable(path)? else {
        return Ok(());
    };
    let beside = beside(&path)?;
    drop(File::create(&beside)?);
    std::fs::remove_file(&beside)
}

fn replaced(
    path: &Path,
    beside: impl FnOnce(&Path) -> io::Result<PathBuf>,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    sync: bool,
) -> io::Result<()> {
    let Some(path) = &replaceable(path)? else {
        return filled(OpenOptions::new().write(true).open(path)?, fill).map(drop);
    };
    let beside = beside(path)?;
    let write = || {
        let file = filled(File::create(&beside)?, fill)?;
        if sync {
            file.sync_all()?;
        }
        std::fs::rename(&beside, path)
    };
    let result = write();
    if result.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&beside);
    } else if sync {
        // The rename itself must survive a crash too; not every platform can sync a folder.
        if let Ok(folder) = File::open(folder_of(path)) {
            let _ = folder.sync_all();
        }
    }
    result
}

/// The file that a path leads to through any links, there or not yet, in whose place another can be put; none if it leads
/// to what is no file, where another would not be what was asked for: that is written as it is.
///
/// # Errors
/// Whatever the file system reports.
fn replaceable(path: &Path) -> io::Result<Option<PathBuf>> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Ok(None),
        _ => followed(path).map(Some),
    }
}

/// The file, once everything is written to it.
fn filled(
    file: File,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<File> {
    let mut writer = BufWriter::new(file);
    fill(&mut writer)?;
    writer.into_inner().map_err(io::IntoInnerError::into_error)
}

/// What a path leads to, through any number of links; it need not be there yet.
fn followed(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.read_link() {
            Ok(target) => followed(&folder_of(path).join(target)),
            Err(_) => Ok(path.to_owned()),
        },
        other => other,
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// A path in the same folder (a rename must not cross file systems), which is made, that nobody else uses. Its name is short
/// whatever the file's is, which may be as long as names can be.
fn beside(path: &Path) -> io::Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let names_a_folder = path.to_string_lossy().ends_with(std::path::is_separator);
    if path.file_name().is_none() || names_a_folder {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is not the name of a file", path.display()),
        ));
    }
    std::fs::create_dir_all(folder_of(path))?;
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = format!(".{}-{number}.part", std::process::id());
    Ok(folder_of(path).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_quickly_is_there_as_a_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("new/frame.jpg");
        quickly(&path, |writer| writer.write_all(b"first")).unwrap();
        let failed = quickly(&path, |writer| {
            writer.write_all(&[0; 100_000])?;
            Err(io::Error::other("no more"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no more");
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        let files = std::fs::read_dir(path.parent().unwrap()).unwrap();
        assert_eq!(files.count(), 1);
    }

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
        let said = make_room(dir.path()).unwrap_err().to_string();
        assert!(said.contains("it is a folder"), "{said}");
        assert!(make_room(&old.join("new")).is_err());
        // What makes room for a name can write it.
        let longest = dir.path().join("n".repeat(255));
        make_room(&longest).unwrap();
        bytes(&longest, b"").unwrap();
        let folder = dir.path().join("folder/");
        for refused in [make_room(&folder), bytes(&folder, b"")] {
            let said = refused.unwrap_err().to_string();
            assert!(said.contains("not the name of a file"), "{said}");
        }
        assert!(!folder.exists());
    }

    #[test]
    fn what_a_killed_writer_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("last");
        std::fs::write(dir.path().join("last.partial"), "hal").unwrap();
        own_bytes(&path, b"whole").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    #[cfg(unix)]
    fn links_and_devices_stay_what_they_are() {
        use std::os::unix::fs::FileTypeExt;
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        own_bytes(&file, b"old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        own_bytes(&link, b"new").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert!(link.is_symlink());
        // To what is not there yet, in a folder that is not either.
        let dangling = dir.path().join("dangling");
        std::os::unix::fs::symlink("made/new", &dangling).unwrap();
        make_room(&dangling).unwrap();
        bytes(&dangling, b"made").unwrap();
        assert_eq!(std::fs::read(dir.path().join("made/new")).unwrap(), b"made");
        let circle = dir.path().join("circle");
        std::os::unix::fs::symlink(&circle, &circle).unwrap();
        assert!(make_room(&circle).is_err() && bytes(&circle, b"").is_err());
        bytes(Path::new("/dev/null"), b"nothing").unwrap();
        let kind = std::fs::metadata("/dev/null").unwrap().file_type();
        assert!(kind.is_char_device());
        assert!(own_bytes(dir.path(), b"").is_err());
    }
}
