//! What a run is made of, noted in its folder: for whoever looks at it later, and so that it goes on with the same.

use std::collections::BTreeMap;
use std::path::Path;

use intertwine_datasets::{Mix, PackedSet};
use serde::{Deserialize, Serialize};

use super::{is_begun, RunError, RunFolder};
use crate::files::write_atomic;

const FILE: &str = "origin.toml";

/// Something that a run reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where it was.
    pub path: String,
    /// What it was.
    pub about: String,
    /// Tells it from others.
    pub id: String,
}

impl Source {
    /// Something at a path.
    pub fn new(path: &Path, about: String, id: String) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self {
            path: path.display().to_string(),
            about,
            id,
        }
    }
}

impl From<&PackedSet> for Source {
    fn from(set: &PackedSet) -> Self {
        let about = match set.categories().len() {
            0 => format!("{} pictures", set.len()),
            classes => format!("{} pictures, {classes} classes", set.len()),
        };
        Self::new(set.folder(), about, set.fingerprint())
    }
}

impl From<&Mix> for Source {
    fn from(mix: &Mix) -> Self {
        let sets = Vec::from_iter(mix.sets().iter().map(|set| Self::from(&**set)));
        let joined = |of: fn(&Self) -> &str| Vec::from_iter(sets.iter().map(of)).join("; ");
        Self {
            path: joined(|set| &set.path),
            about: joined(|set| &set.about),
            id: mix.fingerprint(),
        }
    }
}

/// What a run does with what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Learns from it.
    Learn,
    /// Begins with it, and has its own copy from then on.
    Begin,
    /// Looks at it, from when it is first given.
    Look,
}

/// What a run is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The version that began it.
    pub version: String,
    /// What it reads, by the option that names it.
    pub sources: BTreeMap<String, Source>,
}

impl Origin {
    /// Of the run in a folder; none of a run that is older than such notes.
    pub fn read(folder: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(folder.join(FILE)).ok()?;
        toml::from_str(&text).ok()
    }
}

impl RunFolder {
    /// Notes what the run in this folder reads, each with the option that names it, or makes sure that it is what was noted
    /// when the run was begun. What is not given again stays as it was noted.
    ///
    /// # Errors
    /// If it is another, or what the file system says.
    pub fn note_origin(&self, sources: &[(&str, Use, Option<Source>)]) -> Result<(), RunError> {
        let path = self.path().join(FILE);
        let old = Origin::read(self.path());
        if old.is_none() && is_begun(self.path()) {
            // Of a run that is older than these notes nothing is known.
            return Ok(());
        }
        let mut origin = old.clone().unwrap_or_else(|| Origin {
            version: env!("CARGO_PKG_VERSION").into(),
            ..Origin::default()
        });
        for (option, purpose, source) in sources {
            let Some(source) = source else {
                continue;
            };
            let then = origin.sources.get(*option);
            let is_same = match then {
                // An encoder may have learnt on since.
                Some(then) if *purpose == Use::Begin && then.path == source.path => true,
                Some(then) => then.id == source.id,
                None => old.is_none() || *purpose == Use::Look,
            };
            if !is_same {
                return Err(RunError::OtherSource {
                    path,
                    option: (*option).into(),
                    then: then.map(|then| then.path.clone()),
                    now: source.path.clone(),
                    optional: *purpose == Use::Look,
                });
            }
            if then.is_none() {
                origin.sources.insert((*option).into(), source.clone());
            }
        }
        if old.as_ref() == Some(&origin) {
            return Ok(());
        }
        let text = toml::to_string(&origin).expect("an origin is plain data");
        write_atomic(&path, text.as_bytes()).map_err(|source| RunError::Io { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_with_what_it_was_begun_with() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunFolder::open(dir.path(), &toml::Table::new(), false).unwrap();
        let source = |path: &str, id: &str| {
            Some(Source::new(
                Path::new(path),
                "10 pictures".into(),
                id.into(),
            ))
        };
        let note = |data, init, val| {
            run.note_origin(&[
                ("data", Use::Learn, data),
                ("init", Use::Begin, init),
                ("val", Use::Look, val),
            ])
        };
        let data = || source("/train", "a");
        note(data(), None, None).unwrap();
        let said = note(data(), source("/encoder", "e"), None).unwrap_err();
        assert!(
            said.to_string()
                .contains("begun without --init, now it is given /encoder"),
            "{said}"
        );
        // What is looked at may be given later; then it stays.
        note(data(), None, source("/val", "v")).unwrap();
        note(data(), None, None).unwrap();
        assert!(note(data(), None, source("/val", "w")).is_err());
        assert!(note(source("/train", "b"), None, None).is_err());
        // Moved, and still the same.
        note(source("/elsewhere", "a"), None, None).unwrap();
        let origin = Origin::read(dir.path()).unwrap();
        let paths = origin.sources.iter();
        let paths = Vec::from_iter(paths.map(|(option, of)| (option.as_str(), of.path.as_str())));
        assert_eq!(paths, [("data", "/train"), ("val", "/val")]);

        // Of what it begins with a run has a copy, whatever becomes of it.
        let dir = tempfile::tempdir().unwrap();
        let run = RunFolder::open(dir.path(), &toml::Table::new(), false).unwrap();
        let note = |init| run.note_origin(&[("init", Use::Begin, init)]);
        note(source("/encoder", "e")).unwrap();
        note(source("/encoder", "f")).unwrap();
        note(source("/copy", "e")).unwrap();
        note(None).unwrap();
        assert!(note(source("/other", "f")).is_err());
    }

    #[test]
    fn an_older_run_has_no_notes_and_gets_none() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunFolder::open(dir.path(), &toml::Table::new(), false).unwrap();
        std::fs::write(run.checkpoint(), "").unwrap();
        let source = Source::new(Path::new("/train"), String::new(), "a".into());
        run.note_origin(&[("data", Use::Learn, Some(source))])
            .unwrap();
        assert_eq!(Origin::read(dir.path()), None);
    }
}
