//! Finds the folder that the file names of a label file are relative to.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::error::{DatasetError, Result};

/// File names tried in each folder that comes into question.
const PROBES: usize = 64;

/// The folders that come into question for a label file, the likeliest first: beside the label file and in the folders
/// there, then the folder above and those in it, which may belong to other sets; of each, `instances_train2017.json`
/// prefers `train2017`, then `train`.
fn candidates(label_file: &Path) -> Vec<PathBuf> {
    let here = match label_file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let above = here
        .join("..")
        .canonicalize()
        .unwrap_or_else(|_| here.clone());
    let mut folders = Vec::new();
    for base in [&here, &above] {
        folders.push(base.clone());
        for inner in subfolders(base) {
            folders.extend(subfolders(&inner));
            folders.push(inner);
        }
    }
    let stem = label_file
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let words: Vec<&str> = stem.split(['_', '-', '.']).collect();
    let rank = |folder: &PathBuf| {
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let without_year = |word: &str| {
            word.trim_end_matches(|c: char| c.is_ascii_digit())
                .to_owned()
        };
        match () {
            _ if words.contains(&name.as_str()) => 0,
            _ if words
                .iter()
                .any(|word| without_year(word) == without_year(&name) && !name.is_empty()) =>
            {
                1
            }
            _ if name == "images" => 2,
            _ => 3,
        }
    };
    folders.sort_by_cached_key(|folder| {
        let outside = !folder.starts_with(&here);
        let depth = folder.components().count();
        (outside, rank(folder), depth, folder.clone())
    });
    folders.dedup();
    folders
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    // Only a link needs a look of its own: a folder may hold a million pictures.
    let is_folder = |entry: &fs::DirEntry| {
        entry
            .file_type()
            .is_ok_and(|kind| kind.is_dir() || kind.is_symlink() && entry.path().is_dir())
    };
    entries
        .filter(is_folder)
        .map(|entry| entry.path())
        .collect()
}

/// The folder where most of the names are found, the likeliest of equals; `Err` lists where was looked.
pub(super) fn find(label_file: &Path, names: &[&str]) -> Result<PathBuf, Vec<PathBuf>> {
    let step = names.len().div_ceil(PROBES).max(1);
    let hits = |folder: &Path| {
        names
            .iter()
            .step_by(step)
            .filter(|name| resolve(folder, name).is_some())
            .count()
    };
    let folders = candidates(label_file);
    let mut best = (0, None);
    for folder in &folders {
        let hits = hits(folder);
        if hits > best.0 {
            best = (hits, Some(folder.clone()));
        }
        if hits == names.len().div_ceil(step) {
            break;
        }
    }
    best.1.ok_or(folders)
}

/// The file of this name in `folder`. A name that leads out of the folder (absolute, or with `..`: label
/// files carry the paths of the machine they were made on) is looked for by its last part only.
pub(super) fn resolve(folder: &Path, name: &str) -> Option<PathBuf> {
    let name = name.replace('\\', "/");
    let relative = Path::new(&name);
    let stays_inside = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let direct = stays_inside
        .then(|| folder.join(relative))
        .filter(|path| path.is_file());
    direct.or_else(|| Some(folder.join(relative.file_name()?)).filter(|path| path.is_file()))
}

/// The folder given by hand.
pub(super) fn given(folder: &Path) -> Result<PathBuf> {
    match folder.is_dir() {
        true => Ok(folder.into()),
        false => {
            let what = "--images expects the folder with the pictures; this is none";
            Err(DatasetError::source(folder, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_beside_with_the_same_file_names_is_another_set() {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        for set in ["a", "b", "c"] {
            put(&format!("{set}/images/0.png"));
            put(&format!("{set}/labels.json"));
        }
        // Named as if it were for the labels of `train.json`, but not theirs.
        put("train/0.png");
        put("b/train.json");
        for labels in ["labels.json", "train.json"] {
            let found = find(&folder.path().join("b").join(labels), &["0.png"]);
            assert_eq!(found.unwrap(), folder.path().join("b/images"), "{labels}");
        }
        // In COCO's layout the pictures are outside.
        put("d/annotations/instances_val2017.json");
        put("d/train2017/1.jpg");
        put("d/val2017/1.jpg");
        let found = find(
            &folder.path().join("d/annotations/instances_val2017.json"),
            &["1.jpg"],
        );
        assert!(found.unwrap().ends_with("d/val2017"));
    }
}
