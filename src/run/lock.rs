//! One process at a time in a folder.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use intertwine_datasets::knows_no_locks;

use super::RunError;

/// Keeps others out of a folder until it is dropped, or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    // The system's lock on an open file, not the file's being there: nothing stays locked after a crash.
    _file: File,
}

impl Lock {
    /// Takes the lock of a folder that is there.
    ///
    /// # Errors
    /// [`RunError::Busy`] if it is held; what the file system says.
    pub(super) fn take(folder: &Path) -> Result<Self, RunError> {
        let path = folder.join(".lock");
        let take = || -> io::Result<Option<File>> {
            let mut options = File::options();
            // Not cut to nothing on opening: it may hold the name of the process that has it.
            options.read(true).write(true).create(true).truncate(false);
            let mut file = options.open(&path)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => return Ok(None),
                // Then nobody is kept out, and the run goes on.
                Err(TryLockError::Error(e)) if knows_no_locks(&e) => {}
                taken => taken?,
            }
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())?;
            Ok(Some(file))
        };
        match take() {
            Ok(Some(_file)) => Ok(Self { _file }),
            Ok(None) => Err(RunError::Busy {
                by: std::fs::read_to_string(&path)
                    .ok()
                    .and_then(|text| text.trim().parse().ok()),
                path: folder.to_owned(),
            }),
            Err(source) => Err(RunError::Io { path, source }),
        }
    }
}
