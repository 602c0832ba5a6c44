//! Where the parts of a YOLO data set are: its splits, its pictures, the label file of a picture.

use std::path::{Path, PathBuf};

use super::super::{folder, read_text, walk};
use super::yaml::{self, DataYaml};
use crate::error::{DatasetError, Result};

/// The names a file of class names has, one a line: of labelImg, of Darknet, of Roboflow.
pub(super) const NAME_FILES: [&str; 4] =
    ["classes.txt", "obj.names", "_darknet.labels", "labels.txt"];

/// A data set whose pictures are not listed yet.
pub(super) struct Layout {
    /// What the names of pictures are relative to.
    pub root: PathBuf,
    pub yaml: DataYaml,
    /// Name of each split, and its folders and lists.
    pub splits: Vec<(String, Vec<PathBuf>)>,
}

/// The `data.yaml` of a folder, or another that names a split.
fn yaml_of(folder: &Path) -> Option<PathBuf> {
    let files = ["yaml", "yml"].map(|extension| walk::with_extension(folder, extension));
    let mut files = files.concat();
    files.sort_by_key(|file| file.file_stem().is_none_or(|stem| stem != "data"));
    files.into_iter().find(|file| {
        let yaml = read_text(file).map(|text| yaml::parse(&text));
        yaml.is_ok_and(|yaml| yaml.is_ok_and(|yaml| !yaml.splits.is_empty()))
    })
}

/// Whether a folder looks like YOLO's.
pub(in crate::import) fn is_root(folder: &Path) -> bool {
    let labels = |folder: &Path| {
        let (files, _) = walk::files(&folder.join("labels"));
        files
            .iter()
            .any(|file| walk::has_extension(&file.path, "txt"))
    };
    yaml_of(folder).is_some()
        || folder.join("images").is_dir() && folder.join("labels").is_dir() && labels(folder)
        || NAME_FILES[..3]
            .iter()
            .any(|name| folder.join(name).is_file())
}

impl Layout {
    pub(super) fn find(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return match yaml_of(path) {
                Some(yaml) => Self::of_yaml(&yaml),
                None => Ok(Self::of_folder(path)),
            };
        }
        if walk::has_extension(path, "txt") {
            let folder = path.parent().unwrap_or(Path::new(""));
            return Ok(Self {
                splits: vec![("list".into(), vec![path.to_owned()])],
                ..Self::of_folder(folder)
            });
        }
        Self::of_yaml(path)
    }

    fn of_yaml(path: &Path) -> Result<Self> {
        let wrong = |what: String| DatasetError::source(path, what);
        let text = read_text(path).map_err(DatasetError::io("read", path))?;
        let yaml = yaml::parse(&text).map_err(wrong)?;
        if yaml.splits.is_empty() {
            return Err(wrong("none of `train`, `val` and `test` is there".into()));
        }
        // `path` is often that of the machine the file was made on, or relative to another folder.
        let here = path.parent().unwrap_or(Path::new(""));
        let stated = yaml.path.as_ref().map(|path| here.join(path));
        let roots: Vec<PathBuf> = stated.into_iter().chain([here.to_owned()]).collect();
        let mut splits = Vec::new();
        let mut missing = None;
        for (name, places) in &yaml.splits {
            let found = places.iter().map(|place| {
                let found = roots.iter().find_map(|root| locate(root, place));
                found.ok_or_else(|| missing = Some((name.clone(), place.clone())))
            });
            if let Ok(places) = found.collect::<Result<Vec<_>, ()>>() {
                splits.push((name.clone(), places));
            }
        }
        if let (true, Some((name, place))) = (splits.is_empty(), missing) {
            let looked: Vec<_> = roots
                .iter()
                .map(|root| root.join(&place).display().to_string())
                .collect();
            return Err(wrong(format!(
                "`{name}: {place}` was not found; looked for {}",
                looked.join(", ")
            )));
        }
        let root = roots
            .into_iter()
            .find(|root| root.is_dir())
            .unwrap_or_else(|| here.to_owned());
        Ok(Self { root, yaml, splits })
    }

    /// Without a `data.yaml`: `images/SPLIT`, or `SPLIT/images`, or everything.
    fn of_folder(root: &Path) -> Self {
        let images = root.join("images");
        let has_pictures = |folder: &Path| {
            let mut entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.any(|entry| folder::is_picture_name(&entry.path()))
        };
        let mut splits = Vec::new();
        if images.is_dir() && !has_pictures(&images) {
            splits = subfolders(&images)
                .into_iter()
                .map(|folder| (folder.clone(), folder))
                .collect();
        } else if !images.is_dir() {
            let inner = subfolders(root)
                .into_iter()
                .map(|folder| (folder.clone(), folder.join("images")));
            splits = inner.filter(|(_, images)| images.is_dir()).collect();
        }
        if splits.is_empty() {
            let whole = if images.is_dir() {
                images
            } else {
                root.to_owned()
            };
            splits.push((root.to_owned(), whole));
        }
        let name = |folder: &Path| {
            folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        Self {
            root: root.to_owned(),
            yaml: DataYaml::default(),
            splits: splits
                .into_iter()
                .map(|(folder, images)| (name(&folder), vec![images]))
                .collect(),
        }
    }

    /// The folders and lists of the split, or of all.
    ///
    /// # Errors
    /// If there are several and none was chosen: training pictures and those held back must not be mixed
    /// unasked.
    pub(super) fn choose(&self, path: &Path, split: Option<&str>) -> Result<Vec<PathBuf>> {
        let names: Vec<_> = self.splits.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(", ");
        let chosen: Vec<_> = match split {
            None if self.splits.len() > 1 => {
                let what =
                    format!("has the splits {names}; take one with --split NAME, or --split all");
                return Err(DatasetError::source(path, what));
            }
            None | Some("all") => self.splits.iter().collect(),
            Some(wanted) => self
                .splits
                .iter()
                .filter(|(name, _)| name == wanted)
                .collect(),
        };
        if chosen.is_empty() {
            let what = format!(
                "has no split `{}`; found {names}",
                split.unwrap_or_default()
            );
            return Err(DatasetError::source(path, what));
        }
        Ok(chosen
            .iter()
            .flat_map(|(_, places)| places)
            .cloned()
            .collect())
    }
}

/// A folder or list of a `data.yaml`. Roboflow's files say `../train/images` of a folder beside them.
fn locate(root: &Path, place: &str) -> Option<PathBuf> {
    let place = place.replace('\\', "/");
    let inside = place.strip_prefix("../").unwrap_or(&place);
    [&place, inside]
        .map(|place| root.join(place))
        .into_iter()
        .find(|path| path.exists())
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

/// The label file of a picture: of its name, in `labels` in the place of the last `images` of its path, or else
/// beside it. None if there is none: then nothing is labelled in the picture.
pub(in crate::import) fn label_file(picture: &Path) -> Option<PathBuf> {
    let beside = picture.with_extension("txt");
    let mirrored = || {
        let folder = picture
            .ancestors()
            .skip(1)
            .find(|folder| folder.ends_with("images"))?;
        Some(
            folder
                .with_file_name("labels")
                .join(beside.strip_prefix(folder).ok()?),
        )
    };
    mirrored()
        .filter(|file| file.is_file())
        .or(Some(beside).filter(|file| file.is_file()))
}

/// The pictures of a list, relative to the folder it lies in.
pub(super) fn listed(list: &Path, root: &Path) -> Result<Vec<PathBuf>> {
    let text = read_text(list).map_err(DatasetError::io("read", list))?;
    let here = list.parent().unwrap_or(Path::new(""));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines
        .map(|line| {
            let line = line.replace('\\', "/");
            let near = here.join(line.trim_start_matches("./"));
            if near.is_file() {
                near
            } else {
                root.join(&line)
            }
        })
        .collect())
}
