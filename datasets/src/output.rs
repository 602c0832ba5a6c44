//! The output folder: made beside, put in place whole.
//!
//! All work happens in `.NAME.packing` beside the output `NAME`: `set` is the new packed set, `old` for a
//! moment the one it replaces, `lock` is held while a program works there. A run that was killed leaves
//! that folder; the next run takes it over.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{DatasetError, Result};
use crate::manifest::{Manifest, MANIFEST};
use crate::quarantine::QUARANTINE;
use crate::shard::sync_folder;

/// An output folder in the making. Dropped before [`Self::commit`], it removes what was made.
#[derive(Debug)]
pub(crate) struct Staging {
    out: PathBuf,
    work: PathBuf,
    /// Held until the end; the system releases it even if the program is killed.
    _lock: File,
}

impl Staging {
    /// Checks that `out` may be written and prepares the work beside it.
    ///
    /// # Errors
    /// If `out` is a file, a folder with anything in it but a packed set, or a packed set and `overwrite`
    /// is not given; or if another program is packing to it.
    pub(crate) fn prepare(out: &Path, overwrite: bool) -> Result<Self> {
        // Through a link to a folder, the folder itself is replaced.
        let out = match out.canonicalize() {
            Ok(out) => out,
            Err(_) => std::path::absolute(out).map_err(DatasetError::io("resolve", out))?,
        };
        let refuse = |what: String| DatasetError::Output {
            path: out.clone(),
            what,
        };
        let (Some(parent), Some(name)) = (out.parent(), out.file_name()) else {
            return Err(refuse(
                "not a folder that can be made; name one within another folder".into(),
            ));
        };
        let work = parent.join(format!(".{}.packing", name.to_string_lossy()));
        // A refusal should leave no trace, so it comes before anything is made.
        let occupied = |out: &Path| occupied(out, overwrite).map(|what| what.map(refuse));
        if let Some(refusal) = occupied(&out)? {
            return Err(refusal);
        }
        fs::create_dir_all(&work).map_err(DatasetError::io("create", &work))?;
        let lock_path = work.join("lock");
        let lock = File::create(&lock_path).map_err(DatasetError::io("create", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(refuse(format!(
                    "another program is packing to it; it works in `{}`",
                    work.display()
                )));
            }
            Err(TryLockError::Error(error)) => {
                return Err(DatasetError::io("lock", &lock_path)(error))
            }
        }
        let staging = Self {
            work,
            _lock: lock,
            out: out.clone(),
        };
        staging.recover()?;
        if let Some(refusal) = occupied(&out)? {
            return Err(refusal);
        }
        fs::create_dir(staging.folder()).map_err(DatasetError::io("create", staging.folder()))?;
        Ok(staging)
    }

    /// Where to write.
    pub(crate) fn folder(&self) -> PathBuf {
        self.work.join("set")
    }

    /// Puts the new set in place, and takes the one it replaces away only then.
    pub(crate) fn commit(self) -> Result<()> {
        let (set, old, out) = (self.folder(), self.work.join("old"), &self.out);
        sync_folder(&set)?;
        let replaces = out.join(MANIFEST).exists();
        if replaces {
            fs::rename(out, &old).map_err(DatasetError::io("move away", out))?;
        }
        if let Err(error) = fs::rename(&set, out) {
            if replaces {
                // Best effort: if this fails too, the next run puts the old set back.
                let _ = fs::rename(&old, out);
            }
            return Err(DatasetError::io("move the packed set to", out)(error));
        }
        if let Some(parent) = out.parent() {
            sync_folder(parent)?;
        }
        if replaces {
            remove_set(&old)?;
        }
        Ok(())
    }

    /// Clears up after a run that was killed: puts back a set it was about to replace, and removes what it
    /// made.
    fn recover(&self) -> Result<()> {
        let old = self.work.join("old");
        if old.exists() && !self.out.exists() {
            fs::rename(&old, &self.out).map_err(DatasetError::io("move back", &old))?;
        } else if old.exists() {
            remove_set(&old)?;
        }
        remove_dir_all(&self.folder())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run. A replaced set that could not be removed
        // stays, and with it the folder.
        let _ = remove_dir_all(&self.folder());
        let _ = fs::remove_file(self.work.join("lock"));
        let _ = fs::remove_dir(&self.work);
    }
}

fn remove_dir_all(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(DatasetError::io("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Why `out` must not be written, if so.
fn occupied(out: &Path, overwrite: bool) -> Result<Option<String>> {
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Ok(Some("a file; name a folder".into()))
        }
        Err(error) => return Err(DatasetError::io("look into", out)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(
            entry
                .map_err(DatasetError::io("look into", out))?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    if names.is_empty() {
        return Ok(None);
    }
    names.sort();
    let Ok(manifest) = Manifest::read(out) else {
        let what = format!(
            "not empty (it holds `{}`) and no packed set; name a new folder",
            names[0]
        );
        return Ok(Some(what));
    };
    if !overwrite {
        let what = format!(
            "holds a packed set of {} pictures; replace it with --overwrite",
            manifest.records
        );
        return Ok(Some(what));
    }
    let own = own_files(&manifest);
    Ok(names.into_iter().find(|name| !own.contains(name)).map(|name| {
        format!("holds `{name}`, which is not of the packed set and would be lost; move it away first")
    }))
}

/// The names of a packed set's files.
fn own_files(manifest: &Manifest) -> Vec<String> {
    let shards = manifest.shards.iter().map(|shard| shard.file.clone());
    shards.chain([MANIFEST.into(), QUARANTINE.into()]).collect()
}

/// Removes a packed set, file by file, the manifest last; anything else that is in the folder stays.
fn remove_set(folder: &Path) -> Result<()> {
    let mut files = match Manifest::read(folder) {
        Ok(manifest) => own_files(&manifest),
        Err(_) => Vec::new(),
    };
    files.sort_by_key(|name| name == MANIFEST);
    for path in files.iter().map(|name| folder.join(name)) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(DatasetError::io("remove", &path)(error))
            }
            _ => {}
        }
    }
    fs::remove_dir(folder).map_err(DatasetError::io("remove the replaced set", folder))
}
