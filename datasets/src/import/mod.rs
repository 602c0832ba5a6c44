//! From what people have to items to pack: one file here for each kind of source.
//!
//! An importer lists its pictures when it is opened, and hands out each item by number, so that items can
//! be worked on by many threads and come out in one order. It reads labels as they are written; bringing
//! them to the stored picture, and refusing those that are wrong, is common to all importers
//! ([`crate::labels`]).

mod coco;
mod coco_json;
mod coco_label;
mod folder;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod glob;
mod list;
mod picture_folder;
mod recognise;
mod tails;
mod voc;
mod walk;
mod webdataset;
mod yolo;

pub(crate) use folder::list_counts;
pub(crate) use walk::stem;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use crate::error::{DatasetError, Result};
use crate::labels::Label;
use crate::quarantine::Quarantined;
use crate::sample::Category;

/// The kind of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Told from what is on the disk: a folder by the label files in it, a file by its extension.
    #[default]
    Auto,
    /// All pictures in a folder and the folders within it.
    Folder,
    /// A COCO label file, or a folder that holds exactly one, by itself or in its folder `annotations`.
    Coco,
    /// Pascal VOC: a folder with `Annotations` and `JPEGImages`, one with `.xml` files beside the pictures, or
    /// a list of `ImageSets`.
    Voc,
    /// YOLO: a `data.yaml`, a folder that holds one, one with `images` and `labels`, or one with `.txt` files
    /// beside the pictures.
    Yolo,
    /// WebDataset: a `.tar`, a folder of them, or a pattern such as `train-{0000..0099}.tar`.
    WebDataset,
    /// A text file with a picture's path on each line, and after it, if any, the name of its class.
    List,
}

impl Format {
    /// The name by which the command line knows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Folder => "folder",
            Self::Coco => "coco",
            Self::Voc => "voc",
            Self::Yolo => "yolo",
            Self::WebDataset => "webdataset",
            Self::List => "list",
        }
    }
}

/// What to pack.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// A folder, a label file, or a pattern of `.tar` files.
    pub path: PathBuf,
    /// Its kind.
    pub format: Format,
    /// Where the pictures of a label file are (COCO, VOC, list); found by looking around if not given.
    pub images: Option<PathBuf>,
    /// The part of a data set to take (VOC, YOLO), such as `train`; `all` for every one. Where there are several, one
    /// must be named.
    pub split: Option<String>,
    /// The first folder below `path` is the class of the pictures in it (folder); for COCO, the first
    /// folder of the pictures' names.
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
        let format = match self.format {
            Format::Auto => recognise::recognise(&self.path)?,
            given => given,
        };
        self.check_options(format)?;
        let (path, images) = (self.path.as_path(), self.images.as_deref());
        let (split, classes) = (self.split.as_deref(), self.classes_from_folders);
        Ok(match format {
            Format::Auto | Format::Folder => Box::new(folder::Folder::open(path, classes)?),
            Format::Coco => Box::new(coco::Coco::open(path, images, classes)?),
            Format::Voc => Box::new(voc::Voc::open(path, images, split)?),
            Format::Yolo => Box::new(yolo::Yolo::open(path, split)?),
            Format::WebDataset => Box::new(webdataset::WebDataset::open(path)?),
            Format::List => Box::new(list::List::open(path, images)?),
        })
    }

    /// Options that a kind of source does not know are refused, not passed over.
    fn check_options(&self, format: Format) -> Result<()> {
        use Format::{Coco, Folder, List, Voc, Yolo};
        let options: [(&str, bool, &[Format]); 3] = [
            ("--images", self.images.is_some(), &[Coco, Voc, List]),
            ("--split", self.split.is_some(), &[Voc, Yolo]),
            (
                "--classes-from-folders",
                self.classes_from_folders,
                &[Folder, Coco],
            ),
        ];
        for (option, given, formats) in options {
            if given && !formats.contains(&format) {
                let names: Vec<_> = formats.iter().map(|format| format.name()).collect();
                let what = format!(
                    "{option} goes with --format {}; this is {}",
                    names.join(" or "),
                    format.name()
                );
                return Err(DatasetError::source(&self.path, what));
            }
        }
        let metadata = fs::metadata(&self.path);
        match (format, metadata) {
            // A pattern of files is none itself.
            (Format::WebDataset, _) => Ok(()),
            (_, Err(error)) => Err(DatasetError::io("open the source", &self.path)(error)),
            (Folder, Ok(found)) if !found.is_dir() => {
                let what = "not a folder, which --format folder expects";
                Err(DatasetError::source(&self.path, what))
            }
            _ => Ok(()),
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
    /// Bytes of the file, 0 if unknown.
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

/// Reads a text file of labels, without the mark that some editors put before it.
fn read_text(path: &Path) -> io::Result<String> {
    let text = String::from_utf8(fs::read(path)?).map_err(|error| {
        let message = format!("not UTF-8 text: {}", error.utf8_error());
        io::Error::new(io::ErrorKind::InvalidData, message)
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// The names that occur, in this order, and for each entry its place among them.
fn index_names<'a>(
    names: impl Iterator<Item = Option<&'a str>> + Clone,
    order: impl Fn(&str, &str) -> Ordering,
) -> (Vec<String>, Vec<Option<u32>>) {
    let mut sorted: Vec<&str> = names.clone().flatten().collect();
    sorted.sort_unstable_by(|a, b| order(a, b));
    sorted.dedup();
    let index = |name| sorted.binary_search_by(|found| order(found, name));
    let indices = names.map(|name| index(name?).ok().map(|index| index as u32));
    let indices = indices.collect();
    (sorted.into_iter().map(str::to_owned).collect(), indices)
}

/// The order of class names: numbers by their value and before words.
fn by_value(a: &str, b: &str) -> Ordering {
    let key = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

/// The first of several files or folders, as many as a message has room for.
fn list_paths(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> String {
    let paths = paths.into_iter();
    let mut names: Vec<_> = paths
        .map(|path| path.as_ref().display().to_string())
        .collect();
    if names.len() > 12 {
        names.truncate(12);
        names.push("..".into());
    }
    names.join(", ")
}

/// The refusal of a source with several splits of which none was chosen: training pictures and those held back must not
/// be mixed unasked.
fn several_splits<'a>(path: &Path, names: impl IntoIterator<Item = &'a str>) -> DatasetError {
    let names: Vec<_> = names.into_iter().collect();
    let what = format!(
        "has the splits {}; take one with --split NAME (of what --against names: --against-split), or --split all",
        names.join(", ")
    );
    DatasetError::source(path, what)
}

/// A path's parts joined by `/`, for manifests that read alike on every system.
fn slashed(path: &Path) -> String {
    let parts = path.components().map(|part| match part {
        // It is a slash itself.
        Component::RootDir => "".into(),
        part => part.as_os_str().to_string_lossy(),
    });
    parts.collect::<Vec<_>>().join("/")
}
