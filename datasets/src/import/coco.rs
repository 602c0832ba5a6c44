//! A COCO label file and the pictures it names.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::coco_json::{AnnotationHead, Document, Image};
use super::folder::class_of;
use super::tails::SharedTails;
use super::{coco_label, index_names, picture_folder, read_file, read_text, Importer, Item, Stamp};
use crate::error::{DatasetError, Result};
use crate::export::INSTANCES;
use crate::quarantine::{Quarantined, Reason, Subject};
use crate::sample::Category;

/// The names of a label file by which a folder is known to be COCO's: that of our own export, and that of
/// Roboflow's.
pub(super) const KNOWN_NAMES: [&str; 2] = [INSTANCES, "_annotations.coco.json"];

/// A label file, its entries found and joined by their ids, but the annotations not read yet.
pub(super) struct Coco {
    document: Document,
    pictures: PathBuf,
    /// The tails in which several of the pictures' names end.
    shared: SharedTails,
    images: Vec<Image>,
    /// For each image its annotations: id and place in the text.
    annotations: Vec<Vec<(u64, Range<usize>)>>,
    categories: Vec<Category>,
    /// The classes of whole pictures, and for each picture its own; empty unless folders are classes.
    labels: Vec<String>,
    classes: Vec<Option<u32>>,
    refused: Vec<Quarantined>,
}

impl Coco {
    pub(super) fn open(
        path: &Path,
        pictures: Option<&Path>,
        classes_from_folders: bool,
    ) -> Result<Self> {
        let path = &label_file(path)?;
        let wrong = |what: String| DatasetError::source(path, what);
        let text = read_text(path).map_err(DatasetError::io("read", path))?;
        let document = Document::parse(text).map_err(wrong)?;
        let mut refused = Vec::new();
        let images = images(&document, &mut refused);
        if images.is_empty() {
            let first = refused
                .first()
                .map(|q| format!("; the first was refused: {q}"))
                .unwrap_or_default();
            return Err(wrong(format!(
                "`images` lists no picture that could be used{first}"
            )));
        }
        let categories = categories(&document, &mut refused);
        let annotations = annotations(&document, &images, &mut refused);
        let names: Vec<_> = images
            .iter()
            .map(|image| image.file_name.as_str())
            .collect();
        let shared = SharedTails::of(&names);
        let pictures = find_pictures(path, pictures, &names, &shared)?;
        let (labels, classes) = match classes_from_folders {
            true => index_names(
                images.iter().map(|image| class_of(&image.file_name)),
                str::cmp,
            ),
            false => Default::default(),
        };
        Ok(Self {
            labels,
            classes,
            document,
            pictures,
            shared,
            images,
            annotations,
            categories,
            refused,
        })
    }

    fn picture(&self, index: usize) -> Option<PathBuf> {
        picture_folder::resolve(&self.pictures, &self.images[index].file_name, &self.shared)
    }
}

impl Importer for Coco {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn categories(&self) -> &[Category] {
        &self.categories
    }

    fn picture_labels(&self) -> &[String] {
        &self.labels
    }

    fn refused(&self) -> &[Quarantined] {
        &self.refused
    }

    fn item(&self, index: usize) -> Item {
        let image = &self.images[index];
        let mut refused = Vec::new();
        // Some writers state zeros for a size they do not know.
        let size = image
            .width
            .zip(image.height)
            .map(|(w, h)| (w as u32, h as u32));
        let annotations = self.annotations[index].iter();
        let objects = annotations
            .filter_map(|(id, at)| {
                let annotation = self.document.entry(at);
                coco_label::label(*id, annotation, &self.categories, &mut refused)
            })
            .collect();
        Item {
            image_id: image.id,
            source: image.file_name.clone(),
            stated_size: size.filter(|&size| size != (0, 0)),
            label: self.classes.get(index).copied().flatten(),
            objects,
            refused,
        }
    }

    fn image_id(&self, index: usize) -> u64 {
        self.images[index].id
    }

    fn stamp(&self, index: usize) -> Stamp {
        let path = self.picture(index);
        path.map(|path| Stamp::of(&path)).unwrap_or_default()
    }

    fn read(&self, index: usize) -> io::Result<Vec<u8>> {
        let path = self.picture(index).ok_or_else(|| {
            let message = format!("not found in `{}`", self.pictures.display());
            io::Error::new(io::ErrorKind::NotFound, message)
        })?;
        read_file(&path)
    }
}

/// The label file itself, or the only one in a folder.
fn label_file(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.into());
    }
    if let Some(name) = KNOWN_NAMES.iter().find(|name| path.join(name).is_file()) {
        return Ok(path.join(name));
    }
    let found = label_files(path);
    if let [file] = found.as_slice() {
        return Ok(file.clone());
    }
    let names: Vec<_> = found
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let what: String = match names.as_slice() {
        [] => "no .json label file here or in `annotations`; give the label file itself".into(),
        names => format!(
            "several label files, give one of them: {}",
            names.join(", ")
        ),
    };
    Err(DatasetError::source(path, what))
}

/// The `.json` files of a folder and of its folder `annotations`, sorted.
pub(super) fn label_files(folder: &Path) -> Vec<PathBuf> {
    let entries = [folder.to_owned(), folder.join("annotations")]
        .map(|folder| fs::read_dir(folder).into_iter().flatten());
    let paths = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "json") && path.is_file())
        .collect();
    files.sort();
    files
}

fn images(document: &Document, refused: &mut Vec<Quarantined>) -> Vec<Image> {
    let mut ids = HashSet::new();
    let mut images = Vec::with_capacity(document.images.len());
    for at in &document.images {
        match document.entry::<Image>(at) {
            Ok(image) if ids.insert(image.id) => images.push(image),
            Ok(image) => {
                let detail = format!(
                    "another picture has id {} already; the first one counts",
                    image.id
                );
                let entry = Quarantined::picture(image.file_name, Reason::DuplicateId, detail);
                refused.push(Quarantined {
                    image_id: Some(image.id),
                    ..entry
                });
            }
            Err(detail) => refused.push(Quarantined::new(
                Subject::Picture,
                Reason::Malformed,
                detail,
            )),
        }
    }
    images
}

/// The categories, by ascending id, so that files of one data set (train, val) agree on the indices
/// whatever the order they list them in.
fn categories(document: &Document, refused: &mut Vec<Quarantined>) -> Vec<Category> {
    #[derive(serde::Deserialize)]
    struct Entry {
        id: u32,
        name: String,
    }
    let mut by_id = std::collections::BTreeMap::new();
    for at in &document.categories {
        let mut refuse =
            |reason, detail| refused.push(Quarantined::new(Subject::Category, reason, detail));
        match document.entry::<Entry>(at) {
            Ok(Entry { id, name }) => match by_id.entry(id) {
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(name);
                }
                std::collections::btree_map::Entry::Occupied(first) => {
                    refuse(
                        Reason::DuplicateId,
                        format!(
                            "`{name}` has id {id}, as `{}` has; the first one counts",
                            first.get()
                        ),
                    );
                }
            },
            Err(detail) => refuse(Reason::Malformed, detail),
        }
    }
    by_id
        .into_iter()
        .map(|(id, name)| Category { id, name })
        .collect()
}

/// For each image its annotations, in the order of the file.
fn annotations(
    document: &Document,
    images: &[Image],
    refused: &mut Vec<Quarantined>,
) -> Vec<Vec<(u64, Range<usize>)>> {
    let places: HashMap<u64, usize> = images
        .iter()
        .enumerate()
        .map(|(place, image)| (image.id, place))
        .collect();
    let mut ids = HashSet::new();
    let mut annotations = vec![Vec::new(); images.len()];
    for (position, at) in document.annotations.iter().enumerate() {
        let entry = |reason, detail: String| Quarantined::new(Subject::Annotation, reason, detail);
        let head: AnnotationHead = match document.entry(at) {
            Ok(head) => head,
            Err(detail) => {
                refused.push(entry(
                    Reason::Malformed,
                    format!("annotations[{position}]: {detail}"),
                ));
                continue;
            }
        };
        let id = head.id.unwrap_or(position as u64);
        let refusal = match places.get(&head.image_id) {
            None => entry(
                Reason::UnknownPicture,
                format!("image_id {} is not in `images`", head.image_id),
            ),
            Some(_) if !ids.insert(id) => entry(
                Reason::DuplicateId,
                format!("annotations[{position}]: id {id} was used before; the first one counts"),
            ),
            Some(&place) => {
                annotations[place].push((id, at.clone()));
                continue;
            }
        };
        let source = places
            .get(&head.image_id)
            .map(|&place| images[place].file_name.clone());
        refused.push(Quarantined {
            source,
            image_id: Some(head.image_id),
            annotation_id: Some(id),
            ..refusal
        });
    }
    annotations
}

fn find_pictures(
    label_file: &Path,
    given: Option<&Path>,
    names: &[&str],
    shared: &SharedTails,
) -> Result<PathBuf> {
    if let Some(given) = given {
        return picture_folder::given(given);
    }
    picture_folder::find(label_file, names, shared).map_err(|looked| {
        let looked: Vec<_> = looked.iter().take(12).map(|folder| folder.display().to_string()).collect();
        let what = format!(
            "none of its {} pictures was found, such as `{}`; looked in {}; give their folder with --images DIR",
            names.len(),
            names[0],
            looked.join(", ")
        );
        DatasetError::source(label_file, what)
    })
}
