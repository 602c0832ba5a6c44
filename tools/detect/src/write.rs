//! Files that are either complete or not there.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes a file beside its place, syncs it to the disk and renames it into place, so that nobody ever sees
/// half a file. Missing folders are made. A failure leaves an older file as it was.
///
/// # Errors
/// Whatever the file system or `fill` reports.
pub fn atomically(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let beside = beside(path)?;
    let result = (|| {
        let mut writer = BufWriter::new(File::create(&beside)?);
        fill(&mut writer)?;
        let file = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    })();
    if result.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&beside);
    }
    result
}

/// A name in the same folder (a rename must not cross file systems) that no other process uses.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is not a file name", path.display()),
        )
    })?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.part", std::process::id()));
    Ok(path.with_file_name(hidden))
}

/// [`atomically`] for bytes that are already there.
///
/// # Errors
/// Whatever the file system reports.
pub fn bytes(path: &Path, content: &[u8]) -> io::Result<()> {
    atomically(path, |writer| writer.write_all(content))
}
