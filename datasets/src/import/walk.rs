//! All files below a folder, for the importers that look into folders.

use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::slashed;
use crate::quarantine::{Quarantined, Reason};

/// A file below a folder: its path from there with `/` between the parts, and as the system has it.
pub(super) struct Found {
    pub relative: String,
    pub path: PathBuf,
}

/// The files below `root`, sorted by their relative path, and what could not be looked into.
///
/// Links are followed; a link to a folder above it is reported. Hidden files are the system's own (macOS keeps
/// a `._x.jpg` beside each `x.jpg`) and are left out.
pub(super) fn files(root: &Path) -> (Vec<Found>, Vec<Quarantined>) {
    let (mut files, mut refused) = (Vec::new(), Vec::new());
    let entries = WalkDir::new(root)
        .follow_links(true)
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry));
    for entry in entries {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {}
            Ok(entry) => {
                let path = entry.into_path();
                let relative = slashed(path.strip_prefix(root).unwrap_or(&path));
                files.push(Found { relative, path });
            }
            Err(error) => {
                let at = error.path().unwrap_or(root);
                let name = slashed(at.strip_prefix(root).unwrap_or(at));
                let entry = Quarantined::picture(name, Reason::Unreadable, error.to_string());
                refused.push(entry);
            }
        }
    }
    files.sort_by(|a, b| (&a.relative, &a.path).cmp(&(&b.relative, &b.path)));
    refused.sort_by(|a, b| a.source.cmp(&b.source));
    (files, refused)
}

fn is_hidden(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    name.starts_with('.') || name == "__MACOSX"
}

/// The files directly in `folder` with this extension, sorted.
pub(super) fn with_extension(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| has_extension(path, extension) && path.is_file())
        .filter(|path| {
            !path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
        })
        .collect();
    files.sort();
    files
}

/// The folders directly in `folder`, sorted.
pub(super) fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    // Only a link needs a look of its own: a folder may hold a million pictures.
    let is_folder = |entry: &std::fs::DirEntry| {
        entry
            .file_type()
            .is_ok_and(|kind| kind.is_dir() || kind.is_symlink() && entry.path().is_dir())
    };
    let mut folders: Vec<_> = entries
        .filter(is_folder)
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    folders
}

/// Whether a file's name ends so, in capitals or not.
pub(super) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension()
        .is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// A relative path without its file's extension.
pub(crate) fn stem(relative: &str) -> &str {
    let name = relative.rfind('/').map_or(0, |slash| slash + 1);
    match relative[name..].rfind('.') {
        Some(dot) if dot > 0 => &relative[..name + dot],
        _ => relative,
    }
}
