//! A plain folder of pictures, with whatever folders within it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::{read_file, slashed, Importer, Item, Stamp};
use crate::error::{DatasetError, Result};
use crate::quarantine::{Quarantined, Reason};

/// Names that promise a picture. Those at the end are not read: they are taken up so that they are listed
/// as unsupported, not passed over.
const PICTURE_EXTENSIONS: [&str; 17] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "heic", "heif",
    "avif", "jp2", "jxl", "ppm", "pgm",
];

/// Whether a file's name promises a picture.
pub(super) fn is_picture_name(path: &Path) -> bool {
    let extension = path
        .extension()
        .and_then(OsStr::to_str)
        .map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| PICTURE_EXTENSIONS.contains(&extension.as_str()))
}

/// The pictures of a folder, sorted by their relative path.
pub(super) struct Folder {
    root: PathBuf,
    /// Relative path with `/`, path as the system has it, class.
    pictures: Vec<(String, PathBuf, Option<u32>)>,
    labels: Vec<String>,
    refused: Vec<Quarantined>,
    ignored: BTreeMap<String, usize>,
}

impl Folder {
    pub(super) fn open(root: &Path, classes_from_folders: bool) -> Result<Self> {
        let mut folder = Self {
            root: root.into(),
            pictures: Vec::new(),
            labels: Vec::new(),
            refused: Vec::new(),
            ignored: BTreeMap::new(),
        };
        // Links are followed, a link to a folder above it is reported; hidden files are the system's own
        // (macOS keeps a `._x.jpg` beside each `x.jpg`).
        for entry in WalkDir::new(root)
            .follow_links(true)
            .into_iter()
            .filter_entry(|e| e.depth() == 0 || !is_hidden(e))
        {
            match entry {
                Ok(entry) if entry.file_type().is_dir() => {}
                Ok(entry) => folder.add(entry.path()),
                Err(error) => {
                    let at = error.path().unwrap_or(root);
                    let name = slashed(at.strip_prefix(root).unwrap_or(at));
                    folder.refused.push(Quarantined::picture(
                        name,
                        Reason::Unreadable,
                        error.to_string(),
                    ));
                }
            }
        }
        folder.pictures.sort();
        folder.refused.sort_by(|a, b| a.source.cmp(&b.source));
        if folder.pictures.is_empty() && folder.refused.is_empty() {
            return Err(DatasetError::Source {
                path: root.into(),
                what: folder.nothing_found(),
            });
        }
        if classes_from_folders {
            folder.label_by_folder()?;
        }
        Ok(folder)
    }

    fn add(&mut self, path: &Path) {
        if is_picture_name(path) {
            let relative = slashed(path.strip_prefix(&self.root).unwrap_or(path));
            self.pictures.push((relative, path.into(), None));
        } else {
            let extension = path
                .extension()
                .map(|e| format!(".{}", e.to_string_lossy().to_lowercase()));
            *self
                .ignored
                .entry(extension.unwrap_or_else(|| "no extension".into()))
                .or_insert(0) += 1;
        }
    }

    fn label_by_folder(&mut self) -> Result<()> {
        let class = |name: &str| name.split_once('/').map(|(class, _)| class.to_owned());
        let mut labels: Vec<_> = self
            .pictures
            .iter()
            .filter_map(|(name, ..)| class(name))
            .collect();
        labels.sort();
        labels.dedup();
        if labels.is_empty() {
            let what = "--classes-from-folders expects a folder for each class, with its pictures in it; found \
                        pictures only and no folder"
                .into();
            return Err(DatasetError::Source {
                path: self.root.clone(),
                what,
            });
        }
        for (name, _, label) in &mut self.pictures {
            *label = class(name)
                .and_then(|class| labels.binary_search(&class).ok())
                .map(|i| i as u32);
        }
        self.labels = labels;
        Ok(())
    }

    fn nothing_found(&self) -> String {
        let found = match self.ignored.is_empty() {
            true => "the folder is empty".into(),
            false => format!("found only {}", list_counts(&self.ignored)),
        };
        format!(
            "no picture here or in the folders within; looked for .{}; {found}",
            PICTURE_EXTENSIONS[..8].join(" .")
        )
    }
}

/// `.json: 2, .txt: 14`.
pub(crate) fn list_counts(counts: &BTreeMap<String, usize>) -> String {
    counts
        .iter()
        .map(|(name, count)| format!("{name}: {count}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn is_hidden(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    name.starts_with('.') || name == "__MACOSX"
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
        let (source, _, label) = &self.pictures[index];
        Item {
            image_id: index as u64,
            source: source.clone(),
            stated_size: None,
            label: *label,
            objects: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn image_id(&self, index: usize) -> u64 {
        index as u64
    }

    fn stamp(&self, index: usize) -> Stamp {
        Stamp::of(&self.pictures[index].1)
    }

    fn read(&self, index: usize) -> io::Result<Vec<u8>> {
        read_file(&self.pictures[index].1)
    }
}
