//! Writes shards: each beside its final name, synced, then renamed, so that a shard that can be seen is whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use image::RgbImage;

use super::layout::{Entry, Header, ALIGNMENT, ENTRY_LEN, HEADER_LEN};
use crate::error::{DatasetError, Result};
use crate::pixels::{Encoding, PixelEncoder};
use crate::sample::{Instance, RecordInfo};

/// A record ready to be written; encoding is the slow part and can be done on any thread.
#[derive(Clone, Debug)]
pub struct EncodedRecord {
    pixels: Vec<u8>,
    meta: Vec<u8>,
    entry: Entry,
}

impl EncodedRecord {
    /// Encodes a picture and its description; `jpeg_quality` (1 to 100) matters for [`Encoding::Jpeg`] alone.
    pub fn new(
        image: &RgbImage,
        info: &RecordInfo,
        instances: &[Instance],
        encoding: Encoding,
        jpeg_quality: u8,
        encoder: &mut PixelEncoder,
    ) -> io::Result<Self> {
        let pixels = encoder.encode(image, encoding, jpeg_quality)?;
        Self::from_pixels(pixels, encoding, image.dimensions(), info, instances)
    }

    /// From pixels encoded already, such as a JPEG file that is kept as it came.
    pub(crate) fn from_pixels(
        pixels: Vec<u8>,
        encoding: Encoding,
        size: (u32, u32),
        info: &RecordInfo,
        instances: &[Instance],
    ) -> io::Result<Self> {
        let meta = super::encode_meta(info, instances);
        let length = |len: usize| {
            u32::try_from(len).map_err(|_| io::Error::other("a record of more than 4 GiB"))
        };
        let entry = Entry {
            offset: 0,
            pixels_len: length(pixels.len())?,
            meta_len: length(meta.len())?,
            pixels_crc: crc32fast::hash(&pixels),
            meta_crc: crc32fast::hash(&meta),
            size,
            encoding,
            instances: length(instances.len())?,
            image_id: info.image_id,
            label: info.label,
        };
        Ok(Self {
            pixels,
            meta,
            entry,
        })
    }

    /// Bytes the record takes, without padding and index.
    pub fn len(&self) -> usize {
        self.pixels.len() + self.meta.len()
    }

    /// Never: a picture has at least one pixel.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Number of labelled objects.
    pub fn instances(&self) -> usize {
        self.entry.instances as usize
    }
}

/// A shard as it went to disk.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinishedShard {
    /// File name within the packed set.
    pub file: String,
    /// Number of records.
    pub records: u64,
    /// Number of labelled objects.
    pub instances: u64,
    /// Size of the file.
    pub bytes: u64,
    /// BLAKE3 of the file, in hexadecimal.
    pub blake3: String,
}

/// Writes records into a folder, a new shard whenever one has reached its size.
///
/// A shard appears under its name, `shard-00000.itw` and so on, only when it is whole and on the disk. A
/// writer that is dropped or killed leaves at most a file ending in `.partial`.
pub struct ShardWriter {
    folder: PathBuf,
    target_bytes: u64,
    /// Number in the name of the first shard.
    first: usize,
    open: Option<OpenShard>,
    finished: Vec<FinishedShard>,
}

struct OpenShard {
    partial: PathBuf,
    file: BufWriter<File>,
    at: u64,
    index: Vec<u8>,
    instances: u64,
}

impl ShardWriter {
    /// A writer into `folder`, which must exist. Shards close at `target_bytes` or a record later.
    ///
    /// # Errors
    /// If the folder already holds a shard: nothing is ever written over.
    pub fn create(folder: &Path, target_bytes: u64) -> Result<Self> {
        let first = folder.join(shard_name(0));
        if first.exists() {
            let what = "already holds shards; write into an empty folder".into();
            return Err(DatasetError::Output {
                path: folder.into(),
                what,
            });
        }
        Ok(Self::after(folder, target_bytes, 0, Vec::new()))
    }

    /// A writer that goes on after shards that are finished, the first of them being number `first`.
    pub(crate) fn after(
        folder: &Path,
        target_bytes: u64,
        first: usize,
        finished: Vec<FinishedShard>,
    ) -> Self {
        Self {
            folder: folder.into(),
            target_bytes,
            first,
            open: None,
            finished,
        }
    }

    /// Appends a record; returns the shard if this has completed it.
    pub fn write(&mut self, record: &EncodedRecord) -> Result<Option<&FinishedShard>> {
        let number = self.first + self.finished.len();
        let shard = match &mut self.open {
            Some(shard) => shard,
            None => self.open.insert(OpenShard::create(&self.folder, number)?),
        };
        shard
            .push(record)
            .map_err(DatasetError::io("write", &shard.partial))?;
        if shard.at + shard.index.len() as u64 >= self.target_bytes {
            return self.close();
        }
        Ok(None)
    }

    /// Completes the shard that is being written, if there is one.
    pub(crate) fn close(&mut self) -> Result<Option<&FinishedShard>> {
        let Some(shard) = self.open.take() else {
            return Ok(None);
        };
        let name = shard_name(self.first + self.finished.len());
        self.finished.push(shard.finish(&self.folder, name)?);
        sync_folder(&self.folder)?;
        Ok(self.finished.last())
    }

    /// Completes the last shard and says what was written.
    pub fn finish(mut self) -> Result<Vec<FinishedShard>> {
        self.close()?;
        Ok(self.finished)
    }
}

impl OpenShard {
    fn create(folder: &Path, number: usize) -> Result<Self> {
        let partial = folder.join(format!("{}.partial", shard_name(number)));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&partial);
        let mut file =
            BufWriter::with_capacity(1 << 20, file.map_err(DatasetError::io("create", &partial))?);
        // The header is known at the end only; until then zeros stand for it, which no reader takes for a shard.
        file.write_all(&[0; HEADER_LEN])
            .map_err(DatasetError::io("write", &partial))?;
        Ok(Self {
            partial,
            file,
            at: HEADER_LEN as u64,
            index: Vec::new(),
            instances: 0,
        })
    }

    fn push(&mut self, record: &EncodedRecord) -> io::Result<()> {
        self.align()?;
        let entry = Entry {
            offset: self.at,
            ..record.entry
        };
        self.file.write_all(&record.pixels)?;
        self.file.write_all(&record.meta)?;
        self.at += record.len() as u64;
        self.index.extend(entry.to_bytes());
        self.instances += u64::from(entry.instances);
        Ok(())
    }

    fn align(&mut self) -> io::Result<()> {
        let padding = self.at.next_multiple_of(ALIGNMENT) - self.at;
        self.at += padding;
        self.file
            .write_all(&[0; ALIGNMENT as usize][..padding as usize])
    }

    fn finish(mut self, folder: &Path, name: String) -> Result<FinishedShard> {
        let records = (self.index.len() / ENTRY_LEN) as u64;
        let blake3 = self
            .complete(records)
            .map_err(DatasetError::io("write", &self.partial))?;
        let path = folder.join(&name);
        fs::rename(&self.partial, &path)
            .map_err(DatasetError::io("rename a finished shard to", &path))?;
        let bytes = self.at + self.index.len() as u64;
        Ok(FinishedShard {
            file: name,
            records,
            instances: self.instances,
            bytes,
            blake3,
        })
    }

    /// Writes index and header, waits for the disk and hashes the file.
    fn complete(&mut self, records: u64) -> io::Result<String> {
        self.align()?;
        let header = Header {
            records,
            index_offset: self.at,
            index_crc: crc32fast::hash(&self.index),
        };
        self.file.write_all(&self.index)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header.to_bytes())?;
        self.file.flush()?;
        let file = self.file.get_mut();
        file.sync_all()?;
        file.rewind()?;
        Ok(blake3::Hasher::new()
            .update_reader(file)?
            .finalize()
            .to_hex()
            .to_string())
    }
}

fn shard_name(number: usize) -> String {
    format!("shard-{number:05}.itw")
}

/// The number of the shard after those of these names.
pub(crate) fn number_after<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    let number = |name: &str| {
        let digits = name.strip_prefix("shard-")?.strip_suffix(".itw")?;
        digits.parse::<usize>().ok()?.checked_add(1)
    };
    names.filter_map(number).max().unwrap_or(0)
}

/// Makes renames within a folder last through a power failure. Not every system can sync a folder; there
/// the rename itself is all that can be done.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        match File::open(folder).and_then(|folder| folder.sync_all()) {
            Err(error) if !syncs_no_folders(&error) => {
                return Err(DatasetError::io("sync", folder)(error))
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a file system has no sync for folders, as shared folders of virtual machines and some of Windows have none;
/// that of a failing or full disk is another error.
fn syncs_no_folders(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, Unsupported};
    matches!(error.kind(), InvalidInput | Unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_fails_is_not_taken_for_one_that_syncs_no_folders() {
        let errors = [
            (22, true),  // EINVAL
            (38, true),  // ENOSYS
            (95, true),  // EOPNOTSUPP
            (5, false),  // EIO
            (28, false), // ENOSPC
        ];
        for (number, expected) in errors {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(syncs_no_folders(&error), expected, "{error}");
        }
    }
}
