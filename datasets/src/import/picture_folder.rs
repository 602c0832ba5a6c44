//! Finds the folder that the file names of a label file are relative to.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::tails::{leads_elsewhere, parts, SharedTails};
use super::{list_paths, walk};
use crate::error::{DatasetError, Result};

/// File names tried in each folder that comes into question.
const PROBES: usize = 64;

/// A folder that comes into question for a label file.
struct Candidate {
    folder: PathBuf,
    /// Those of a lower standing are likelier; among those of the same one, nothing but their contents tells which is
    /// meant.
    standing: (bool, u8, bool),
}

/// The folders that come into question for a label file, the likeliest first: beside the label file and in the folders
/// there, then the folder above and those in it, which may belong to other sets; of each, `instances_train2017.json`
/// prefers `train2017`, then `train`.
fn candidates(label_file: &Path) -> Vec<Candidate> {
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
        for inner in walk::subfolders(base) {
            folders.extend(walk::subfolders(&inner));
            folders.push(inner);
        }
    }
    let stem = label_file
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let words: Vec<&str> = stem.split(['_', '-', '.']).collect();
    let rank = |folder: &Path| {
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
            // Digits alone are no year behind a word.
            _ if words
                .iter()
                .map(|word| without_year(word))
                .any(|word| !word.is_empty() && word == without_year(&name)) =>
            {
                1
            }
            _ if name == "images" => 2,
            _ => 3,
        }
    };
    let candidate = |folder: PathBuf| {
        // File names are first of all relative to the label file.
        let standing = (!folder.starts_with(&here), rank(&folder), folder != here);
        Candidate { folder, standing }
    };
    let mut candidates: Vec<_> = folders.into_iter().map(candidate).collect();
    candidates.sort_by_cached_key(|candidate| {
        let folder = candidate.folder.clone();
        (candidate.standing, folder.components().count(), folder)
    });
    candidates.dedup_by(|a, b| a.folder == b.folder);
    candidates
}

/// The folder where most of the names are found, of equals the one where most are found whole, and then the likeliest.
///
/// # Errors
/// If none of them is found, or as many in several folders that are as likely: labels must not land on the pictures of
/// another camera, or on depth maps.
pub(super) fn find(label_file: &Path, names: &[&str], shared: &SharedTails) -> Result<PathBuf> {
    let step = names.len().div_ceil(PROBES).max(1);
    let probes: Vec<_> = names.iter().step_by(step).map(|name| parts(name)).collect();
    // How many are found and how many of these whole; it is not counted to the end where fewer than `least` would be.
    let score = |folder: &Path, least: usize| {
        let (mut hits, mut whole) = (0, 0);
        for (tried, parts) in probes.iter().enumerate() {
            if let Some((tail, _)) = look(folder, parts, shared) {
                hits += 1;
                whole += usize::from(tail == parts.len());
            } else if hits + probes.len() - tried <= least {
                break;
            }
        }
        (hits, whole)
    };
    let can_be_whole = |parts: &&Vec<&str>| {
        let longest = shared.own(parts).first().map(|tail| tail.len());
        longest == Some(parts.len())
    };
    let perfect = (probes.len(), probes.iter().filter(can_be_whole).count());
    let candidates = candidates(label_file);
    let (mut best, mut found) = ((0, 0), Vec::<&Candidate>::new());
    for candidate in &candidates {
        let likeliest = found.first().map(|first| first.standing);
        let is_less_likely = likeliest.is_some_and(|standing| standing != candidate.standing);
        if best == perfect && is_less_likely {
            break;
        }
        let score = score(&candidate.folder, best.0);
        if score > best {
            (best, found) = (score, vec![candidate]);
        } else if score == best && best.0 > 0 && !is_less_likely {
            found.push(candidate);
        }
    }
    // A folder may be there under several names.
    let mut known = HashSet::new();
    found.retain(|Candidate { folder, .. }| {
        known.insert(folder.canonicalize().unwrap_or_else(|_| folder.clone()))
    });
    match found.as_slice() {
        [one] => Ok(one.folder.clone()),
        [] => {
            let what = format!(
                "none of its {} pictures was found, such as `{}`; looked in {}; give their folder with --images DIR",
                names.len(),
                names[0],
                list_paths(candidates.iter().map(|candidate| &candidate.folder))
            );
            Err(DatasetError::source(label_file, what))
        }
        several => {
            let what = format!(
                "several folders come into question for its {} pictures, such as `{}`: {}; give one with --images DIR",
                names.len(),
                names[0],
                list_paths(several.iter().map(|candidate| &candidate.folder))
            );
            Err(DatasetError::source(label_file, what))
        }
    }
}

/// The file of this name in `folder`, or else of the longest tail of the name in which no other name ends: label files
/// carry the paths of the machine they were made on. It is never looked for outside of the folder.
pub(super) fn resolve(folder: &Path, name: &str, shared: &SharedTails) -> Option<PathBuf> {
    look(folder, &parts(name), shared).map(|(_, path)| path)
}

/// The class of a picture where folders are classes: the first folder of its name, or, of a name that leads elsewhere,
/// of the tail by which it is found in `folder`.
pub(super) fn class<'a>(folder: &Path, name: &'a str, shared: &SharedTails) -> Option<&'a str> {
    let parts = parts(name);
    let used = match leads_elsewhere(&parts) {
        false => parts.len(),
        true => look(folder, &parts, shared)?.0,
    };
    // The last part is the picture's own.
    (used > 1).then(|| parts[parts.len() - used])
}

/// The file, and the number of the name's parts by which it was found.
fn look(folder: &Path, parts: &[&str], shared: &SharedTails) -> Option<(usize, PathBuf)> {
    let own = shared.own(parts).into_iter();
    own.map(|tail| (tail.len(), folder.join(tail.join("/"))))
        .find(|(_, path)| path.is_file())
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
    use std::fs;

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
        let find = |labels: &Path, names: &[&str]| find(labels, names, &SharedTails::of(names));
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

    #[test]
    fn a_folder_has_no_picture_of_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        let find = |labels: &str, names: &[&str]| {
            let found = find(&folder.path().join(labels), names, &SharedTails::of(names)).unwrap();
            found.strip_prefix(folder.path()).unwrap().to_owned()
        };
        put("d/images/0001/0.jpg");
        put("d/images/0002/0.jpg");
        let names = ["0001/0.jpg", "0002/0.jpg"];
        assert_eq!(find("d/instances_2017.json", &names), Path::new("d/images"));
        put("e/images/cats/1.jpg");
        put("e/images/dogs/1.jpg");
        let names = ["cats/1.jpg", "dogs/1.jpg"];
        assert_eq!(find("e/cats_dogs.json", &names), Path::new("e/images"));
        // A folder called as the label file is, with a picture called as one of its names ends.
        put("f/train/1.jpg");
        put("f/images/x/1.jpg");
        assert_eq!(find("f/train.json", &["x/1.jpg"]), Path::new("f/images"));
        // A folder of digits is not that of a year.
        put("h/0001/1.jpg");
        put("h/images/1.jpg");
        assert_eq!(
            find("h/instances_2017.json", &["1.jpg"]),
            Path::new("h/images")
        );
        // Names of another machine.
        put("g/photos/a/0.jpg");
        put("g/photos/b/0.jpg");
        let names = ["/abs/a/0.jpg", "/abs/b/0.jpg"];
        assert_eq!(find("g/train.json", &names), Path::new("g/photos"));
    }
}
