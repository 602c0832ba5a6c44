//! A COCO label file and the pictures it names.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::coco_json::{outline, Annotation, AnnotationHead, Document, Image};
use super::{picture_folder, read_file, Importer, Item, Stamp};
use crate::error::{DatasetError, Result};
use crate::labels::Label;
use crate::quarantine::{Quarantined, Reason, Subject};
use crate::sample::Category;

/// The name Roboflow's exports give the label file, which lies beside the pictures.
pub(super) const ROBOFLOW_NAME: &str = "_annotations.coco.json";

/// A label file, its entries found and joined by their ids, but the annotations not read yet.
pub(super) struct Coco {
    document: Document,
    pictures: PathBuf,
    images: Vec<Image>,
    /// For each image its annotations: id and place in the text.
    annotations: Vec<Vec<(u64, Range<usize>)>>,
    categories: Vec<Category>,
    refused: Vec<Quarantined>,
}

impl Coco {
    pub(super) fn open(path: &Path, pictures: Option<&Path>) -> Result<Self> {
        let path = &label_file(path)?;
        let wrong = |what: String| DatasetError::Source {
            path: path.clone(),
            what,
        };
        let text = fs::read(path).map_err(DatasetError::io("read", path))?;
        let text = String::from_utf8(text).map_err(|e| wrong(format!("not UTF-8 text: {e}")))?;
        let text = match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        };
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
        let pictures = find_pictures(path, pictures, &images)?;
        Ok(Self {
            document,
            pictures,
            images,
            annotations,
            categories,
            refused,
        })
    }

    fn label(&self, id: u64, at: &Range<usize>, refused: &mut Vec<Quarantined>) -> Option<Label> {
        let mut refuse = |reason, kept, detail| {
            let entry = Quarantined::new(Subject::Annotation, reason, detail);
            refused.push(Quarantined {
                kept,
                annotation_id: Some(id),
                ..entry
            });
        };
        let annotation: Annotation = match self.document.entry(at) {
            Ok(annotation) => annotation,
            Err(detail) => {
                refuse(Reason::Malformed, false, detail);
                return None;
            }
        };
        let index = self
            .categories
            .binary_search_by_key(&annotation.category_id, |category| category.id.into());
        let Ok(category) = index else {
            let detail = format!(
                "category_id {} is not in `categories`",
                annotation.category_id
            );
            refuse(Reason::UnknownCategory, false, detail);
            return None;
        };
        let outline = annotation
            .segmentation
            .and_then(|text| match outline(text.get()) {
                Ok(outline) => outline,
                Err(detail) => {
                    refuse(Reason::MaskInvalid, true, format!("mask dropped: {detail}"));
                    None
                }
            });
        Some(Label {
            id,
            category: category as u32,
            bbox: annotation
                .bbox
                .map(|values| values.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect()),
            area: annotation.area,
            crowd: annotation.iscrowd.is_some_and(|flag| flag.is_set()),
            outline,
        })
    }
}

impl Importer for Coco {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn categories(&self) -> &[Category] {
        &self.categories
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
            .filter_map(|(id, at)| self.label(*id, at, &mut refused))
            .collect();
        Item {
            image_id: image.id,
            source: image.file_name.clone(),
            stated_size: size.filter(|&size| size != (0, 0)),
            label: None,
            objects,
            refused,
        }
    }

    fn image_id(&self, index: usize) -> u64 {
        self.images[index].id
    }

    fn stamp(&self, index: usize) -> Stamp {
        let path = picture_folder::resolve(&self.pictures, &self.images[index].file_name);
        path.map(|path| Stamp::of(&path)).unwrap_or_default()
    }

    fn read(&self, index: usize) -> io::Result<Vec<u8>> {
        let name = &self.images[index].file_name;
        let path = picture_folder::resolve(&self.pictures, name).ok_or_else(|| {
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
    let found = label_files(path);
    if let [file] = found.as_slice() {
        return Ok(file.clone());
    }
    let names: Vec<_> = found
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let what = match names.as_slice() {
        [] => "no .json label file here or in `annotations`; give the label file itself".into(),
        names => format!(
            "several label files, give one of them: {}",
            names.join(", ")
        ),
    };
    Err(DatasetError::Source {
        path: path.into(),
        what,
    })
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

fn find_pictures(label_file: &Path, given: Option<&Path>, images: &[Image]) -> Result<PathBuf> {
    if let Some(given) = given {
        if !given.is_dir() {
            let what = "--images expects the folder with the pictures; this is none".into();
            return Err(DatasetError::Source {
                path: given.into(),
                what,
            });
        }
        return Ok(given.into());
    }
    let names: Vec<_> = images
        .iter()
        .map(|image| image.file_name.as_str())
        .collect();
    picture_folder::find(label_file, &names).map_err(|looked| {
        let looked: Vec<_> = looked.iter().take(12).map(|folder| folder.display().to_string()).collect();
        let what = format!(
            "none of its {} pictures was found, such as `{}`; looked in {}; give their folder with --images DIR",
            names.len(),
            names[0],
            looked.join(", ")
        );
        DatasetError::Source { path: label_file.into(), what }
    })
}
