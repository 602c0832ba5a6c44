//! To a folder of pictures.
//!
//! A picture keeps the name of its source below its class's folder, or below `images` where the set has objects.
//! A folder without objects is packed again in the order of its names, as every folder is. A class's name loses what
//! no folder's name can have.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use rayon::prelude::*;

use super::names::{safe_part, safe_path, Names};
use super::{coco, extension, ExportReport, Reader, BATCH, INSTANCES};
use crate::error::{DatasetError, Result};
use crate::packed_set::PackedSet;
use crate::shard::sync_folder;

/// Writes the set into `folder`, which is empty.
pub(super) fn write(
    set: &PackedSet,
    folder: &Path,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<ExportReport> {
    let names = names(set)?;
    let mut folders: Vec<_> = names
        .iter()
        .filter_map(|name| folder.join(name).parent().map(Path::to_owned))
        .collect();
    folders.sort_unstable();
    folders.dedup();
    for folder in &folders {
        fs::create_dir_all(folder).map_err(DatasetError::io("create", folder))?;
    }
    let mut report = ExportReport {
        pictures: set.len(),
        files: set.len(),
        ..ExportReport::default()
    };
    for start in (0..set.len()).step_by(BATCH) {
        let batch = start..set.len().min(start + BATCH);
        let end = batch.end;
        let lengths = batch
            .into_par_iter()
            .map_init(Reader::default, |reader, record| {
                let bytes = reader.file(set, record)?;
                put(&folder.join(&names[record]), &bytes)?;
                Ok((bytes.len() as u64, set.instance_count(record)?))
            });
        for (bytes, instances) in lengths.collect::<Result<Vec<_>>>()? {
            report.bytes += bytes;
            report.instances += instances;
        }
        progress(end);
    }
    if !set.categories().is_empty() {
        let path = folder.join(INSTANCES);
        coco::write(&path, set, &names)?;
        report.bytes += fs::metadata(&path)
            .map_err(DatasetError::io("look at", &path))?
            .len();
        report.files += 1;
    }
    folders.iter().try_for_each(|folder| sync_folder(folder))?;
    Ok(report)
}

/// Writes a new file and waits for the disk.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(DatasetError::io("write", path))
}

/// The path of each record's picture.
fn names(set: &PackedSet) -> Result<Vec<String>> {
    let mut classes = Names::default();
    let classes = set
        .labels()
        .iter()
        .map(|label| classes.unique(safe_part(label)));
    let classes: Vec<_> = classes.collect();
    let has_objects = !set.categories().is_empty();
    let mut names = Names::default();
    let name = |record: usize| {
        let source = set.info(record)?.source;
        let path = safe_path(&source);
        let label = set
            .label(record)?
            .and_then(|label| classes.get(label as usize));
        let path = match label {
            Some(class) => {
                let within = path.strip_prefix(class.as_str());
                let within = within
                    .and_then(|rest| rest.strip_prefix('/'))
                    .unwrap_or(&path);
                format!("{class}/{within}")
            }
            // Among folders that are classes, a picture without one lies outside of them.
            None if !classes.is_empty() => path.replace('/', "_"),
            None if has_objects => {
                format!("images/{}", path.strip_prefix("images/").unwrap_or(&path))
            }
            None => path,
        };
        let stem = crate::import::stem(&path);
        // `a.jpg` and `a.png` become `a.png` and `a.png.png`, which sort as they did.
        let stem = if names.is_free(stem) { stem } else { &path };
        let stem = names.unique(stem.to_owned());
        Ok(format!("{stem}.{}", extension(set, record)?))
    };
    (0..set.len()).map(name).collect()
}
