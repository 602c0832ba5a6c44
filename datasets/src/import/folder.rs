//! A plain folder of pictures, with whatever folders within it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::walk::{self, Found};
use super::{index_names, read_file, Importer, Item, Stamp};
use crate::error::{DatasetError, Result};
use crate::quarantine::Quarantined;

/// Names that promise a picture. Those at the end are not read: they are taken up so that they are listed
/// as unsupported, not passed over.
const PICTURE_EXTENSIONS: [&str; 17] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "heic", "heif",
    "avif", "jp2", "jxl", "ppm", "pgm",
];

/// Whether a file's name promises a picture.
pub(super) fn is_picture_name(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(is_picture_extension)
}

/// Whether an extension promises a picture.
pub(super) fn is_picture_extension(extension: &str) -> bool {
    PICTURE_EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str())
}

/// The first folder of a picture's path, its class where folders are classes.
pub(super) fn class_of(relative: &str) -> Option<&str> {
    relative.split_once('/').map(|(class, _)| class)
}

/// The pictures of a folder, sorted by their relative path.
pub(super) struct Folder {
    root: std::path::PathBuf,
    pictures: Vec<Found>,
    /// For each picture its class; empty where folders are not classes.
    classes: Vec<Option<u32>>,
    labels: Vec<String>,
    refused: Vec<Quarantined>,
    ignored: BTreeMap<String, usize>,
}

impl Folder {
    pub(super) fn open(root: &Path, classes_from_folders: bool) -> Result<Self> {
        let (files, refused) = walk::files(root);
        let (pictures, others): (Vec<_>, Vec<_>) = files
            .into_iter()
            .partition(|file| is_picture_name(&file.path));
        let mut ignored = BTreeMap::new();
        for file in others {
            let extension = file.path.extension();
            let extension = extension.map(|e| format!(".{}", e.to_string_lossy().to_lowercase()));
            *ignored
                .entry(extension.unwrap_or_else(|| "no extension".into()))
                .or_insert(0) += 1;
        }
        if pictures.is_empty() && refused.is_empty() {
            return Err(DatasetError::source(root, nothing_found(&ignored)));
        }
        let (mut labels, mut classes) = (Vec::new(), Vec::new());
        if classes_from_folders {
            let names = pictures.iter().map(|picture| class_of(&picture.relative));
            (labels, classes) = index_names(names, str::cmp);
            if labels.is_empty() {
                let what = "--classes-from-folders expects a folder for each class, with its pictures in it; \
                            found pictures only and no folder";
                return Err(DatasetError::source(root, what));
            }
        }
        Ok(Self {
            root: root.into(),
            pictures,
            classes,
            labels,
            refused,
            ignored,
        })
    }
}

fn nothing_found(ignored: &BTreeMap<String, usize>) -> String {
    let found = match ignored.is_empty() {
        true => "the folder is empty".into(),
        false => format!("found only {}", list_counts(ignored)),
    };
    format!(
        "no picture here or in the folders within; looked for .{}, and for the label files of COCO ({}), VOC \
         (Annotations/*.xml), YOLO (data.yaml, labels/*.txt) and WebDataset (*.tar); {found}",
        PICTURE_EXTENSIONS[..8].join(" ."),
        super::coco::KNOWN_NAMES.join(", "),
    )
}

/// `.json: 2, .txt: 14`.
pub(crate) fn list_counts(counts: &BTreeMap<String, usize>) -> String {
    counts
        .iter()
        .map(|(name, count)| format!("{name}: {count}"))
        .collect::<Vec<_>>()
        .join(", ")
}

impl Importer for Folder {
    fn len(&self) -> usize {
        self.pictures.len()
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
        let labels = super::coco::label_files(&self.root);
        let first = labels.first()?.display();
        Some(format!("packed without labels; to pack objects, give the label file as SOURCE, such as {first}"))
    }

    fn item(&self, index: usize) -> Item {
        Item {
            image_id: index as u64,
            source: self.pictures[index].relative.clone(),
            stated_size: None,
            label: self.classes.get(index).copied().flatten(),
            objects: Vec::new(),
            refused: Vec::new(),
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
