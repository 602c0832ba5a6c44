//! Where the parts of a YOLO data set are: its splits, its pictures, the label file of a picture.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::super::{folder, read_text, several_splits, walk};
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
    /// What `data.yaml` says, if there is one.
    pub yaml: Option<DataYaml>,
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

/// The `data.yaml` of a folder, or another that names a split; if none does, still `data.yaml`.
///
/// # Errors
/// If `data.yaml` cannot be read: without it, key points would pass for outlines and classes would lose their names.
fn yaml_of(folder: &Path) -> Result<Option<(PathBuf, DataYaml)>> {
    let files = ["yaml", "yml"].map(|extension| walk::with_extension(folder, extension));
    let mut files = files.concat();
    let is_data = |file: &Path| file.file_stem().is_some_and(|stem| stem == "data");
    files.sort_by_key(|file| !is_data(file));
    let mut without_splits = None;
    for file in files {
        match read_yaml(&file) {
            Ok(yaml) if !yaml.splits.is_empty() => return Ok(Some((file, yaml))),
            Ok(yaml) if is_data(&file) => without_splits = Some((file, yaml)),
            Err(error) if is_data(&file) => return Err(error),
            // Of anything else.
            _ => {}
        }
    }
    Ok(without_splits)
}

fn read_yaml(path: &Path) -> Result<DataYaml> {
    let text = read_text(path).map_err(DatasetError::io("read", path))?;
    yaml::parse(&text).map_err(|what| {
        let what = format!(
            "{what}; if this is no YOLO data set, --format folder packs the pictures alone"
        );
        DatasetError::source(path, what)
    })
}

/// Whether a folder looks like YOLO's.
pub(in crate::import) fn is_root(folder: &Path) -> bool {
    let is_labelled = |folder: &Path| has_labels(folder) || labels_beside(folder);
    // A `data.yaml` that cannot be read is YOLO's too: what is wrong with it is said when it is opened.
    let names_splits = match yaml_of(folder) {
        Ok(found) => found.is_some_and(|(_, yaml)| !yaml.splits.is_empty()),
        Err(_) => true,
    };
    names_splits
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
            return Ok(match yaml_of(path)? {
                Some((file, yaml)) if !yaml.splits.is_empty() => Self::of_yaml(&file, yaml),
                found => Self {
                    yaml: found.map(|(_, yaml)| yaml),
                    ..Self::of_folder(path)
                },
            });
        }
        if walk::has_extension(path, "txt") {
            let folder = match path.parent() {
                Some(parent) if parent != Path::new("") => parent,
                _ => Path::new("."),
            };
            return Ok(Self {
                yaml: yaml_of(folder)?.map(|(_, yaml)| yaml),
                splits: vec![Split::found("list".into(), path.to_owned())],
                ..Self::of_folder(folder)
            });
        }
        let yaml = read_yaml(path)?;
        if yaml.splits.is_empty() {
            let what = "none of `train`, `val` and `test` is there";
            return Err(DatasetError::source(path, what));
        }
        Ok(Self::of_yaml(path, yaml))
    }

    /// As a `data.yaml` with splits states it.
    fn of_yaml(path: &Path, yaml: DataYaml) -> Self {
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
        Self {
            root,
            yaml: Some(yaml),
            splits,
        }
    }

    /// Without splits of a `data.yaml`: `images/SPLIT`, or `SPLIT/images`, or everything.
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
            yaml: None,
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
        let (chosen, gone): (Vec<_>, Vec<_>) = match split {
            Some(wanted) if wanted != "all" => {
                let Some(split) = self.splits.iter().find(|split| split.name == wanted) else {
                    let names: Vec<_> = self.splits.iter().map(|s| s.name.as_str()).collect();
                    let names = names.join(", ");
                    return wrong(format!("has no split `{wanted}`; found {names}"));
                };
                (vec![split], vec![])
            }
            None if there.len() > 1 => {
                let names = there.iter().map(|split| split.name.as_str());
                return Err(several_splits(path, names));
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
