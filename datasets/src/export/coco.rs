//! A packed set's labels in COCO's words.

use std::collections::HashSet;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{json, Value};

use crate::error::{DatasetError, Result};
use crate::packed_set::PackedSet;
use crate::sample::{Category, Instance};

/// Whether pictures and annotations keep their ids: those of a label file must differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    pub images: bool,
    pub annotations: bool,
}

impl Ids {
    pub(super) fn of(set: &PackedSet) -> Result<Self> {
        let (mut images, mut annotations) = (HashSet::new(), HashSet::new());
        let mut ids = Self {
            images: true,
            annotations: true,
        };
        for record in 0..set.len() {
            ids.images &= images.insert(set.image_id(record)?);
            for instance in set.instances(record)? {
                ids.annotations &= annotations.insert(instance.id);
            }
        }
        Ok(ids)
    }

    /// The id of a record's picture.
    pub(super) fn image(&self, set: &PackedSet, record: usize) -> Result<u64> {
        match self.images {
            true => set.image_id(record),
            false => Ok(record as u64),
        }
    }
}

/// An annotation. Numbers in single precision are written with all their digits, so that they come back as
/// they are.
pub(super) fn annotation(
    instance: &Instance,
    id: u64,
    image_id: u64,
    categories: &[Category],
) -> Value {
    let mut annotation = json!({
        "id": id,
        "image_id": image_id,
        // Reading the record has checked the index.
        "category_id": categories[instance.category as usize].id,
        "bbox": instance.bbox.map(f64::from),
        "area": f64::from(instance.area),
        "iscrowd": u8::from(instance.crowd),
    });
    if let Some(mask) = &instance.mask {
        let (height, width) = mask.size();
        annotation["segmentation"] =
            json!({"size": [height, width], "counts": mask.to_coco_string()});
    }
    annotation
}

/// Writes a label file and waits for the disk. `file_names` are those of the pictures, by record.
pub(super) fn write(path: &Path, set: &PackedSet, file_names: &[String]) -> Result<()> {
    let ids = Ids::of(set)?;
    let mut file = JsonFile::create(path)?;
    file.put(format_args!(
        "{{\"categories\": {},\n\"images\": [",
        json!(set.categories())
    ))?;
    for (record, name) in file_names.iter().enumerate() {
        let (width, height) = set.image_size(record)?;
        let id = ids.image(set, record)?;
        let image = json!({"id": id, "file_name": name, "width": width, "height": height});
        file.entry(record == 0, &image)?;
    }
    file.put("],\n\"annotations\": [")?;
    let mut next_id = 1;
    for record in 0..set.len() {
        let image_id = ids.image(set, record)?;
        for instance in set.instances(record)? {
            let id = if ids.annotations {
                instance.id
            } else {
                next_id
            };
            let entry = annotation(&instance, id, image_id, set.categories());
            file.entry(next_id == 1, &entry)?;
            next_id += 1;
        }
    }
    file.put("]}\n")?;
    file.finish()
}

/// A text file written piece by piece.
struct JsonFile<'a> {
    path: &'a Path,
    out: BufWriter<File>,
}

impl<'a> JsonFile<'a> {
    fn create(path: &'a Path) -> Result<Self> {
        let file = File::create_new(path).map_err(DatasetError::io("create", path))?;
        let out = BufWriter::new(file);
        Ok(Self { path, out })
    }

    fn put(&mut self, text: impl Display) -> Result<()> {
        write!(self.out, "{text}").map_err(DatasetError::io("write", self.path))
    }

    /// An entry of a list, on a line of its own.
    fn entry(&mut self, first: bool, value: &Value) -> Result<()> {
        let comma = if first { "\n" } else { ",\n" };
        self.put(format_args!("{comma}{value}"))
    }

    fn finish(mut self) -> Result<()> {
        let finished = self
            .out
            .flush()
            .and_then(|()| self.out.get_ref().sync_all());
        finished.map_err(DatasetError::io("write", self.path))
    }
}
