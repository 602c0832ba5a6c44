//! Where an output folder goes, checked before any work is done for it.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::error::{DatasetError, Result};

/// The place of a folder that is made beside it and moved there when it is whole.
pub(crate) struct Destination {
    /// Absolute, and no link.
    pub path: PathBuf,
    /// The folder it is in.
    pub parent: PathBuf,
    /// Its name there.
    pub name: String,
}

impl Destination {
    /// The place that `out` names. Through a link to a folder, it is that of the folder itself.
    ///
    /// # Errors
    /// If no folder can be moved there.
    pub fn find(out: &Path) -> Result<Self> {
        let path = match out.canonicalize() {
            Ok(path) => path,
            Err(_) => std::path::absolute(out).map_err(DatasetError::io("resolve", out))?,
        };
        let refuse = |what: &str| DatasetError::Output {
            path: path.clone(),
            what: what.into(),
        };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(refuse(
                "not a folder that can be made; name one within another folder",
            ));
        };
        if path.is_symlink() {
            return Err(refuse(
                "a link that leads nowhere; make the folder it names, or remove it",
            ));
        }
        if is_mount_point(&path, parent) {
            return Err(refuse(
                "a mount point, in whose place no folder can be put; name a folder within it",
            ));
        }
        Ok(Self {
            parent: parent.into(),
            name: name.to_string_lossy().into_owned(),
            path,
        })
    }
}

/// Whether a file could not be locked because its file system has no locks to give: Lustre that was mounted without them, NFS
/// without its lock service. Its number has no kind of its own.
pub fn knows_no_locks(error: &io::Error) -> bool {
    const ENOLCK: i32 = if cfg!(target_os = "linux") { 37 } else { 77 };
    error.kind() == ErrorKind::Unsupported || cfg!(unix) && error.raw_os_error() == Some(ENOLCK)
}

/// Makes the folder `work` in which `out` is made, and keeps other programs from it as long as the file returned is open:
/// the system lets go of it even if the program is killed. Where files cannot be locked, it is left to the user that only one
/// program works there.
///
/// # Errors
/// If another program is `doing` the same, or the folder cannot be made.
pub(crate) fn claim(work: &Path, out: &Path, doing: &str) -> Result<File> {
    fs::create_dir_all(work).map_err(DatasetError::io("create", work))?;
    let path = work.join("lock");
    let lock = File::create(&path).map_err(DatasetError::io("create", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DatasetError::Output {
            path: out.into(),
            what: format!(
                "another program is {doing} to it; it works in `{}`",
                work.display()
            ),
        }),
        Err(TryLockError::Error(error)) if knows_no_locks(&error) => Ok(lock),
        Err(TryLockError::Error(error)) => Err(DatasetError::io("lock", &path)(error)),
    }
}

/// Removes a folder and all in it, if it is there.
pub(crate) fn remove_dir_all(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(DatasetError::io("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn is_mount_point(path: &Path, parent: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev());
    matches!((device(path), device(parent)), (Ok(own), Ok(around)) if own != around)
}

#[cfg(not(unix))]
fn is_mount_point(_: &Path, _: &Path) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn only_a_lock_that_cannot_be_had_is_done_without() {
        let errors = [
            (38, true),  // ENOSYS
            (95, true),  // EOPNOTSUPP
            (37, true),  // ENOLCK
            (5, false),  // EIO
            (13, false), // EACCES
        ];
        for (number, expected) in errors {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(knows_no_locks(&error), expected, "{error}");
        }
    }

    #[test]
    fn links_are_followed_and_places_without_room_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("lost")).unwrap();
        let found = Destination::find(&root.join("link")).unwrap();
        assert_eq!(
            (found.path, found.parent),
            (root.join("real"), root.clone())
        );
        assert_eq!(Destination::find(&root.join("new")).unwrap().name, "new");
        let error = |path: &Path| match Destination::find(path) {
            Ok(found) => panic!("{}", found.path.display()),
            Err(error) => error.to_string(),
        };
        assert!(error(&root.join("lost")).contains("leads nowhere"));
        assert!(error(Path::new("/")).contains("within another folder"));
        if cfg!(target_os = "linux") {
            assert!(error(Path::new("/proc")).contains("name a folder within it"));
        }
    }
}
