//! What is looked at: the pictures of a source, or the records of a packed set.

use std::collections::BTreeMap;

use image::RgbImage;

use crate::error::{DatasetError, Result};
use crate::import::{Format, Importer, Source};
use crate::manifest::MANIFEST;
use crate::options::PackOptions;
use crate::packed_set::PackedSet;
use crate::prepare::read;
use crate::quarantine::{Quarantined, Reason, Subject};
use crate::sample::{Category, Instance};

pub(super) enum Gallery {
    Source(Box<dyn Importer>),
    Packed(Box<PackedSet>),
}

/// A picture as it was found.
pub(super) struct Seen {
    /// Upright; a source's not resized.
    pub image: RgbImage,
    /// In pixels of the picture as it is or would be packed.
    pub instances: Vec<Instance>,
    /// Class of the whole picture.
    pub label: Option<u32>,
}

impl Gallery {
    /// A folder with a manifest is a packed set, unless a format was given.
    pub fn open(source: &Source) -> Result<Self> {
        if source.format == Format::Auto && source.path.join(MANIFEST).is_file() {
            if let Some(split) = &source.split {
                let what = format!("a packed set, which has no splits; asked for was `{split}`");
                return Err(DatasetError::source(&source.path, what));
            }
            return Ok(Self::Packed(Box::new(PackedSet::open(&source.path)?)));
        }
        Ok(Self::Source(source.open()?))
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Source(importer) => importer.len(),
            Self::Packed(set) => set.len(),
        }
    }

    pub fn categories(&self) -> &[Category] {
        match self {
            Self::Source(importer) => importer.categories(),
            Self::Packed(set) => set.categories(),
        }
    }

    pub fn labels(&self) -> &[String] {
        match self {
            Self::Source(importer) => importer.picture_labels(),
            Self::Packed(set) => set.labels(),
        }
    }

    /// What is wrong beyond single pictures: what was refused while listing, shards that are not as they were written.
    pub fn refused(&self) -> Vec<Quarantined> {
        let set = match self {
            Self::Source(importer) => return importer.refused().to_vec(),
            Self::Packed(set) => set,
        };
        let problems = set.changed_shards().into_iter();
        let entry = |problem: DatasetError| {
            Quarantined::new(Subject::Shard, Reason::Damaged, problem.to_string())
        };
        problems.map(entry).collect()
    }

    pub fn ignored(&self) -> BTreeMap<String, usize> {
        match self {
            Self::Source(importer) => importer.ignored(),
            Self::Packed(_) => BTreeMap::new(),
        }
    }

    pub fn note(&self) -> Option<String> {
        match self {
            Self::Source(importer) => importer.note(),
            Self::Packed(_) => None,
        }
    }

    /// Reads a picture and checks it with its labels.
    pub fn look(&self, index: usize, options: &PackOptions) -> (Option<Seen>, Vec<Quarantined>) {
        match self {
            Self::Source(importer) => {
                let importer = importer.as_ref();
                let outcome = read(importer, index, importer.item(index), options);
                let seen = outcome.picture.map(|picture| Seen {
                    image: picture.image,
                    instances: picture.instances,
                    label: picture.info.label,
                });
                (seen, outcome.quarantined)
            }
            Self::Packed(set) => match set.read(index) {
                Ok(sample) => {
                    let seen = Seen {
                        image: sample.image,
                        instances: sample.instances,
                        label: sample.info.label,
                    };
                    (Some(seen), Vec::new())
                }
                Err(error) => {
                    let name = self.name(index);
                    let entry = Quarantined::picture(name, Reason::Damaged, error.to_string());
                    (None, vec![entry])
                }
            },
        }
    }

    /// The picture's path within the source.
    pub fn name(&self, index: usize) -> String {
        match self {
            Self::Source(importer) => importer.item(index).source,
            Self::Packed(set) => match set.info(index) {
                Ok(info) => info.source,
                Err(_) => format!("record {index}"),
            },
        }
    }

    /// The box of an annotation as the label file states it, in pixels of the picture of this (width, height), which
    /// is that before packing.
    pub fn stated_box(&self, index: usize, annotation: u64, size: (u32, u32)) -> Option<[f64; 4]> {
        let Self::Source(importer) = self else {
            return None;
        };
        let objects = importer.item(index).objects;
        let object = objects.into_iter().find(|object| object.id == annotation)?;
        object.in_pixels(size).bbox?.try_into().ok()
    }
}
