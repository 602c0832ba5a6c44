//! Where the parts of a VOC data set are: its annotations, its pictures, the list of a split.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::super::walk::{self, Found};
use super::super::{picture_folder, read_text};
use super::xml;
use crate::error::{DatasetError, Result};

/// Whether a folder looks like VOC's.
pub(in crate::import) fn is_root(folder: &Path) -> bool {
    let is_annotation = |path: &PathBuf| xml::parse(&read_text(path).unwrap_or_default()).is_ok();
    // A few are enough to know, should one of them be damaged.
    let holds = |folder: &Path| {
        walk::with_extension(folder, "xml")
            .iter()
            .take(5)
            .any(is_annotation)
    };
    holds(&folder.join("Annotations"))
        || holds(folder)
        || walk::subfolders(folder).iter().any(|split| holds(split))
}

/// The folder of the lists of splits.
const LISTS: &str = "ImageSets/Main";

/// Where the parts of a data set are.
pub(super) struct Layout {
    pub annotations: PathBuf,
    pub pictures: PathBuf,
    masks: Option<PathBuf>,
    /// Where the lists of splits are, if not each of these is a folder.
    lists: Option<PathBuf>,
    /// Where the other splits are, if each is a folder.
    pub splits: Option<PathBuf>,
    /// The names of the pictures of the split, without extension; all if none.
    chosen: Option<HashSet<String>>,
}

impl Layout {
    pub(super) fn find(path: &Path, images: Option<&Path>, split: Option<&str>) -> Result<Self> {
        let split = split.filter(|&split| split != "all");
        // The list of a split stands for the data set it lies in.
        let list = path.is_file().then_some(path);
        let root = match list {
            None => path,
            Some(list) => list
                .ancestors()
                .find(|folder| folder.join("Annotations").is_dir())
                .ok_or_else(|| {
                    let what =
                        "no folder above it holds `Annotations`; give the folder of the data set";
                    DatasetError::source(list, what)
                })?,
        };
        let annotations = root.join("Annotations");
        let has_annotations = annotations.is_dir();
        let annotations = match split {
            _ if has_annotations => annotations,
            None => root.to_owned(),
            Some(split) => root.join(split),
        };
        if !annotations.is_dir() {
            let what = format!(
                "no folder `{}`, nor `Annotations`, for the split",
                annotations.display()
            );
            return Err(DatasetError::source(path, what));
        }
        let chosen = match (list, split) {
            (Some(list), _) => Some(read_split(list)?),
            (None, Some(split)) if has_annotations => {
                let list = root.join(LISTS).join(format!("{split}.txt"));
                Some(read_split(&list)?)
            }
            _ => None,
        };
        let beside = || match has_annotations {
            false => annotations.clone(),
            true => ["JPEGImages", "images", "Images"]
                .map(|name| root.join(name))
                .into_iter()
                .find(|folder| folder.is_dir())
                .unwrap_or_else(|| root.to_owned()),
        };
        Ok(Self {
            pictures: match images {
                Some(images) => picture_folder::given(images)?,
                None => beside(),
            },
            masks: Some(root.join("SegmentationObject")).filter(|_| has_annotations),
            lists: Some(root.join(LISTS)).filter(|_| has_annotations),
            splits: (annotations != root && !has_annotations).then(|| root.to_owned()),
            annotations,
            chosen,
        })
    }
}

impl Layout {
    /// The names of the splits of a data set of which all is taken: its lists, or else the folders of its XML files.
    pub(super) fn split_names(&self, files: &[Found]) -> BTreeSet<String> {
        let Some(lists) = &self.lists else {
            let folders = files
                .iter()
                .filter_map(|file| file.relative.split_once('/'));
            return folders.map(|(folder, _)| folder.to_owned()).collect();
        };
        let lists = walk::with_extension(lists, "txt").into_iter();
        let names = lists.filter_map(|list| Some(list.file_stem()?.to_str()?.to_owned()));
        let names: BTreeSet<String> = names.collect();
        // `cat_train` is the part of `train` that matters for one class.
        let is_of_class = |name: &str| {
            let mut ends = name.match_indices('_').map(|(at, _)| &name[at + 1..]);
            ends.any(|end| names.contains(end))
        };
        let splits = names.iter().filter(|name| !is_of_class(name));
        splits.cloned().collect()
    }

    /// Whether a picture belongs to the split.
    pub(super) fn takes(&self, stem: &str) -> bool {
        self.chosen
            .as_ref()
            .is_none_or(|chosen| chosen.contains(stem))
    }

    /// The names of the pictures there should be annotations of, sorted: those of the split, or else all.
    pub(super) fn expected<'a, T>(&'a self, pictures: &'a BTreeMap<String, T>) -> Vec<&'a str> {
        let mut names: Vec<&str> = match &self.chosen {
            Some(chosen) => chosen.iter().map(String::as_str).collect(),
            None => pictures.keys().map(String::as_str).collect(),
        };
        names.sort_unstable();
        names
    }

    /// The file with a picture's object masks, if there is one.
    pub(super) fn mask(&self, stem: &str) -> Option<PathBuf> {
        let mask = self.masks.as_ref()?.join(format!("{stem}.png"));
        Some(mask).filter(|mask| mask.is_file())
    }
}

/// The names of a split: the first word of each line. (After it, the lists of single classes have a flag.)
fn read_split(path: &Path) -> Result<HashSet<String>> {
    let text = read_text(path).map_err(DatasetError::io("read the split", path))?;
    let names = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    Ok(names.map(str::to_owned).collect())
}
