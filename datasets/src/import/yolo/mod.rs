//! YOLO: one text file of boxes or outlines for each picture.

mod layout;
pub(crate) mod txt;
pub(crate) mod yaml;

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use self::layout::{labelled_by, listed, Layout, NAME_FILES};
use super::{folder, read_file, read_text, slashed, walk, Importer, Item, Stamp};
use crate::error::{DatasetError, Result};
use crate::labels::{Label, Outline, Unit};
use crate::quarantine::{Quarantined, Reason, Subject};
use crate::sample::Category;

pub(super) use self::layout::{is_root, label_file};

/// The pictures of a split, their labels not read yet.
pub(super) struct Yolo {
    pictures: Vec<Picture>,
    categories: Vec<Category>,
    /// Labels hold key points behind each box.
    keypoints: bool,
    refused: Vec<Quarantined>,
    note: Option<String>,
}

struct Picture {
    relative: String,
    path: PathBuf,
    labels: Option<PathBuf>,
    /// Of the first row of its labels; those after it count on, through the whole set.
    first_id: u64,
}

/// What is to be known of a label file before its rows are read.
#[derive(Default)]
struct Rows {
    count: u64,
    /// The classes that occur.
    classes: BTreeSet<u32>,
    /// The numbers of values of the rows that look like poses; none for one that does not.
    forms: BTreeSet<Option<usize>>,
}

impl Yolo {
    pub(super) fn open(path: &Path, split: Option<&str>) -> Result<Self> {
        let layout = Layout::find(path)?;
        let root = &layout.root;
        let keypoints = layout.yaml.as_ref().is_some_and(|yaml| yaml.keypoints);
        let mut choice = layout.choose(path, split)?;
        let (paths, mut refused) = pictures(&layout, &choice.places)?;
        if paths.is_empty() {
            let what = "no picture; looked for data.yaml, images/ with labels/, and pictures with .txt files beside";
            return Err(DatasetError::source(path, what));
        }
        let labels: Vec<_> = paths.par_iter().map(|path| label_file(path)).collect();
        refused.extend(labels_without_picture(&labels));
        let rows: Vec<_> = labels
            .par_iter()
            .map(|file| {
                file.as_ref()
                    .map(|file| survey(file, keypoints))
                    .transpose()
            })
            .collect();
        if labels.iter().all(Option::is_none) {
            let what = format!(
                "no label file for any of {} pictures, such as `{}`; looked for a .txt of its name beside it, and in \
                 `labels` in the place of `images`",
                paths.len(),
                paths[0].display()
            );
            return Err(DatasetError::source(path, what));
        }
        if look_like_poses(rows.iter().flatten().flatten()) {
            // Where `data.yaml` states no key points, there are none; without it nothing tells.
            if layout.yaml.is_none() {
                let what = format!(
                    "its labels look like poses, a box and then points in it; give a data.yaml with kpt_shape in \
                     `{}`, or, if they are outlines, one without",
                    root.display()
                );
                return Err(DatasetError::source(path, what));
            }
            let note = "labels look like poses, but data.yaml has no kpt_shape: packed as outlines";
            choice.notes.push(note.into());
        }
        let mut categories = names(&layout);
        let named = !categories.is_empty();
        if !named {
            categories = numbered(rows.iter().flatten().flatten());
        }
        let (mut pictures, mut next_id, mut unlabelled) = (Vec::new(), 1, 0);
        for ((path, labels), rows) in paths.into_iter().zip(labels).zip(rows) {
            let relative = slashed(path.strip_prefix(root).unwrap_or(&path));
            match rows {
                Ok(rows) => {
                    unlabelled += usize::from(rows.is_none());
                    let first_id = next_id;
                    next_id += rows.map_or(0, |rows| rows.count);
                    pictures.push(Picture {
                        relative,
                        path,
                        labels,
                        first_id,
                    });
                }
                // Without its labels it would pass for a picture with nothing in it.
                Err(detail) => {
                    refused.push(Quarantined::picture(relative, Reason::Unreadable, detail))
                }
            }
        }
        Ok(Self {
            pictures,
            categories,
            keypoints,
            refused,
            note: note(choice.notes, unlabelled, named, keypoints),
        })
    }
}

/// What the user should know of how the labels were read, after what there is to know already.
fn note(mut notes: Vec<String>, unlabelled: usize, named: bool, keypoints: bool) -> Option<String> {
    if unlabelled > 0 {
        notes.push(format!(
            "{unlabelled} pictures without a label file are packed as pictures with nothing in them"
        ));
    }
    if !named {
        let looked = NAME_FILES.join(", ");
        notes.push(format!(
            "classes are called by their numbers; looked for names in data.yaml, {looked}"
        ));
    }
    if keypoints {
        notes.push("key points are passed over, their boxes are packed".into());
    }
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// Categories called by the numbers that occur.
fn numbered<'a>(rows: impl Iterator<Item = &'a Rows>) -> Vec<Category> {
    let numbers: BTreeSet<u32> = rows.flat_map(|rows| &rows.classes).copied().collect();
    let category = |id: u32| Category {
        id,
        name: id.to_string(),
    };
    numbers.into_iter().map(category).collect()
}

/// The pictures of folders and lists, each once, in the order of their names within each.
fn pictures(layout: &Layout, places: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<Quarantined>)> {
    let (mut pictures, mut refused) = (Vec::new(), Vec::new());
    for place in places {
        if place.is_file() {
            pictures.extend(listed(place, &layout.root)?);
            continue;
        }
        let (files, unreadable) = walk::files(place);
        refused.extend(unreadable);
        let files = files.into_iter().map(|file| file.path);
        pictures.extend(files.filter(|path| folder::is_picture_name(path)));
    }
    let mut seen = HashSet::new();
    pictures.retain(|path| seen.insert(path.clone()));
    Ok((pictures, refused))
}

/// Counts the rows of a label file and notes their classes and what they look like.
fn survey(file: &Path, keypoints: bool) -> Result<Rows, String> {
    let text =
        read_text(file).map_err(|error| format!("its labels `{}`: {error}", file.display()))?;
    let mut rows = Rows::default();
    for row in txt::rows(&text) {
        rows.count += 1;
        (rows.classes).extend(txt::parse(row, keypoints).map(|row| row.class));
        // One that is none is enough to know.
        if keypoints || rows.forms.contains(&None) {
            continue;
        }
        if let Some([_, values @ ..]) = txt::numbers(row).as_deref() {
            let form = txt::looks_like_pose(values).then_some(values.len());
            rows.forms.insert(form);
        }
    }
    Ok(rows)
}

/// Whether all rows of a set may be poses, and have as many points as poses of one set have. Outlines differ in that, and
/// their first points are seldom a box.
fn look_like_poses<'a>(rows: impl Iterator<Item = &'a Rows>) -> bool {
    let forms: BTreeSet<_> = rows.flat_map(|rows| &rows.forms).collect();
    forms.len() == 1 && !forms.contains(&None)
}

/// The label files that lie among those of the pictures and belong to none, nor to one of another split.
fn labels_without_picture(labels: &[Option<PathBuf>]) -> Vec<Quarantined> {
    let used: HashSet<&Path> = labels.iter().flatten().map(PathBuf::as_path).collect();
    let folders: BTreeSet<&Path> = used.iter().filter_map(|file| file.parent()).collect();
    let mut entries = Vec::new();
    for folder in folders
        .into_iter()
        .filter(|folder| folder.ancestors().any(|f| f.ends_with("labels")))
    {
        let files = walk::with_extension(folder, "txt").into_iter();
        let named = |file: &PathBuf| NAME_FILES.iter().any(|name| file.ends_with(name));
        let unused: Vec<_> = files
            .filter(|file| !used.contains(file.as_path()) && !named(file))
            .collect();
        if unused.is_empty() {
            continue;
        }
        let pictures = labelled_by(folder);
        let has_picture =
            |file: &PathBuf| file.file_stem().is_some_and(|stem| pictures.contains(stem));
        for file in unused.into_iter().filter(|file| !has_picture(file)) {
            let detail = "a label file with no picture of its name, here or in `images` in the place of `labels`";
            entries.push(Quarantined::picture(
                slashed(&file),
                Reason::MissingPicture,
                detail,
            ));
        }
    }
    entries
}

/// The classes by name: of `data.yaml`, or of a file of names.
fn names(layout: &Layout) -> Vec<Category> {
    let yaml = layout.yaml.as_ref();
    let mut names = yaml.map_or_else(Vec::new, |yaml| yaml.names.clone());
    if names.is_empty() {
        let folders = [layout.root.clone(), layout.root.join("labels")];
        let files = folders
            .iter()
            .flat_map(|folder| NAME_FILES.map(|name| folder.join(name)));
        let text = files.into_iter().find_map(|file| read_text(&file).ok());
        let text = text.unwrap_or_default();
        let lines = text.trim_end().lines().map(|line| line.trim().to_owned());
        names = (0..).zip(lines).collect();
    }
    names
        .into_iter()
        .map(|(id, name)| Category { id, name })
        .collect()
}

impl Importer for Yolo {
    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn categories(&self) -> &[Category] {
        &self.categories
    }

    fn refused(&self) -> &[Quarantined] {
        &self.refused
    }

    fn note(&self) -> Option<String> {
        self.note.clone()
    }

    fn item(&self, index: usize) -> Item {
        let picture = &self.pictures[index];
        let (mut objects, mut refused) = (Vec::new(), Vec::new());
        let text = picture.labels.as_deref().map(read_text).transpose();
        let text = text.unwrap_or_else(|error| {
            let entry =
                Quarantined::new(Subject::Annotation, Reason::Unreadable, error.to_string());
            refused.push(entry);
            None
        });
        for (row, id) in txt::rows(&text.unwrap_or_default()).zip(picture.first_id..) {
            let label = txt::parse(row, self.keypoints).and_then(|row| {
                let category = self
                    .categories
                    .binary_search_by_key(&row.class, |category| category.id);
                let category = category.map_err(|_| {
                    let detail = format!(
                        "class {} has no name; there are {}",
                        row.class,
                        self.categories.len()
                    );
                    (Reason::UnknownCategory, detail)
                })?;
                Ok(Label {
                    id,
                    category: category as u32,
                    unit: Unit::Picture,
                    bbox: Some(row.bbox.to_vec()),
                    area: None,
                    crowd: false,
                    outline: row.polygon.map(|polygon| Outline::Polygons(vec![polygon])),
                })
            });
            match label {
                Ok(label) => objects.push(label),
                Err((reason, detail)) => {
                    let entry = Quarantined::new(Subject::Annotation, reason, detail);
                    refused.push(Quarantined {
                        annotation_id: Some(id),
                        ..entry
                    });
                }
            }
        }
        Item {
            image_id: index as u64,
            source: picture.relative.clone(),
            stated_size: None,
            label: None,
            objects,
            refused,
        }
    }

    fn image_id(&self, index: usize) -> u64 {
        index as u64
    }

    fn stamp(&self, index: usize) -> Stamp {
        Stamp::of(&self.pictures[index].path)
    }

    fn read(&self, index: usize) -> io::Result<Vec<u8>> {
        read_file(&self.pictures[index].path)
    }
}
