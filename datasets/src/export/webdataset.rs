//! To WebDataset archives.
//!
//! Of each record there is a picture, `cls` (the class's number) where it has a class, and a `json`: the name of its
//! source, its size, and its objects in COCO's words, each with its category's name. The first member of each
//! archive states all categories and classes, so that they come back with the numbers they have.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::{json, Value};
use tar::{Builder, Header};

use super::coco::{self, Ids};
use super::names::{safe_path, Names};
use super::{extension, DatasetInfo, ExportReport, Reader, BATCH};
use crate::error::{DatasetError, Result};
use crate::packed_set::PackedSet;

/// The members of a sample: extension and bytes.
type Members = Vec<(&'static str, Vec<u8>)>;

/// Writes the set into `folder`, which is empty.
pub(super) fn write(
    set: &PackedSet,
    folder: &Path,
    shard_bytes: u64,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<ExportReport> {
    let ids = Ids::of(set)?;
    let keys = keys(set)?;
    let mut categories = set.categories().to_vec();
    categories.sort_by_key(|category| category.id);
    let info = json!(DatasetInfo {
        categories,
        labels: set.labels().to_vec()
    })
    .to_string();
    let mut report = ExportReport {
        pictures: set.len(),
        ..ExportReport::default()
    };
    let mut open: Option<Archive> = None;
    for start in (0..set.len()).step_by(BATCH) {
        let batch = start..set.len().min(start + BATCH);
        // Without ids of their own, annotations are numbered through the set.
        let mut first_ids = Vec::with_capacity(BATCH);
        for record in batch.clone() {
            first_ids.push((!ids.annotations).then_some(report.instances as u64 + 1));
            report.instances += set.instance_count(record)?;
        }
        let samples = batch.clone().into_par_iter().zip(first_ids);
        let samples = samples.map_init(Reader::default, |reader, (record, first_id)| {
            members(set, record, &ids, first_id, reader)
        });
        for (members, key) in samples
            .collect::<Result<Vec<_>>>()?
            .iter()
            .zip(&keys[batch.clone()])
        {
            let archive = match &mut open {
                Some(archive) => archive,
                None => {
                    let path = folder.join(format!("data-{:06}.tar", report.files));
                    report.files += 1;
                    let archive = open.insert(Archive::create(path)?);
                    archive.append(DatasetInfo::KEY, "json", info.as_bytes())?;
                    archive
                }
            };
            for (extension, bytes) in members {
                archive.append(key, extension, bytes)?;
            }
            if archive.bytes >= shard_bytes {
                report.bytes += open.take().map_or(Ok(0), Archive::finish)?;
            }
        }
        progress(batch.end);
    }
    report.bytes += open.map_or(Ok(0), Archive::finish)?;
    Ok(report)
}

/// The key of each record's sample. A key ends at the first dot, so it has none.
fn keys(set: &PackedSet) -> Result<Vec<String>> {
    let mut names = Names::default();
    let key = |record| {
        let path = safe_path(&set.info(record)?.source);
        Ok(names.unique(crate::import::stem(&path).replace('.', "_")))
    };
    (0..set.len()).map(key).collect()
}

fn members(
    set: &PackedSet,
    record: usize,
    ids: &Ids,
    first_id: Option<u64>,
    reader: &mut Reader,
) -> Result<Members> {
    let mut members = vec![(extension(set, record)?, reader.file(set, record)?)];
    let class = set.label(record)?;
    if let Some(class) = class {
        members.push(("cls", class.to_string().into_bytes()));
    }
    let image_id = ids.image(set, record)?;
    let annotations = set.instances(record)?.into_iter().enumerate();
    let annotations = annotations.map(|(place, instance)| {
        let id = first_id.map_or(instance.id, |first| first + place as u64);
        let mut annotation = coco::annotation(&instance, id, image_id, set.categories());
        annotation["category"] = json!(set.categories()[instance.category as usize].name);
        annotation
    });
    let (width, height) = set.image_size(record)?;
    let mut sample = json!({
        "file_name": set.info(record)?.source,
        "image_id": image_id,
        "width": width,
        "height": height,
        "annotations": annotations.collect::<Vec<Value>>(),
    });
    if let Some(name) = class.and_then(|class| set.labels().get(class as usize)) {
        sample["label"] = json!(name);
    }
    members.push(("json", sample.to_string().into_bytes()));
    Ok(members)
}

/// An archive that is being written.
struct Archive {
    path: PathBuf,
    tar: Builder<BufWriter<File>>,
    bytes: u64,
}

impl Archive {
    fn create(path: PathBuf) -> Result<Self> {
        let file = File::create_new(&path).map_err(DatasetError::io("create", &path))?;
        let tar = Builder::new(BufWriter::with_capacity(1 << 20, file));
        Ok(Self {
            path,
            tar,
            bytes: 0,
        })
    }

    fn append(&mut self, key: &str, extension: &str, bytes: &[u8]) -> Result<()> {
        // No owner and no date: the same set gives the same archives.
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let name = format!("{key}.{extension}");
        self.bytes += 512 + (bytes.len() as u64).next_multiple_of(512);
        let appended = self.tar.append_data(&mut header, name, bytes);
        appended.map_err(DatasetError::io("write", &self.path))
    }

    /// Ends the archive, waits for the disk and says how many bytes it has.
    fn finish(self) -> Result<u64> {
        let finish = |tar: Builder<BufWriter<File>>| {
            let mut out = tar.into_inner()?;
            out.flush()?;
            out.get_ref().sync_all()?;
            out.get_ref().metadata().map(|metadata| metadata.len())
        };
        finish(self.tar).map_err(DatasetError::io("write", &self.path))
    }
}
