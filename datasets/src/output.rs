//! The output folder: made beside, put in place whole.
//!
//! All work happens in `.NAME.packing` beside the output `NAME`: `set` is the new packed set, or what is to
//! be added to one, `journal.jsonl` says what of it is finished, `old` is for a moment the set that is
//! replaced, `lock` is held while a program works there. A run that was killed leaves that folder; the next
//! run takes it over. A run that has ended moves it to `.NAME.packed` for the moment that removing it takes.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::destination::{claim, remove_dir_all, Destination};
use crate::error::{DatasetError, Result};
use crate::import::Importer;
use crate::journal::{Journal, Past, Step, Task, JOURNAL};
use crate::manifest::{Manifest, MANIFEST};
use crate::options::Existing;
use crate::packed_set::PackedSet;
use crate::quarantine::QUARANTINE;
use crate::resume::still_valid;
use crate::shard::sync_folder;

/// An output folder in the making. Dropped before [`Self::commit`], it removes what was made, except for
/// finished shards, which the next run takes over.
pub(crate) struct Staging {
    out: PathBuf,
    work: PathBuf,
    task: Task,
    /// The set that is appended to.
    base: Option<Manifest>,
    past: Option<Past>,
    /// Nothing is left to be cleared up.
    over: bool,
    /// Held until the end; the system releases it even if the program is killed.
    _lock: File,
}

/// How the output folder was found.
pub(crate) enum Prepared {
    /// Ready to be worked on.
    Open(Box<Staging>),
    /// An earlier run of the same task was killed after it had put everything in place.
    Done(Box<Past>),
}

/// Work that is taken over from an earlier run.
pub(crate) struct Begun {
    pub journal: Journal,
    pub steps: Vec<Step>,
    /// Why some finished work is not taken over.
    pub lost: Option<String>,
}

impl Staging {
    /// Checks that `out` may be written and prepares the work beside it.
    ///
    /// # Errors
    /// If no folder can be put at `out`; if what is there does not go with `existing`; if another program is
    /// packing to it; or if the finished work of another task lies beside it.
    pub(crate) fn prepare(out: &Path, existing: Existing, task: Task) -> Result<Prepared> {
        let Destination {
            path: out,
            parent,
            name,
        } = Destination::find(out)?;
        let refuse = |path: &Path, what: String| DatasetError::Output {
            path: path.into(),
            what,
        };
        let work = parent.join(format!(".{name}.packing"));
        let admit = || match unfit(&out, existing)? {
            Some(what) => Err(refuse(&out, what)),
            None => Ok(()),
        };
        if !work.exists() {
            // A refusal should leave no trace, so it comes before anything is made.
            admit()?;
        }
        let lock = claim(&work, &out, "packing")?;
        let mut staging = Self {
            out: out.clone(),
            work,
            task,
            base: None,
            past: None,
            over: false,
            _lock: lock,
        };
        if staging.remains().join(JOURNAL).exists() {
            clear(&staging.remains());
        }
        staging.put_back_old()?;
        staging.past = Past::read(&staging.work)?;
        if let Some(past) = staging.take_completed() {
            let appends_to = past.task.appends_to().map(Into::into);
            let same_base = staging.task.clone().appending_to(appends_to);
            let same = past.task.differences(&same_base).is_empty();
            // Replacing once more costs time only, and takes the source as it is now.
            if same && existing == past.task.existing() {
                staging.end()?;
                return Ok(Prepared::Done(Box::new(past)));
            }
            // Its place is wanted for another one.
            remove_dir_all(&staging.folder())?;
            staging.remove_journal()?;
        }
        admit()?;
        if existing == Existing::Append {
            staging.base = Some(Manifest::read(&out)?);
            staging.task = staging.task.clone().appending_to(Manifest::hash(&out));
        }
        staging.refuse_another_task()?;
        fs::create_dir_all(staging.folder())
            .map_err(DatasetError::io("create", staging.folder()))?;
        staging.put_back_appended()?;
        Ok(Prepared::Open(Box::new(staging)))
    }

    /// Where to write.
    pub(crate) fn folder(&self) -> PathBuf {
        self.work.join("set")
    }

    /// The set that is appended to.
    pub(crate) fn base(&self) -> Option<&Manifest> {
        self.base.as_ref()
    }

    /// Takes over what still holds of an earlier run, removes the rest of it, and begins the journal.
    pub(crate) fn begin(&mut self, importer: &dyn Importer) -> Result<Begun> {
        let folder = self.folder();
        let steps = self.past.take().map(|past| past.steps).unwrap_or_default();
        let (steps, lost) = still_valid(steps, importer, &folder);
        // The journal first: it must never name a shard that is gone.
        let journal = Journal::begin(&self.work, self.task.clone(), &steps)?;
        for name in names(&folder)?.unwrap_or_default() {
            if steps.iter().all(|step| step.shard.file != name) {
                let path = folder.join(name);
                fs::remove_file(&path).map_err(DatasetError::io("remove", &path))?;
            }
        }
        Ok(Begun {
            journal,
            steps,
            lost,
        })
    }

    /// Puts the new set in place, and takes the one it replaces away only then. `manifest` is the one
    /// written into [`Self::folder`].
    pub(crate) fn commit(mut self, manifest: &Manifest) -> Result<()> {
        sync_folder(&self.folder())?;
        match &self.base {
            Some(base) => self.add_to(base, manifest)?,
            None => self.replace()?,
        }
        self.end()
    }

    /// What is left of a run after its end.
    fn remains(&self) -> PathBuf {
        self.work.with_extension("packed")
    }

    /// Ends a run that has put everything in place, in one step: until then its journal says that it is complete, and
    /// then there is no trace of it where the next run looks. Killed at any moment, nothing is appended twice.
    fn end(&mut self) -> Result<()> {
        let remains = self.remains();
        if fs::rename(&self.work, &remains).is_ok() {
            self.over = true;
            clear(&remains);
            return Ok(());
        }
        // Not every system moves a folder with an open file; the lock is one.
        self.remove_journal()
    }

    fn remove_journal(&self) -> Result<()> {
        let journal = self.work.join(JOURNAL);
        fs::remove_file(&journal).map_err(DatasetError::io("remove", &journal))
    }

    fn replace(&self) -> Result<()> {
        let (set, old, out) = (self.folder(), self.work.join("old"), &self.out);
        let replaces = PackedSet::is_in(out);
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

    /// Moves the new shards to the others. The old set stays what it was until its manifest is replaced:
    /// shards that the manifest does not list, and lines of the quarantine list beyond those it counts,
    /// are not of the set.
    fn add_to(&self, base: &Manifest, manifest: &Manifest) -> Result<()> {
        let (set, out) = (self.folder(), &self.out);
        let new = &manifest.shards[base.shards.len()..];
        if let Some(taken) = new.iter().find(|shard| out.join(&shard.file).exists()) {
            let what = format!(
                "holds `{}`, which is not of the packed set; move it away first",
                taken.file
            );
            return Err(DatasetError::Output {
                path: out.clone(),
                what,
            });
        }
        let files = new.iter().map(|shard| shard.file.as_str());
        for name in files.chain([QUARANTINE, MANIFEST]) {
            if name == MANIFEST {
                sync_folder(out)?;
            }
            let to = out.join(name);
            fs::rename(set.join(name), &to).map_err(DatasetError::io("move a file to", &to))?;
        }
        sync_folder(out)
    }

    /// Puts back a set that a killed run was about to replace; removes it where that was done.
    fn put_back_old(&self) -> Result<()> {
        let old = self.work.join("old");
        if old.exists() && !self.out.exists() {
            fs::rename(&old, &self.out).map_err(DatasetError::io("move back", &old))
        } else if old.exists() {
            remove_set(&old)
        } else {
            Ok(())
        }
    }

    /// What a run did that had put everything in place.
    fn take_completed(&mut self) -> Option<Past> {
        let in_place =
            |past: &mut Past| past.complete.is_some() && past.complete == Manifest::hash(&self.out);
        self.past.take_if(in_place)
    }

    /// Hours of somebody's work are not thrown away for a mistyped option.
    fn refuse_another_task(&self) -> Result<()> {
        let Some(past) = self.past.as_ref().filter(|past| !past.steps.is_empty()) else {
            return Ok(());
        };
        let differences = past.task.differences(&self.task);
        if differences.is_empty() {
            return Ok(());
        }
        let what = format!(
            "holds {} finished shards of a packing that was stopped and was not this one ({}); run that one \
             again to finish it, or remove the folder to start over",
            past.steps.len(),
            differences.join("; ")
        );
        Err(DatasetError::Output {
            path: self.work.clone(),
            what,
        })
    }

    /// Takes back shards that a killed run had begun to move to a set, which does not list them yet.
    fn put_back_appended(&self) -> Result<()> {
        let (Some(past), Some(base)) = (&self.past, &self.base) else {
            return Ok(());
        };
        for file in past.steps.iter().map(|step| &step.shard.file) {
            let (from, to) = (self.out.join(file), self.folder().join(file));
            let listed = base.shards.iter().any(|shard| shard.file == *file);
            if !listed && from.exists() && !to.exists() {
                fs::rename(&from, &to).map_err(DatasetError::io("take back", &from))?;
            }
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let finished = |past: &Past| !past.steps.is_empty();
        let nothing_finished =
            || matches!(Past::read(&self.work), Ok(past) if !past.as_ref().is_some_and(finished));
        if !self.over && nothing_finished() {
            clear(&self.work);
        }
    }
}

/// Removes a working folder, the journal last. What cannot be removed now is removed by the next run. A replaced set
/// that could not be removed stays, and with it the folder.
fn clear(work: &Path) {
    let _ = remove_dir_all(&work.join("set"));
    let _ = fs::remove_file(work.join("lock"));
    let _ = fs::remove_file(work.join(JOURNAL));
    let _ = fs::remove_dir(work);
}

/// The names in a folder, sorted; none if there is no folder.
fn names(folder: &Path) -> Result<Option<Vec<String>>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(DatasetError::io("look into", folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(DatasetError::io("look into", folder))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(Some(names))
}

/// Why `out` must not be written, if so.
fn unfit(out: &Path, existing: Existing) -> Result<Option<String>> {
    if out.is_file() {
        return Ok(Some("a file; name a folder".into()));
    }
    let names = names(out)?.unwrap_or_default();
    let appends = existing == Existing::Append;
    if names.is_empty() {
        let what = "holds no packed set to append to; leave out --append to make one";
        return Ok(appends.then(|| what.into()));
    }
    let manifest = match Manifest::read(out) {
        // A set that cannot be read must be named as such, not taken for a stranger's folder.
        Err(error) if appends => return Err(error),
        Err(_) => {
            let what = format!(
                "not empty (it holds `{}`) and no packed set; name a new folder",
                names[0]
            );
            return Ok(Some(what));
        }
        Ok(manifest) => manifest,
    };
    match existing {
        Existing::Refuse => Ok(Some(format!(
            "holds a packed set of {} pictures; replace it with --overwrite or add to it with --append",
            manifest.records
        ))),
        Existing::Replace => {
            let own = own_files(&manifest);
            Ok(names.into_iter().find(|name| !own.contains(name)).map(|name| {
                format!("holds `{name}`, which is not of the packed set and would be lost; move it away first")
            }))
        }
        Existing::Append => Ok(None),
    }
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
