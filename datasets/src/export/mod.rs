//! From a packed set back to files that other programs read: a folder of pictures, or WebDataset archives.
//!
//! Pixels come out as they are stored: the bytes of a record that holds a JPEG, else as PNG. Packing the export
//! again with the same options gives the same pixels, classes, boxes and masks; of pictures that were made smaller than
//! the smallest side that is accepted, with that set to 1.

mod coco;
mod folder;
mod names;
mod webdataset;

use std::fs;
use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use crate::destination::{claim, remove_dir_all, Destination};
use crate::error::{DatasetError, Result};
use crate::packed_set::PackedSet;
use crate::pixels::{Encoding, Scratch};
use crate::sample::Category;
use crate::shard::sync_folder;

/// The label file of an exported folder.
pub(crate) const INSTANCES: &str = "instances.json";

/// Records worked on between two calls of the progress function.
const BATCH: usize = 256;

/// What to export to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Pictures, in a folder for each class where there are classes, and `instances.json` in COCO's form where
    /// there are categories of objects.
    Folder,
    /// `data-000000.tar` and so on: `png` or `jpg`, `cls` where there are classes, and `json`.
    WebDataset {
        /// An archive is closed when it has this many bytes.
        shard_bytes: u64,
    },
}

/// What was exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportReport {
    /// Pictures written.
    pub pictures: usize,
    /// Labelled objects written.
    pub instances: usize,
    /// Files written.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Writes a packed set to a new folder `out`, which appears when all is written. `progress` is told how many
/// pictures are done.
///
/// # Errors
/// If `out` is there already and is not an empty folder, if no folder can be put there, if a record is damaged, or if
/// something cannot be written.
pub fn export(
    set: &PackedSet,
    target: Target,
    out: &Path,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<ExportReport> {
    let destination = Destination::find(out)?;
    let out = &destination.path;
    let occupied = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => out.exists(),
    };
    if occupied {
        let what = "is there already, and nothing is written over; name a new folder".into();
        return Err(DatasetError::Output {
            path: out.into(),
            what,
        });
    }
    put_in_place(&destination, |folder| match target {
        Target::Folder => folder::write(set, folder, progress),
        Target::WebDataset { shard_bytes } => webdataset::write(set, folder, shard_bytes, progress),
    })
}

/// Fills a folder beside `out`, `.NAME.unpacking`, and gives it that name when it is whole; after an error nothing is
/// left of it. What a run that was killed has left there, the next one removes.
fn put_in_place<T>(out: &Destination, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let Destination { path, parent, name } = out;
    let work = parent.join(format!(".{name}.unpacking"));
    let _lock = claim(&work, path, "unpacking")?;
    let folder = work.join("export");
    let make = || {
        remove_dir_all(&folder)?;
        fs::create_dir(&folder).map_err(DatasetError::io("create", &folder))?;
        let filled = fill(&folder)?;
        sync_folder(&folder)?;
        fs::rename(&folder, path).map_err(DatasetError::io("move the export to", path))?;
        sync_folder(parent)?;
        Ok(filled)
    };
    let made = make();
    // What is left of it is in nobody's way; the error, if there was one, is what matters.
    let _ = fs::remove_dir_all(&work);
    made
}

/// What a set of WebDataset archives says of itself in the member `__dataset__/info.json`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct DatasetInfo {
    /// The categories of objects, by ascending id.
    pub categories: Vec<Category>,
    /// The classes of whole pictures, by number.
    pub labels: Vec<String>,
}

impl DatasetInfo {
    /// The member's name without extension. Readers of WebDataset pass over folders of this form
    /// (`skip_meta` in `webdataset/tariterators.py`).
    pub const KEY: &str = "__dataset__/info";

    /// Reads and checks the member.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let info: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        match info
            .categories
            .windows(2)
            .find(|pair| pair[0].id >= pair[1].id)
        {
            Some(pair) => Err(format!(
                "category {} follows {}, expected rising ids",
                pair[1].id, pair[0].id
            )),
            None => Ok(info),
        }
    }
}

/// A thread's buffers between pictures.
#[derive(Default)]
struct Reader {
    image: RgbImage,
    scratch: Scratch,
}

impl Reader {
    /// A record's picture as the bytes of a file of the extension that [`extension`] says.
    fn file(&mut self, set: &PackedSet, record: usize) -> Result<Vec<u8>> {
        // Decoding checks the bytes, those of a JPEG too.
        set.read_image_into(record, &mut self.image, &mut self.scratch)?;
        if set.encoding(record)? == Encoding::Jpeg {
            return Ok(set.stored_pixels(record)?.to_vec());
        }
        let mut png = Vec::new();
        let (width, height) = self.image.dimensions();
        PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Adaptive)
            .write_image(&self.image, width, height, ExtendedColorType::Rgb8)
            .map_err(std::io::Error::other)
            .map_err(DatasetError::io("encode a picture of", set.folder()))?;
        Ok(png)
    }
}

/// The extension of a record's picture file.
fn extension(set: &PackedSet, record: usize) -> Result<&'static str> {
    Ok(match set.encoding(record)? {
        Encoding::Jpeg => "jpg",
        Encoding::Raw | Encoding::Zpix => "png",
    })
}
