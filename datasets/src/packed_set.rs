//! Reads a packed set: record `i` of all shards together.

use std::path::{Path, PathBuf};

use image::RgbImage;
use rayon::prelude::*;

use crate::error::{DatasetError, Result};
use crate::manifest::{Manifest, MANIFEST};
use crate::pixels::{Encoding, Scratch};
use crate::sample::{Category, Instance, RecordInfo, Sample};
use crate::shard::{Entry, Shard};

/// A packed set, opened for reading. Nothing is kept in memory but the map of the files, the index among
/// them, so a set takes the same small memory for any number of records: about 50 KiB for a million, by
/// `examples/million.rs`. Any number of threads can read at once.
///
/// ```no_run
/// use intertwine_datasets::{PackedSet, Scratch};
/// let set = PackedSet::open("data/packed".as_ref())?;
/// let (mut image, mut scratch) = (image::RgbImage::default(), Scratch::default());
/// for record in 0..set.len() {
///     set.read_image_into(record, &mut image, &mut scratch)?;
///     println!("{}: {} objects", set.info(record)?.source, set.instances(record)?.len());
/// }
/// # Ok::<(), intertwine_datasets::DatasetError>(())
/// ```
pub struct PackedSet {
    folder: PathBuf,
    manifest: Manifest,
    shards: Vec<Shard>,
    /// For each shard the number of records up to its end.
    ends: Vec<usize>,
}

impl PackedSet {
    /// Whether there is one in `folder`; whether it is whole, [`Self::open`] says.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(MANIFEST).exists()
    }

    /// Opens the packed set in `folder`: reads the manifest, maps the shards and checks their indices.
    ///
    /// # Errors
    /// If there is no manifest, it lists no records or does not fit the shards, or a shard is damaged in its head or index.
    /// Records are checked when they are read, all of them by [`Self::verify`].
    pub fn open(folder: &Path) -> Result<Self> {
        let manifest = Manifest::read(folder)?;
        let mut shards = Vec::with_capacity(manifest.shards.len());
        let mut ends = Vec::with_capacity(manifest.shards.len());
        let mut end = 0;
        for (i, stated) in manifest.shards.iter().enumerate() {
            let shard = Shard::open(&folder.join(&stated.file))?;
            let found = (shard.len() as u64, shard.bytes().len() as u64);
            if found != (stated.records, stated.bytes) {
                let what = format!(
                    "shards[{i}] states {} records in {} bytes, `{}` holds {} in {}",
                    stated.records, stated.bytes, stated.file, found.0, found.1
                );
                return Err(DatasetError::Manifest {
                    path: folder.join(MANIFEST),
                    what,
                });
            }
            end += shard.len();
            shards.push(shard);
            ends.push(end);
        }
        if end == 0 {
            let what = "records = 0; pack the data set again".into();
            return Err(DatasetError::Manifest {
                path: folder.join(MANIFEST),
                what,
            });
        }
        Ok(Self {
            folder: folder.into(),
            manifest,
            shards,
            ends,
        })
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Always false: a set without records is not opened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the set is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the set as a whole is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The categories of the labelled objects, by index.
    pub fn categories(&self) -> &[Category] {
        &self.manifest.categories
    }

    /// The names of the picture classes, by index; see [`RecordInfo::label`].
    pub fn labels(&self) -> &[String] {
        &self.manifest.labels
    }

    /// (width, height) of a stored picture, from the index alone.
    pub fn image_size(&self, record: usize) -> Result<(u32, u32)> {
        self.entry(record).map(|entry| entry.size)
    }

    /// The picture's id, from the index alone.
    pub fn image_id(&self, record: usize) -> Result<u64> {
        self.entry(record).map(|entry| entry.image_id)
    }

    /// Class of the whole picture, from the index alone.
    pub fn label(&self, record: usize) -> Result<Option<u32>> {
        self.entry(record).map(|entry| entry.label)
    }

    /// Number of labelled objects, from the index alone.
    pub fn instance_count(&self, record: usize) -> Result<usize> {
        self.entry(record).map(|entry| entry.instances as usize)
    }

    /// How the pixels are stored, from the index alone.
    pub fn encoding(&self, record: usize) -> Result<Encoding> {
        self.entry(record).map(|entry| entry.encoding)
    }

    /// The bytes of a picture as they are stored, checked by their CRC but not decoded; those of
    /// [`Encoding::Jpeg`] are a JPEG file.
    pub fn stored_pixels(&self, record: usize) -> Result<&[u8]> {
        let (shard, local) = self.locate(record)?;
        shard.pixels(local)
    }

    /// Where a picture came from. Touches no pixels.
    pub fn info(&self, record: usize) -> Result<RecordInfo> {
        let (shard, local) = self.locate(record)?;
        shard.info(local)
    }

    /// The labelled objects of a picture. Touches no pixels.
    pub fn instances(&self, record: usize) -> Result<Vec<Instance>> {
        let (shard, local) = self.locate(record)?;
        shard
            .describe(local, self.categories().len())
            .map(|(_, instances)| instances)
    }

    /// A whole record. In a loop, [`Self::read_image_into`] spares the allocations.
    pub fn read(&self, record: usize) -> Result<Sample> {
        let (shard, local) = self.locate(record)?;
        let mut image = RgbImage::default();
        shard.read_image_into(local, &mut image, &mut Scratch::default())?;
        let (info, instances) = self.describe(shard, local)?;
        Ok(Sample {
            image,
            instances,
            info,
        })
    }

    /// Decodes a picture into `image`, which gets its size and whose memory is used again. After an error
    /// the contents of `image` mean nothing.
    pub fn read_image_into(
        &self,
        record: usize,
        image: &mut RgbImage,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let (shard, local) = self.locate(record)?;
        shard.read_image_into(local, image, scratch)
    }

    /// Tells this set from others: the number of its records and the hashes of its shards, in order.
    pub fn fingerprint(&self) -> String {
        let shards = self.manifest.shards.iter();
        let hashes: Vec<&str> = shards
            .map(|s| s.blake3.get(..16).unwrap_or(&s.blake3))
            .collect();
        format!("{} records {}", self.len(), hashes.join(" "))
    }

    /// Checks everything: the hash of each shard against the manifest, and each record by decoding it.
    pub fn verify(&self) -> Verified {
        let mut problems = self.changed_shards();
        problems.par_extend(
            (0..self.len())
                .into_par_iter()
                .map_init(
                    || (RgbImage::default(), Scratch::default()),
                    |(image, scratch), record| {
                        let (shard, local) = self.locate(record)?;
                        self.describe(shard, local)?;
                        shard.read_image_into(local, image, scratch)
                    },
                )
                .filter_map(Result::err),
        );
        let bytes = self.manifest.shards.iter().map(|shard| shard.bytes).sum();
        Verified {
            records: self.len(),
            bytes,
            problems,
        }
    }

    /// The shards whose hash is not the one that the manifest states.
    pub(crate) fn changed_shards(&self) -> Vec<DatasetError> {
        let shards = self.shards.par_iter().zip(&self.manifest.shards);
        let problems = shards.filter_map(|(shard, stated)| {
            let found = blake3::hash(shard.bytes()).to_hex();
            let what = || {
                format!(
                    "its BLAKE3 is {found}, the manifest states {}",
                    stated.blake3
                )
            };
            (found.as_str() != stated.blake3).then(|| DatasetError::Shard {
                path: shard.path().into(),
                what: what(),
            })
        });
        problems.collect()
    }

    /// All of a record but its picture, held against the manifest.
    fn describe(&self, shard: &Shard, local: usize) -> Result<(RecordInfo, Vec<Instance>)> {
        let (info, instances) = shard.describe(local, self.categories().len())?;
        let names = self.labels().len();
        match info.label {
            Some(label) if label as usize >= names => Err(DatasetError::Record {
                shard: shard.path().into(),
                record: local,
                name: format!("`{}`", info.source),
                what: format!("label {label}, the manifest names {names}"),
            }),
            _ => Ok((info, instances)),
        }
    }

    fn entry(&self, record: usize) -> Result<Entry> {
        let (shard, local) = self.locate(record)?;
        shard.entry(local)
    }

    fn locate(&self, record: usize) -> Result<(&Shard, usize)> {
        let number = self.ends.partition_point(|&end| end <= record);
        match self.shards.get(number) {
            Some(shard) => Ok((shard, record + shard.len() - self.ends[number])),
            None => Err(DatasetError::OutOfRange {
                path: self.folder.clone(),
                index: record,
                len: self.len(),
            }),
        }
    }
}

/// What [`PackedSet::verify`] found.
#[derive(Debug)]
pub struct Verified {
    /// Records looked at.
    pub records: usize,
    /// Bytes of all shards.
    pub bytes: u64,
    /// What is wrong, in the order of the set: shards first, then records.
    pub problems: Vec<DatasetError>,
}
