//! Tells what kind a source is from what is on the disk.

use std::fs;
use std::path::Path;

use super::{coco, glob, list_paths, voc, walk, yolo, Format};
use crate::error::{DatasetError, Result};

/// The kind of the source at `path`.
///
/// # Errors
/// If there is nothing, a file whose name says none of the kinds, or a folder of several data sets.
pub(super) fn recognise(path: &Path) -> Result<Format> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => folder(path),
        Ok(_) => file(path).ok_or_else(|| {
            let what = "not known by its name; looked for a folder, .json (COCO), .yaml (YOLO), .tar \
                        (WebDataset), .txt, .lst or .tsv (list; in ImageSets, VOC); say what it is with --format";
            DatasetError::source(path, what)
        }),
        Err(_) if glob::is_pattern(path) => Ok(Format::WebDataset),
        Err(error) => Err(DatasetError::io("open the source", path)(error)),
    }
}

/// The label files of one kind in it, or else its pictures.
fn folder(path: &Path) -> Result<Format> {
    Ok(match () {
        _ if !coco::known_files(path).is_empty() => Format::Coco,
        _ if voc::is_root(path) => Format::Voc,
        _ if yolo::is_root(path) => Format::Yolo,
        _ if !walk::with_extension(path, "tar").is_empty() => Format::WebDataset,
        _ => {
            // The splits of a set, mostly: as one folder they would be mixed, and their labels lost.
            let mut folders = vec![path.to_owned()];
            folders.extend(walk::subfolders(path));
            let labels = coco::recognised_files(&folders);
            if !labels.is_empty() {
                let labels = list_paths(&labels);
                let what = format!(
                    "has labels of COCO; --format folder packs its pictures without them; for objects give one of these \
                     files: {labels}"
                );
                return Err(DatasetError::source(path, what));
            }
            Format::Folder
        }
    })
}

fn file(path: &Path) -> Option<Format> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    let within_image_sets = path.ancestors().any(|folder| folder.ends_with("ImageSets"));
    match extension.as_str() {
        "json" => Some(Format::Coco),
        "yaml" | "yml" => Some(Format::Yolo),
        "tar" | "tgz" => Some(Format::WebDataset),
        "gz" | "zst" | "bz2" | "xz" if walk::has_extension(Path::new(path.file_stem()?), "tar") => {
            Some(Format::WebDataset)
        }
        "txt" if within_image_sets => Some(Format::Voc),
        "txt" | "lst" | "tsv" => Some(Format::List),
        _ => None,
    }
}
