//! WebDataset: tar archives in which files of one key, the name up to the first dot, are one sample.
//!
//! A sample has a picture (`jpg`, `png`, ..) and, if any, a class (`cls`: a number or a name; else `txt`, where
//! it holds names rather than sentences) and a `json`, whose list `annotations` holds objects in COCO's words,
//! with the category's name as `category`. Our own export writes a `__dataset__/info.json` besides, which states all
//! categories and classes; readers of WebDataset pass over names of that form. Nothing is unpacked: pictures
//! are read where they lie.

pub(crate) mod json;
mod sample;
mod survey;
pub(crate) mod tar_index;

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use self::sample::Span;
use self::survey::{archives, read_span, survey, Survey, MOST_JSON};
use super::{by_value, coco_label, index_names, Importer, Item, Stamp, MAX_FILE_BYTES};
use crate::error::{DatasetError, Result};
use crate::export::DatasetInfo;
use crate::quarantine::{Quarantined, Reason, Subject};
use crate::sample::Category;

/// The samples of some archives, their pictures not read yet.
pub(super) struct WebDataset {
    archives: Vec<PathBuf>,
    samples: Vec<Sample>,
    categories: Vec<Category>,
    labels: Vec<String>,
    refused: Vec<Quarantined>,
    ignored: BTreeMap<String, usize>,
    note: Option<String>,
}

struct Sample {
    archive: usize,
    source: String,
    picture: Span,
    json: Option<Span>,
    image_id: u64,
    /// Of the first annotation, those after it count on; none where the annotations have ids of their own.
    first_id: Option<u64>,
    class: Option<u32>,
    /// It states a class that is not among those of the set.
    class_is_unknown: bool,
}

impl WebDataset {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let archives = archives(path)?;
        let surveyed: Vec<_> = archives.par_iter().map(|archive| survey(archive)).collect();
        // The first error in the order of names, whatever the threads.
        let surveyed = surveyed.into_iter().collect::<Result<Vec<_>>>()?;
        let (mut refused, mut ignored) = (Vec::new(), BTreeMap::new());
        let (mut surveys, mut info) = (Vec::new(), None);
        for (number, (archive, found)) in archives.iter().zip(surveyed).enumerate() {
            refused.extend(found.refused);
            for (extension, count) in found.ignored {
                *ignored.entry(extension).or_insert(0) += count;
            }
            surveys.extend(found.samples.into_iter().map(|sample| (number, sample)));
            match (&info, found.info) {
                (_, None) => {}
                (None, found) => info = found,
                (Some(first), Some(found)) if *first == found => {}
                (Some(_), Some(_)) => {
                    let what =
                        "states other classes than the archives before it; pack the two sets apart";
                    return Err(DatasetError::source(archive, what));
                }
            }
        }
        if surveys.is_empty() && refused.is_empty() {
            let what = "no picture in it; looked for members that end in .jpg, .jpeg, .png, .webp, .bmp or .gif";
            return Err(DatasetError::source(path, what));
        }
        let (text_is_class, note) = text_is_class(&surveys);
        let classes = surveys.iter().map(|(_, survey)| match text_is_class {
            true => survey.text.as_deref(),
            false => survey.class.as_deref(),
        });
        let (labels, classes) = match info.as_ref().filter(|info| !info.labels.is_empty()) {
            Some(info) => (info.labels.clone(), known_classes(info, classes)),
            None => index_names(classes, by_value),
        };
        let categories = match info {
            Some(info) => info.categories,
            None => categories(&surveys, &mut refused),
        };
        let samples = samples(&archives, surveys, classes);
        let unknown = samples.iter().filter(|sample| sample.class_is_unknown);
        refused.extend(unknown.map(|sample| {
            let detail = "its class is not among those the archive states; packed without a class";
            let entry = Quarantined::picture(&sample.source, Reason::UnknownCategory, detail);
            Quarantined {
                kept: true,
                ..entry
            }
        }));
        Ok(Self {
            archives,
            samples,
            categories,
            labels,
            refused,
            ignored,
            note,
        })
    }

    fn bytes(&self, sample: &Sample, span: Span, most: u64) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.archives[sample.archive])?;
        read_span(&mut file, span, most)
    }
}

/// Whether the `txt` of the samples are their classes: there is no `cls`, and one line of text occurs twice or
/// more on average. Else they are taken for captions, which a record has no place for.
fn text_is_class(surveys: &[(usize, Survey)]) -> (bool, Option<String>) {
    let texts: Vec<&str> = surveys
        .iter()
        .filter_map(|(_, survey)| survey.text.as_deref())
        .collect();
    if texts.is_empty() {
        return (false, None);
    }
    let has_class = surveys.iter().any(|(_, survey)| survey.class.is_some());
    let distinct = texts.iter().collect::<HashSet<_>>().len();
    let lines = texts.iter().all(|text| !text.contains('\n'));
    match !has_class && lines && 2 * distinct <= texts.len() {
        true => (
            true,
            Some(format!("the .txt members name {distinct} classes")),
        ),
        false => (
            false,
            Some(format!(
                "{} .txt members are taken for captions and passed over",
                texts.len()
            )),
        ),
    }
}

/// Classes by the numbers or names of a stated list.
fn known_classes<'a>(
    info: &DatasetInfo,
    classes: impl Iterator<Item = Option<&'a str>>,
) -> Vec<Option<u32>> {
    let index = |class: &str| match class.parse::<usize>() {
        Ok(number) => (number < info.labels.len()).then_some(number),
        Err(_) => info.labels.iter().position(|label| label == class),
    };
    classes
        .map(|class| index(class?).map(|index| index as u32))
        .collect()
}

/// The categories that occur, by ascending id.
fn categories(surveys: &[(usize, Survey)], refused: &mut Vec<Quarantined>) -> Vec<Category> {
    let mut by_id: BTreeMap<u32, Option<&str>> = BTreeMap::new();
    let found = surveys
        .iter()
        .flat_map(|(_, survey)| &survey.annotations.categories);
    for (id, name) in found {
        let first = by_id.entry(*id).or_default();
        match (*first, name.as_deref()) {
            (Some(first), Some(name)) if first != name => {
                let detail =
                    format!("`{name}` has id {id}, as `{first}` has; the first one counts");
                refused.push(Quarantined::new(
                    Subject::Category,
                    Reason::DuplicateId,
                    detail,
                ));
            }
            (None, name) => *first = name,
            _ => {}
        }
    }
    let name = |id: u32, name: Option<&str>| name.map_or_else(|| id.to_string(), str::to_owned);
    by_id
        .into_iter()
        .map(|(id, found)| Category {
            id,
            name: name(id, found),
        })
        .collect()
}

/// Ids of their own are kept if each is there once; else pictures and annotations are numbered.
fn samples(
    archives: &[PathBuf],
    surveys: Vec<(usize, Survey)>,
    classes: Vec<Option<u32>>,
) -> Vec<Sample> {
    let mut seen = HashSet::new();
    let own_images = surveys
        .iter()
        .all(|(_, s)| s.annotations.image_id.is_some_and(|id| seen.insert(id)));
    seen.clear();
    let ids = || {
        surveys
            .iter()
            .flat_map(|(_, survey)| &survey.annotations.ids)
    };
    let own_ids = ids().all(|id| id.is_some_and(|id| seen.insert(id)));
    let mut next_id = 1;
    let entries = surveys.into_iter().zip(classes).enumerate();
    let sample = |(index, ((archive, survey), class)): (usize, ((usize, Survey), _))| {
        let (name, picture) = survey.members.picture?;
        let file = archives[archive]
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let first_id = next_id;
        next_id += survey.annotations.ids.len() as u64;
        Some(Sample {
            archive,
            source: format!("{file}/{name}"),
            picture,
            json: survey
                .members
                .json
                .filter(|_| survey.annotations.is_of_use()),
            image_id: survey
                .annotations
                .image_id
                .filter(|_| own_images)
                .unwrap_or(index as u64),
            first_id: (!own_ids).then_some(first_id),
            class,
            class_is_unknown: class.is_none() && survey.class.is_some(),
        })
    };
    entries.filter_map(sample).collect()
}

impl Importer for WebDataset {
    fn len(&self) -> usize {
        self.samples.len()
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

    fn ignored(&self) -> BTreeMap<String, usize> {
        self.ignored.clone()
    }

    fn note(&self) -> Option<String> {
        self.note.clone()
    }

    fn item(&self, index: usize) -> Item {
        let sample = &self.samples[index];
        let mut refused = Vec::new();
        let text = sample
            .json
            .map(|span| self.bytes(sample, span, MOST_JSON))
            .transpose();
        let text = text.map_err(|error| error.to_string());
        let contents = text
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|text| match text {
                Some(text) => json::Contents::parse(text),
                None => Ok(json::Contents::default()),
            });
        let contents = contents.unwrap_or_else(|detail| {
            refused.push(Quarantined::new(
                Subject::Annotation,
                Reason::Unreadable,
                detail,
            ));
            json::Contents::default()
        });
        let mut objects = Vec::new();
        for (place, text) in contents.annotations.iter().enumerate() {
            let id = match sample.first_id {
                Some(first) => first + place as u64,
                None => json::id(text).unwrap_or_default(),
            };
            let annotation = super::coco_json::entry(text.get());
            objects.extend(coco_label::label(
                id,
                annotation,
                &self.categories,
                &mut refused,
            ));
        }
        Item {
            image_id: sample.image_id,
            source: sample.source.clone(),
            stated_size: contents.size(),
            label: sample.class,
            objects,
            refused,
        }
    }

    fn image_id(&self, index: usize) -> u64 {
        self.samples[index].image_id
    }

    fn stamp(&self, index: usize) -> Stamp {
        let sample = &self.samples[index];
        Stamp {
            len: sample.picture.len,
            ..Stamp::of(&self.archives[sample.archive])
        }
    }

    fn read(&self, index: usize) -> io::Result<Vec<u8>> {
        let sample = &self.samples[index];
        self.bytes(sample, sample.picture, MAX_FILE_BYTES)
    }
}
