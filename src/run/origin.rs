//! What a run reads, noted in its folder: for whoever looks at it later, and so that it goes on with the same.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use intertwine_datasets::{Mix, PackedSet};
use serde::{Deserialize, Serialize};

use super::{is_begun, RunError, RunFolder};

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
        if let [set] = &sets[..] {
            return set.clone();
        }
        let paths = Vec::from_iter(sets.iter().map(|set| &*set.path)).join("; ");
        let about = sets
            .iter()
            .zip(mix.shares())
            .map(|(set, share)| format!("{}, {:.2}% of the stream", set.about, 100.0 * share));
        Self {
            path: paths,
            about: Vec::from_iter(about).join("; "),
            id: mix.fingerprint(),
        }
    }
}

/// What a run that has begun may be given in the place of what it was given before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// The same, or nothing where there was nothing.
    Same,
    /// The same, or nothing.
    SameOrNone,
    /// The same, nothing, or what is in its place now: the run has a copy of its own.
    Copied,
    /// Anything.
    Any,
}

/// What a run is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The version that began it.
    pub version: String,
    /// What it reads, by the option that names it.
    pub sources: BTreeMap<String, Source>,
}

impl Origin {
    /// Of the run in a folder; none of a run that is older than such notes.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, RunError> {
        let path = folder.join(FILE);
        let read = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.and_then(|text| toml::from_str(&text).map_err(io::Error::other)),
        };
        read.map(Some)
            .map_err(|source| RunError::Io { path, source })
    }
}

impl RunFolder {
    /// What the run in this folder reads, each with the option that names it, to be [noted](Self::note_origin) once the run
    /// goes on. Of a run that has begun it makes sure that it is what was noted then; there is nothing to note of one that is
    /// older than these notes.
    ///
    /// # Errors
    /// If it is not, or what the file system says.
    pub fn origin(
        &self,
        sources: &[(&str, Accept, Option<Source>)],
    ) -> Result<Option<Origin>, RunError> {
        let path = self.path().join(FILE);
        let mut origin = Origin {
            version: env!("CARGO_PKG_VERSION").into(),
            sources: BTreeMap::new(),
        };
        if is_begun(self.path()) {
            match Origin::read(self.path())? {
                Some(then) => origin = then,
                None => return Ok(None),
            }
            for (option, accept, now) in sources {
                let then = origin.sources.get(*option);
                if let Some(problem) = problem(option, *accept, then, now.as_ref()) {
                    return Err(RunError::OtherSource { path, problem });
                }
            }
        }
        for (option, accept, now) in sources {
            // What was copied is what the run was begun with, whatever is in its place now.
            let is_known = *accept == Accept::Copied && origin.sources.contains_key(*option);
            if let Some(now) = now.as_ref().filter(|_| !is_known) {
                origin.sources.insert((*option).into(), now.clone());
            }
        }
        Ok(Some(origin))
    }

    /// Notes it, if there is something to note.
    ///
    /// # Errors
    /// What the file system says.
    pub fn note_origin(&self, origin: Option<&Origin>) -> Result<(), RunError> {
        let Some(origin) = origin else { return Ok(()) };
        let path = self.path().join(FILE);
        let text = toml::to_string(origin).expect("an origin is plain data");
        intertwine_files::own_bytes(&path, text.as_bytes())
            .map_err(|source| RunError::Io { path, source })
    }
}

/// What is wrong with what is given now, and what would do; `None` if nothing is.
fn problem(
    option: &str,
    accept: Accept,
    then: Option<&Source>,
    now: Option<&Source>,
) -> Option<String> {
    let (then, now) = match (then, now) {
        _ if accept == Accept::Any => return None,
        (None, None) => return None,
        (None, Some(_)) if accept == Accept::SameOrNone => return None,
        (Some(_), None) if accept != Accept::Same => return None,
        (Some(then), Some(now)) if then.id == now.id => return None,
        (Some(then), Some(now)) if accept == Accept::Copied && then.path == now.path => {
            return None
        }
        (None, Some(_)) => {
            return Some(format!(
                "the run there was begun without --{option}; resume without it"
            ))
        }
        (Some(then), None) => {
            return Some(format!(
                "the run there was begun with --{option} {}; resume with it",
                then.path
            ))
        }
        (Some(then), Some(now)) => (then, now),
    };
    let is = match then.path == now.path {
        true => format!(
            "--{option} {} has changed since the run there was begun",
            then.path
        ),
        false => format!(
            "--{option} is {}, but the run there was begun with {}",
            now.path, then.path
        ),
    };
    let or_none = match accept {
        Accept::SameOrNone => " or without it",
        _ => "",
    };
    Some(format!(
        "{is} ({} then, {} now); resume with the same{or_none}",
        then.about, now.about
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, id: &str) -> Option<Source> {
        Some(Source::new(
            Path::new(path),
            format!("{id} pictures"),
            id.into(),
        ))
    }

    #[test]
    fn a_run_goes_on_with_what_it_was_begun_with() {
        let (a, b, moved) = (
            source("/a", "1"),
            source("/b", "2"),
            source("/elsewhere", "1"),
        );
        let learnt_on = source("/a", "3");
        let refused = |accept, then: &Option<Source>, now: &Option<Source>| {
            problem("x", accept, then.as_ref(), now.as_ref())
        };
        use Accept::{Any, Copied, Same, SameOrNone};
        for (accept, then, now, is_refused) in [
            (Same, &a, &a, false),
            (Same, &a, &moved, false),
            (Same, &a, &b, true),
            (Same, &a, &learnt_on, true),
            (Same, &a, &None, true),
            (Same, &None, &a, true),
            (SameOrNone, &a, &None, false),
            (SameOrNone, &None, &a, false),
            (SameOrNone, &a, &b, true),
            (Copied, &a, &learnt_on, false),
            (Copied, &a, &moved, false),
            (Copied, &a, &None, false),
            (Copied, &a, &b, true),
            (Copied, &None, &a, true),
            (Any, &a, &b, false),
        ] {
            let said = refused(accept, then, now);
            assert_eq!(said.is_some(), is_refused, "{accept:?} {then:?} {now:?}");
        }
        let changed = refused(SameOrNone, &a, &learnt_on).unwrap();
        assert!(
            changed.contains("--x /a has changed since") && changed.ends_with("or without it"),
            "{changed}"
        );
        assert!(refused(Copied, &None, &a)
            .unwrap()
            .contains("resume without it"));
    }

    #[test]
    fn notes_are_of_the_run_that_has_begun() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunFolder::open(dir.path(), &toml::Table::new(), false).unwrap();
        let note = |data, init| {
            let origin =
                run.origin(&[("data", Accept::Any, data), ("init", Accept::Copied, init)])?;
            run.note_origin(origin.as_ref())
        };
        let ids = || {
            let sources = Origin::read(dir.path()).unwrap().unwrap().sources;
            let ids = sources.values().map(|source| source.id.clone());
            Vec::from_iter(ids).join(" ")
        };
        note(source("/a", "1"), source("/e", "2")).unwrap();
        // Nothing is learnt yet.
        note(source("/b", "3"), source("/f", "4")).unwrap();
        assert_eq!(ids(), "3 4");
        std::fs::write(run.checkpoint(), "").unwrap();
        note(source("/c", "5"), source("/f", "6")).unwrap();
        assert_eq!(ids(), "5 4");
        note(None, None).unwrap();
        assert_eq!(ids(), "5 4");
        let other = note(None, source("/g", "7")).unwrap_err().to_string();
        assert!(
            other.contains("--init is /g, but the run there was begun with /f"),
            "{other}"
        );

        let file = dir.path().join(FILE);
        std::fs::write(&file, "version = 1").unwrap();
        assert!(note(None, None).unwrap_err().to_string().contains(FILE));
        // A run that is older than such notes gets none.
        std::fs::remove_file(&file).unwrap();
        note(source("/a", "1"), None).unwrap();
        assert_eq!(Origin::read(dir.path()).unwrap(), None);
    }
}
