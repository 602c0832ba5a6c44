//! Pascal VOC: one XML file of objects for each picture.

mod layout;
mod masks;
pub(crate) mod xml;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use self::layout::Layout;
use self::masks::object_masks;
use self::xml::{Annotation, Object};
use super::walk::{self, Found};
use super::{folder, index_names, read_file, read_text, several_splits, Importer, Item, Stamp};
use crate::error::{DatasetError, Result};
use crate::labels::{Label, Outline, Unit};
use crate::quarantine::{Quarantined, Reason, Subject};
use crate::sample::Category;

pub(super) use self::layout::is_root;

/// A data set's annotations, and the pictures they are about.
///
/// `Annotations` holds the XML files and `JPEGImages` the pictures, each found by the other's name;
/// `ImageSets/Main/NAME.txt` names those of a split, and `SegmentationObject` may hold masks. Without
/// `Annotations`, XML files lie beside their pictures and a split is a folder.
///
/// A `difficult` object becomes a crowd region, which training leaves out and evaluation counts for nothing,
/// as the development kit does with it.
pub(super) struct Voc {
    pictures: Vec<Picture>,
    categories: Vec<Category>,
    refused: Vec<Quarantined>,
}

struct Picture {
    relative: String,
    path: PathBuf,
    mask: Option<PathBuf>,
    annotation: Annotation,
    /// For each object its category, unless it is refused.
    categories: Vec<Option<u32>>,
    /// Of the first object; those after it count on, through the whole set.
    first_id: u64,
}

impl Voc {
    pub(super) fn open(path: &Path, images: Option<&Path>, split: Option<&str>) -> Result<Self> {
        let layout = Layout::find(path, images, split)?;
        let (files, mut refused) = walk::files(&layout.annotations);
        let is_xml = |found: &Found| walk::has_extension(&found.path, "xml");
        let files: Vec<Found> = files.into_iter().filter(is_xml).collect();
        if files.is_empty() {
            let what = format!(
                "no .xml file in `{}`; looked for Annotations/*.xml, and for .xml files beside the pictures",
                layout.annotations.display()
            );
            return Err(DatasetError::source(path, what));
        }
        if split.is_none() && path.is_dir() {
            let splits = layout.split_names(&files);
            if splits.len() > 1 {
                return Err(several_splits(path, splits.iter().map(String::as_str)));
            }
        }
        let by_stem = pictures_by_stem(&layout, &mut refused);
        // All of them are read, whatever the split, so that the splits of a data set agree on the classes.
        let read = |found: &Found| {
            let text = read_text(&found.path).map_err(|error| error.to_string());
            text.and_then(|text| xml::parse(&text))
        };
        let annotations: Vec<_> = files.par_iter().map(read).collect();
        let elsewhere: Vec<_> = of_other_splits(&layout).par_iter().map(read).collect();
        let objects = annotations
            .iter()
            .chain(&elsewhere)
            .flatten()
            .flat_map(|found| &found.objects);
        let names = objects.flatten().map(|object| Some(object.name.as_str()));
        let (names, _) = index_names(names, str::cmp);

        let annotated: HashSet<&str> = files
            .iter()
            .map(|file| walk::stem(&file.relative))
            .collect();
        let (mut pictures, mut labelled) = (Vec::new(), HashSet::new());
        let mut next_id = 1;
        for (file, annotation) in files.iter().zip(annotations) {
            let stem = walk::stem(&file.relative);
            labelled.insert(stem);
            if !layout.takes(stem) {
                continue;
            }
            let mut refuse = |reason, detail| {
                refused.push(Quarantined::picture(file.relative.clone(), reason, detail))
            };
            let annotation = match annotation {
                Ok(annotation) => annotation,
                Err(detail) => {
                    refuse(Reason::Malformed, detail);
                    continue;
                }
            };
            let Some(picture) = picture_of(stem, &annotation, &by_stem, &annotated) else {
                let named = annotation.filename.as_deref().unwrap_or(stem);
                refuse(
                    Reason::MissingPicture,
                    format!("its picture `{named}` was not found"),
                );
                continue;
            };
            labelled.insert(walk::stem(&picture.relative));
            let first_id = next_id;
            next_id += annotation.objects.len() as u64;
            pictures.push(Picture {
                relative: picture.relative.clone(),
                path: picture.path.clone(),
                mask: layout.mask(stem),
                categories: annotation
                    .objects
                    .iter()
                    .map(|object| category(object, &names))
                    .collect(),
                annotation,
                first_id,
            });
        }
        for stem in layout.expected(&by_stem) {
            if !labelled.contains(stem) {
                let name = by_stem.get(stem).map_or(stem, |found| &found[0].relative);
                let detail = format!("no `{stem}.xml` in `{}`", layout.annotations.display());
                refused.push(Quarantined::picture(name, Reason::MissingLabels, detail));
            }
        }
        if pictures.is_empty() && refused.is_empty() {
            return Err(DatasetError::source(path, "the split names no picture"));
        }
        let categories = names
            .into_iter()
            .zip(1..)
            .map(|(name, id)| Category { id, name });
        Ok(Self {
            pictures,
            categories: categories.collect(),
            refused,
        })
    }
}

/// The annotations of the splits beside the one that is read.
fn of_other_splits(layout: &Layout) -> Vec<Found> {
    let Some(splits) = &layout.splits else {
        return Vec::new();
    };
    let (mut files, _) = walk::files(splits);
    files.retain(|found| {
        walk::has_extension(&found.path, "xml") && !found.path.starts_with(&layout.annotations)
    });
    files
}

/// The pictures by their path without extension.
fn pictures_by_stem(
    layout: &Layout,
    refused: &mut Vec<Quarantined>,
) -> BTreeMap<String, Vec<Found>> {
    let (files, unreadable) = walk::files(&layout.pictures);
    if layout.pictures != layout.annotations {
        refused.extend(unreadable);
    }
    let mut by_stem: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for found in files {
        if folder::is_picture_name(&found.path) {
            let stem = walk::stem(&found.relative).to_owned();
            by_stem.entry(stem).or_default().push(found);
        }
    }
    by_stem
}

/// The category of an object, none if it is refused.
fn category(object: &std::result::Result<Object, String>, names: &[String]) -> Option<u32> {
    let name = &object.as_ref().ok()?.name;
    names.binary_search(name).ok().map(|index| index as u32)
}

/// The picture of an annotation's own name, or else of the one it states, which is often stale: where there
/// are several, it decides, and a picture that has an annotation of its own name is not meant.
fn picture_of<'a>(
    stem: &str,
    annotation: &Annotation,
    by_stem: &'a BTreeMap<String, Vec<Found>>,
    annotated: &HashSet<&str>,
) -> Option<&'a Found> {
    let stated = annotation
        .filename
        .as_deref()
        .unwrap_or_default()
        .replace('\\', "/");
    let is_stated = |found: &&Found| found.path.file_name() == Path::new(&stated).file_name();
    if let Some(found) = by_stem.get(stem) {
        return found.iter().find(is_stated).or(found.first());
    }
    let stated_stem = Some(walk::stem(&stated)).filter(|stem| !annotated.contains(stem))?;
    by_stem.get(stated_stem)?.iter().find(is_stated)
}

impl Importer for Voc {
    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn categories(&self) -> &[Category] {
        &self.categories
    }

    fn refused(&self) -> &[Quarantined] {
        &self.refused
    }

    fn item(&self, index: usize) -> Item {
        let picture = &self.pictures[index];
        let mut refused = Vec::new();
        let mut masks = match &picture.mask {
            Some(mask) => object_masks(mask, picture.annotation.objects.len(), &mut refused),
            None => Vec::new(),
        };
        let mut objects = Vec::new();
        let entries = picture.annotation.objects.iter().zip(&picture.categories);
        for (place, (object, category)) in entries.enumerate() {
            let id = picture.first_id + place as u64;
            match (object, *category) {
                (Ok(object), Some(category)) => objects.push(Label {
                    id,
                    category,
                    unit: Unit::Pixel,
                    bbox: Some(object.bbox.to_vec()),
                    area: None,
                    crowd: object.difficult,
                    outline: masks
                        .get_mut(place)
                        .and_then(Option::take)
                        .map(Outline::Mask),
                }),
                (Err(detail), _) => {
                    let entry = Quarantined::new(Subject::Annotation, Reason::Malformed, detail);
                    refused.push(Quarantined {
                        annotation_id: Some(id),
                        ..entry
                    });
                }
                // Every name of a sound object is a category.
                (Ok(_), None) => {}
            }
        }
        Item {
            image_id: index as u64,
            source: picture.relative.clone(),
            stated_size: picture.annotation.size,
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
