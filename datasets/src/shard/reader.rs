//! Reads one shard through a memory map.

use std::fs::File;
use std::path::{Path, PathBuf};

use image::RgbImage;
use memmap2::Mmap;

use super::layout::{Entry, Header, ENTRY_LEN};
use super::meta;
use crate::error::{DatasetError, Result};
use crate::pixels::Scratch;
use crate::sample::{Instance, RecordInfo};

/// An open shard. Opening reads the header and checks the index; records are checked as they are read.
pub struct Shard {
    path: PathBuf,
    map: Mmap,
    header: Header,
}

impl Shard {
    /// Maps the file and checks header and index.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(DatasetError::io("open", path))?;
        // SAFETY: the map is read as plain bytes, for which every value is valid, and everything taken from
        // them is bounds-checked and guarded by a CRC, so that bytes changed by somebody else yield an
        // error. What would remain is a file truncated while it is mapped (SIGBUS). Our own writer never
        // truncates or writes to a file under its final name: shards are made beside and renamed, and
        // `--overwrite` replaces the folder, which leaves the mapped file as it is until it is unmapped.
        let map = unsafe { Mmap::map(&file) }.map_err(DatasetError::io("map", path))?;
        let header = Header::parse(&map, map.len() as u64).map_err(|what| DatasetError::Shard {
            path: path.into(),
            what,
        })?;
        let found = crc32fast::hash(&map[header.index_offset as usize..]);
        if found != header.index_crc {
            let what = format!(
                "the index's CRC-32 is {found:08x}, expected {:08x}",
                header.index_crc
            );
            return Err(DatasetError::Shard {
                path: path.into(),
                what,
            });
        }
        Ok(Self {
            path: path.into(),
            map,
            header,
        })
    }

    /// Where the shard is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        // Checked against the length of the file, hence far below `usize::MAX`.
        self.header.records as usize
    }

    /// The index entry of a record below [`Self::len`].
    pub fn entry(&self, record: usize) -> Result<Entry> {
        let index = &self.map[self.header.index_offset as usize..];
        let bytes = &index.as_chunks::<ENTRY_LEN>().0[record];
        Entry::parse(bytes, self.header.index_offset).map_err(|what| self.error(record, None, what))
    }

    /// Where the picture came from.
    pub fn info(&self, record: usize) -> Result<RecordInfo> {
        let entry = self.entry(record)?;
        let bytes = self.meta(record, &entry)?;
        meta::decode_info(bytes, &entry).map_err(|what| self.error(record, None, what))
    }

    /// The whole description.
    pub fn describe(
        &self,
        record: usize,
        categories: usize,
    ) -> Result<(RecordInfo, Vec<Instance>)> {
        let entry = self.entry(record)?;
        let bytes = self.meta(record, &entry)?;
        meta::decode(bytes, &entry, categories)
            .map_err(|what| self.error(record, Some(&entry), what))
    }

    /// Decodes the picture into `image`, whose memory is used again.
    pub fn read_image_into(
        &self,
        record: usize,
        image: &mut RgbImage,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let entry = self.entry(record)?;
        let bytes = self.pixels(record)?;
        scratch
            .decode(bytes, entry.encoding, entry.size, image)
            .map_err(|what| self.error(record, Some(&entry), what))
    }

    /// The bytes of the picture as they are stored.
    pub fn pixels(&self, record: usize) -> Result<&[u8]> {
        let entry = self.entry(record)?;
        let start = entry.offset as usize;
        let bytes = &self.map[start..start + entry.pixels_len as usize];
        check_crc("pixels", bytes, entry.pixels_crc)
            .map_err(|what| self.error(record, Some(&entry), what))?;
        Ok(bytes)
    }

    fn meta(&self, record: usize, entry: &Entry) -> Result<&[u8]> {
        let start = entry.offset as usize + entry.pixels_len as usize;
        let bytes = &self.map[start..start + entry.meta_len as usize];
        check_crc("description", bytes, entry.meta_crc)
            .map_err(|what| self.error(record, None, what))?;
        Ok(bytes)
    }

    /// An error about a record; names the picture if an entry is given and the description is whole.
    fn error(&self, record: usize, entry: Option<&Entry>, what: String) -> DatasetError {
        let info =
            entry.and_then(|entry| meta::decode_info(self.meta(record, entry).ok()?, entry).ok());
        let name = info.map_or_else(
            || "name unknown".into(),
            |info| format!("`{}`", info.source),
        );
        DatasetError::Record {
            shard: self.path.clone(),
            record,
            name,
            what,
        }
    }
}

fn check_crc(part: &str, bytes: &[u8], expected: u32) -> Result<(), String> {
    let found = crc32fast::hash(bytes);
    if found != expected {
        return Err(format!(
            "the CRC-32 of the {part} is {found:08x}, expected {expected:08x}"
        ));
    }
    Ok(())
}
