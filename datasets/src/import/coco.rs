//! A COCO label file and the pictures it names.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::coco_json::{AnnotationHead, Document, Image};
use super::tails::SharedTails;
use super::{
    coco_label, index_names, list_paths, picture_folder, read_file, read_text, Importer, Item,
    Stamp,
};
use crate::error::{DatasetError, Result};
use crate::export::INSTANCES;
use crate::quarantine::{Quarantined, Reason, Subject};
use crate::sample::Category;

/// The names of a label file by which a folder is known to be COCO's: that of our own export, and that of
/// Roboflow's.
pub(super) const KNOWN_NAMES: [&str; 2] = [INSTANCES, "_annotations.coco.json"];

/// The files of these names in a folder.
pub(super) fn known_files(folder: &Path) -> Vec<PathBuf> {
    let files = KNOWN_NAMES.iter().map(|name| folder.join(name));
    files.filter(|file| file.is_file()).collect()
}

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
    note: Option<String>,
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
        let (pictures, note) = match pictures {
            Some(given) => (picture_folder::given(given)?, None),
            None => {
                let found = picture_folder::find(path, &names, &shared)?;
                let note = format!(
                    "its pictures were found in `{}`; if others are meant, give their folder with --images DIR",
                    found.display()
                );
                (found, Some(note))
            }
        };
        let (mut labels, mut classes) = Default::default();
        if classes_from_folders {
            // Where names lead elsewhere, each picture is looked for.
            let of_each = names.par_iter();
            let of_each: Vec<_> = of_each
                .map(|name| picture_folder::class(&pictures, name, &shared))
                .collect();
            (labels, classes) = index_names(of_each.iter().copied(), str::cmp);
            if labels.is_empty() {
                return Err(wrong(format!(
                    "--classes-from-folders expects names with the folder of a class, such as `cat/1.jpg`; found none \
                     with a folder, but such as `{}`",
                    names[0]
                )));
            }
        }
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
            note,
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

    fn note(&self) -> Option<String> {
        self.note.clone()
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
    if let Some(file) = known_files(path).into_iter().next() {
        return Ok(file);
    }
    let what: String = match label_files(path).as_slice() {
        [file] => return Ok(file.clone()),
        [] => "no .json label file here or in `annotations`; give the label file itself".into(),
        files => format!(
            "several label files, give one of them: {}",
            list_paths(files)
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

/// The label files of COCO's in these folders and in their folders `annotations`: those of [`KNOWN_NAMES`], and, of so many
/// others, those that begin as such.
pub(super) fn recognised_files(folders: &[PathBuf]) -> Vec<PathBuf> {
    // Where each picture has a file of its own, there may be a million.
    const LOOKED_INTO: usize = 64;
    let known = folders.iter().flat_map(|folder| known_files(folder));
    let others = folders.iter().flat_map(|folder| label_files(folder));
    let others = others.take(LOOKED_INTO).filter(|file| begins_as_coco(file));
    let mut files: Vec<_> = known.chain(others).collect();
    files.sort();
    files.dedup();
    files
}

/// Whether a file is an object in which a list `images` of objects begins early.
fn begins_as_coco(file: &Path) -> bool {
    // Before it are but the licences.
    const BEGINNING: u64 = 64 << 10;
    let mut text = Vec::new();
    let read = fs::File::open(file).and_then(|file| file.take(BEGINNING).read_to_end(&mut text));
    read.is_ok() && lists_images(&text)
}

/// Whether `"images": [{` stands right within the object that begins a JSON text, which may end anywhere.
fn lists_images(text: &[u8]) -> bool {
    if !text.trim_ascii_start().starts_with(b"{") {
        return false;
    }
    let (mut depth, mut string, mut escaped) = (0, None, false);
    for (at, byte) in text.iter().enumerate() {
        match (string, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(start), b'"') => {
                string = None;
                let mut rest = text[at + 1..].iter().filter(|b| !b.is_ascii_whitespace());
                let follows = [b':', b'[', b'{'];
                if depth == 1
                    && &text[start..at] == b"images"
                    && follows.iter().all(|byte| rest.next() == Some(byte))
                {
                    return true;
                }
            }
            (Some(_), _) => {}
            (None, b'"') => string = Some(at + 1),
            (None, b'{' | b'[') => depth += 1,
            (None, b'}' | b']') => depth -= 1,
            _ => {}
        }
    }
    false
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
    let entry = |reason, detail: String| Quarantined::new(Subject::Annotation, reason, detail);
    let heads = document.annotations.iter().map(|at| document.entry(at));
    let heads: Vec<Result<AnnotationHead, String>> = heads.collect();
    let of_pictures = (0..).zip(&heads).filter_map(|(position, head)| {
        let head = head.as_ref().ok()?;
        places
            .contains_key(&head.image_id)
            .then(|| (position, head.id.unwrap_or(position as u64)))
    });
    let Ids { repeats, shared } = Ids::of(document, of_pictures);
    if let Some([first, second]) = shared {
        let detail = format!(
            "ids are not unique, annotations[{first}] and annotations[{second}] have the same; all are packed, \
             numbered by their positions"
        );
        refused.push(Quarantined {
            kept: true,
            ..entry(Reason::DuplicateId, detail)
        });
    }
    let mut annotations = vec![Vec::new(); images.len()];
    for (position, (at, head)) in document.annotations.iter().zip(heads).enumerate() {
        let head = match head {
            Ok(head) => head,
            Err(detail) => {
                refused.push(entry(
                    Reason::Malformed,
                    format!("annotations[{position}]: {detail}"),
                ));
                continue;
            }
        };
        let stated = head.id.filter(|_| shared.is_none());
        let id = stated.unwrap_or(position as u64);
        let refusal = match places.get(&head.image_id) {
            None => entry(
                Reason::UnknownPicture,
                format!("image_id {} is not in `images`", head.image_id),
            ),
            Some(_) if repeats.contains(&position) => entry(
                Reason::DuplicateId,
                format!("annotations[{position}] is one before it, word for word; that one counts"),
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

/// What is to be known of the ids of annotations.
///
/// Some writers count anew in each picture, or give every annotation the same id. Such ids tell none apart, and without
/// their labels most objects would be taught as background.
#[derive(Default)]
struct Ids {
    /// The positions of annotations that were there before, word for word.
    repeats: HashSet<usize>,
    /// The positions of the first two others that have one id.
    shared: Option<[usize; 2]>,
}

impl Ids {
    /// Of annotations by their positions and ids.
    fn of(document: &Document, annotations: impl Iterator<Item = (usize, u64)>) -> Self {
        let text = |position: usize| &document.text[document.annotations[position].clone()];
        let (mut ids, mut first, mut others) = (Self::default(), HashMap::new(), HashSet::new());
        for (position, id) in annotations {
            let before = *first.entry(id).or_insert(position);
            if before == position {
                continue;
            }
            if text(before) == text(position) || !others.insert(text(position)) {
                ids.repeats.insert(position);
            } else {
                ids.shared.get_or_insert([before, position]);
            }
        }
        ids
    }
}
