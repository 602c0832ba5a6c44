//! From what people have to items to pack: one file here for each kind of source.
//!
//! An importer lists its pictures when it is opened, and hands out each item by number, so that items can
//! be worked on by many threads and come out in one order. It reads labels as they are written; bringing
//! them to the stored picture, and refusing those that are wrong, is common to all importers
//! ([`crate::labels`]).

mod coco;
mod coco_json;
mod folder;
mod picture_folder;

pub(crate) use folder::list_counts;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{DatasetError, Result};
use crate::labels::Label;
use crate::quarantine::Quarantined;
use crate::sample::Category;

/// The kind of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A folder is [`Format::Folder`], or COCO where it holds a `_annotations.coco.json`; a file ending in
    /// `.json` is [`Format::Coco`].
    #[default]
    Auto,
    /// All pictures in a folder and the folders within it.
    Folder,
    /// A COCO label file, or a folder that holds exactly one, by itself or in its folder `annotations`.
    Coco,
}

/// What to pack.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// A folder or a label file.
    pub path: PathBuf,
    /// Its kind.
    pub format: Format,
    /// Where the pictures of a label file are; found by looking around the label file if not given.
    pub images: Option<PathBuf>,
    /// For [`Format::Folder`]: the first folder below `path` is the class of the pictures in it.
    pub classes_from_folders: bool,
}

impl Source {
    /// A source of the kind its path suggests.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    /// Opens the source: lists its pictures, reads its labels.
    pub(crate) fn open(&self) -> Result<Box<dyn Importer>> {
        let path = &self.path;
        let is_folder = fs::metadata(path)
            .map_err(DatasetError::io("open the source", path))?
            .is_dir();
        let wrong = |what: &str| DatasetError::Source {
            path: path.clone(),
            what: what.into(),
        };
        let is_json = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("json"));
        let format = match self.format {
            Format::Auto if is_folder && path.join(coco::ROBOFLOW_NAME).is_file() => Format::Coco,
            Format::Auto if is_folder => Format::Folder,
            Format::Auto if is_json => Format::Coco,
            Format::Auto => {
                return Err(wrong(
                    "neither a folder nor a .json label file; say what it is with --format",
                ))
            }
            Format::Folder if !is_folder => {
                return Err(wrong("not a folder, which --format folder expects"))
            }
            given => given,
        };
        match format {
            Format::Coco if self.classes_from_folders => {
                Err(wrong("--classes-from-folders goes with a folder of pictures, this is a label file"))
            }
            Format::Coco => Ok(Box::new(coco::Coco::open(path, self.images.as_deref())?)),
            _ if self.images.is_some() => {
                Err(wrong("--images goes with a label file, this is a folder of pictures; give the label file"))
            }
            _ => Ok(Box::new(folder::Folder::open(path, self.classes_from_folders)?)),
        }
    }
}

/// A source whose items can be asked for in any order.
pub(crate) trait Importer: Send + Sync {
    /// Number of items.
    fn len(&self) -> usize;

    /// The categories of labelled objects, by index.
    fn categories(&self) -> &[Category] {
        &[]
    }

    /// The classes of whole pictures, by index.
    fn picture_labels(&self) -> &[String] {
        &[]
    }

    /// What was refused while listing.
    fn refused(&self) -> &[Quarantined];

    /// Files that are not pictures by their name, counted by extension.
    fn ignored(&self) -> BTreeMap<String, usize> {
        BTreeMap::new()
    }

    /// Something the user should know about the source.
    fn note(&self) -> Option<String> {
        None
    }

    /// An item without its pixels.
    fn item(&self, index: usize) -> Item;

    /// An item's [`Item::image_id`].
    fn image_id(&self, index: usize) -> u64 {
        self.item(index).image_id
    }

    /// What tells whether an item's picture file has changed.
    fn stamp(&self, index: usize) -> Stamp;

    /// The bytes of an item's picture file.
    fn read(&self, index: usize) -> io::Result<Vec<u8>>;
}

/// What tells whether a file has changed, short of reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Bytes of the file, 0 if unknown; tells how much memory a picture may take.
    pub len: u64,
    /// When its contents were last written.
    modified: Option<SystemTime>,
    /// Where the system keeps it, when anything about the file was last changed, in seconds and nanoseconds
    /// since 1970: a copy can keep the time above, but not this one.
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file at `path`; for a file that cannot be looked at, the one of no file.
    pub fn of(path: &Path) -> Self {
        let Ok(metadata) = fs::metadata(path) else {
            return Self::default();
        };
        #[cfg(unix)]
        let changed = {
            use std::os::unix::fs::MetadataExt;
            (metadata.ctime(), metadata.ctime_nsec())
        };
        #[cfg(not(unix))]
        let changed = (0, 0);
        Self {
            len: metadata.len(),
            modified: metadata.modified().ok(),
            changed,
        }
    }
}

/// What a source says of one picture.
#[derive(Debug)]
pub(crate) struct Item {
    pub image_id: u64,
    /// Path relative to the picture folder.
    pub source: String,
    /// (width, height) as the label file states them.
    pub stated_size: Option<(u32, u32)>,
    /// Class of the whole picture.
    pub label: Option<u32>,
    /// The labelled objects.
    pub objects: Vec<Label>,
    /// Labels that could not be read.
    pub refused: Vec<Quarantined>,
}

/// A picture file beyond this is refused unread: no picture within [`crate::pixels::MAX_PIXELS`] needs it.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Reads a regular file of a picture's size; a pipe or a device by a picture's name would never end.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if metadata.len() > MAX_FILE_BYTES {
        let message = format!("{} bytes, the limit is {MAX_FILE_BYTES}", metadata.len());
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    fs::read(path)
}

/// A path's parts joined by `/`, for manifests that read alike on every system.
fn slashed(path: &Path) -> String {
    path.iter()
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}
