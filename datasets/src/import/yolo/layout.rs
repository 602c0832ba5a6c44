//! Where the parts of a YOLO data set are: its splits, its pictures, the label file of a picture.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::super::{folder, read_text, walk};
use super::txt;
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
    splits: Vec<Split>,
}

struct Split {
    name: String,
    /// Its folders and lists, those that are there.
    places: Vec<PathBuf>,
    /// Those that are not, as `data.yaml` has them.
    missing: Vec<String>,
    /// Where was looked for these.
    looked: Vec<PathBuf>,
}

impl Split {
    /// One that is there.
    fn found(name: String, place: PathBuf) -> Self {
        Self {
            name,
            places: vec![place],
            missing: Vec::new(),
            looked: Vec::new(),
        }
    }

    /// As `data.yaml` states it; places are relative to the first of these folders that has them.
    fn stated(name: &str, places: &[String], roots: &[PathBuf]) -> Self {
        let mut split = Self {
            name: name.into(),
            places: Vec::new(),
            missing: Vec::new(),
            looked: Vec::new(),
        };
        for place in places {
            let looked: Vec<_> = roots.iter().flat_map(|root| spots(root, place)).collect();
            match looked.iter().find(|path| path.exists()) {
                Some(found) => split.places.push(found.clone()),
                None => {
                    split.missing.push(place.clone());
                    split.looked.extend(looked);
                }
            }
        }
        split
    }

    fn not_found(&self) -> String {
        let missing = self.missing.join(", ");
        format!("`{}: {missing}` was not found", self.name)
    }
}

/// What is to be packed.
pub(super) struct Choice {
    /// Folders and lists.
    pub places: Vec<PathBuf>,
    /// Splits that are not there.
    pub notes: Vec<String>,
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
    let is_labelled = |folder: &Path| has_labels(folder) || labels_beside(folder);
    yaml_of(folder).is_some()
        || NAME_FILES[..3]
            .iter()
            .any(|name| folder.join(name).is_file())
        || is_labelled(folder)
        || walk::subfolders(folder)
            .iter()
            .any(|split| is_labelled(split))
}

/// Whether there are `images` and, in `labels`, label files.
fn has_labels(folder: &Path) -> bool {
    let (images, labels) = (folder.join("images"), folder.join("labels"));
    images.is_dir() && labels.is_dir() && {
        let (files, _) = walk::files(&labels);
        files
            .iter()
            .any(|file| walk::has_extension(&file.path, "txt"))
    }
}

/// Whether pictures have label files beside them. A few are enough to know. Most of their rows must be labels: captions
/// lie beside pictures too.
fn labels_beside(folder: &Path) -> bool {
    let mut files = walk::with_extension(folder, "txt");
    files.retain(|file| !NAME_FILES.iter().any(|name| file.ends_with(name)));
    if files.is_empty() {
        return false;
    }
    let pictures: HashSet<OsString> = picture_names(folder).collect();
    let texts = files
        .into_iter()
        .filter(|file| file.file_stem().is_some_and(|stem| pictures.contains(stem)))
        .take(5)
        .map(|file| read_text(&file).unwrap_or_default());
    let texts: Vec<String> = texts.collect();
    let rows = texts.iter().flat_map(|text| txt::rows(text));
    let (mut labels, mut all) = (0, 0);
    for row in rows {
        all += 1;
        labels += usize::from(txt::parse(row, true).is_ok());
    }
    2 * labels > all
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
                splits: vec![Split::found("list".into(), path.to_owned())],
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
        let splits = yaml.splits.iter();
        let splits = splits.map(|(name, places)| Split::stated(name, places, &roots));
        let splits = splits.collect();
        let root = roots
            .into_iter()
            .find(|root| root.is_dir())
            .unwrap_or_else(|| here.to_owned());
        Ok(Self { root, yaml, splits })
    }

    /// Without a `data.yaml`: `images/SPLIT`, or `SPLIT/images`, or everything.
    fn of_folder(root: &Path) -> Self {
        let images = root.join("images");
        let has_pictures = |folder: &Path| picture_names(folder).next().is_some();
        let mut splits = Vec::new();
        if images.is_dir() && !has_pictures(&images) {
            splits = walk::subfolders(&images)
                .into_iter()
                .map(|folder| (folder.clone(), folder))
                .collect();
        } else if !images.is_dir() {
            let inner = walk::subfolders(root)
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
                .map(|(folder, images)| Split::found(name(&folder), images))
                .collect(),
        }
    }

    /// The folders and lists of the split, or of all.
    ///
    /// # Errors
    /// If there are several splits and none was chosen: training pictures and those held back must not be mixed
    /// unasked. If only a part of what was chosen is there: what is missing would not be missed.
    pub(super) fn choose(&self, path: &Path, split: Option<&str>) -> Result<Choice> {
        let wrong = |what: String| Err(DatasetError::source(path, what));
        let (there, gone): (Vec<_>, Vec<_>) =
            (self.splits.iter()).partition(|split| !split.places.is_empty());
        let names = |splits: &[&Split]| {
            let names: Vec<_> = splits.iter().map(|split| split.name.as_str()).collect();
            names.join(", ")
        };
        let (chosen, gone): (Vec<_>, Vec<_>) = match split {
            Some(wanted) if wanted != "all" => {
                let Some(split) = self.splits.iter().find(|split| split.name == wanted) else {
                    let names = names(&self.splits.iter().collect::<Vec<_>>());
                    return wrong(format!("has no split `{wanted}`; found {names}"));
                };
                (vec![split], vec![])
            }
            None if there.len() > 1 => {
                return wrong(format!(
                    "has the splits {}; take one with --split NAME (of what --against names: --against-split), or \
                     --split all",
                    names(&there)
                ));
            }
            _ if there.is_empty() => (gone, vec![]),
            _ => (there, gone),
        };
        if let Some(split) = chosen.iter().find(|split| !split.missing.is_empty()) {
            let looked: Vec<_> = split
                .looked
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let looked = looked.join(", ");
            return wrong(format!("{}; looked for {looked}", split.not_found()));
        }
        let note = |split: &&Split| format!("{}; packed without it", split.not_found());
        Ok(Choice {
            places: chosen
                .iter()
                .flat_map(|split| split.places.clone())
                .collect(),
            notes: gone.iter().map(note).collect(),
        })
    }
}

/// Where a folder or list of a `data.yaml` may be. Roboflow's files say `../train/images` of a folder beside them.
fn spots(root: &Path, place: &str) -> Vec<PathBuf> {
    let place = place.replace('\\', "/");
    let inside = place.strip_prefix("../");
    let places = [Some(place.as_str()), inside].into_iter().flatten();
    places.map(|place| root.join(place)).collect()
}

/// The label file of a picture: of its name, in `labels` in the place of the last `images` of its path, or else
/// beside it. None if there is none: then nothing is labelled in the picture.
pub(in crate::import) fn label_file(picture: &Path) -> Option<PathBuf> {
    let beside = picture.with_extension("txt");
    let mirrored = || {
        let folder = mirrored(picture.parent()?, "images", "labels")?;
        Some(folder.join(beside.file_name()?))
    };
    mirrored()
        .filter(|file| file.is_file())
        .or(Some(beside).filter(|file| file.is_file()))
}

/// The names, without extension, of the pictures that the label files in a folder may belong to.
pub(super) fn labelled_by(folder: &Path) -> HashSet<OsString> {
    let images = mirrored(folder, "labels", "images");
    let pictures = images.iter().flat_map(|images| picture_names(images));
    pictures.chain(picture_names(folder)).collect()
}

/// The names, without extension, of the pictures directly in a folder.
fn picture_names(folder: &Path) -> impl Iterator<Item = OsString> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let pictures = paths.filter(|path| folder::is_picture_name(path));
    pictures.filter_map(|path| path.file_stem().map(OsString::from))
}

/// The folder with one name in the place of the last other one of its path.
fn mirrored(folder: &Path, from: &str, to: &str) -> Option<PathBuf> {
    let last = folder.ancestors().find(|folder| folder.ends_with(from))?;
    Some(
        last.with_file_name(to)
            .join(folder.strip_prefix(last).ok()?),
    )
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
