//! Files that are either complete or not there.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file beside its place, syncs it to the disk and renames it into place, so that nobody ever sees
/// half a file. Missing folders are made. A failure leaves an older file as it was. A link stays and what it leads to is
/// written; what is no file, such as a device or a pipe, is written as it is.
///
/// # Errors
/// Whatever the file system or `fill` reports.
pub fn atomically(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    replaced(path, fill, File::sync_all)
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
    replaced(path, fill, |_| Ok(()))
}

fn replaced(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    sync: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let Some(path) = &replaceable(path)? else {
        return filled(OpenOptions::new().write(true).open(path)?, fill).map(drop);
    };
    std::fs::create_dir_all(folder_of(path))?;
    let beside = beside(path)?;
    let result = File::create(&beside)
        .and_then(|file| sync(&filled(file, fill)?))
        .and_then(|()| std::fs::rename(&beside, path));
    if result.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&beside);
    }
    result
}

/// The file that a path leads to through any links, there or not yet, in whose place another can be put; none if it leads
/// to what is no file, where another would not be what was asked for: that is written as it is.
///
/// # Errors
/// Whatever the file system reports.
pub fn replaceable(path: &Path) -> io::Result<Option<PathBuf>> {
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

/// A path in the same folder (a rename must not cross file systems) that nobody else uses. Its name is short whatever the
/// file's is, which may be as long as names can be.
fn beside(path: &Path) -> io::Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    if path.file_name().is_none() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is not a file name", path.display()),
        ));
    }
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = format!(".{}-{number}.part", std::process::id());
    Ok(folder_of(path).join(name))
}

/// [`atomically`] for bytes that are already there.
///
/// # Errors
/// Whatever the file system reports.
pub fn bytes(path: &Path, content: &[u8]) -> io::Result<()> {
    atomically(path, |writer| writer.write_all(content))
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
}
