//! `manifest.json`: what a packed set as a whole is.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Component, Path};

use crate::error::{DatasetError, Result};
use crate::options::PackOptions;
use crate::sample::Category;
use crate::shard::FinishedShard;

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.json";
/// What the key `format` says.
const FORMAT: &str = "intertwine packed set";
/// The version of manifest and shards that is written, and the only one read.
pub const VERSION: u32 = 1;
/// A manifest beyond this is refused: a million shards take less.
const MAX_BYTES: u64 = 256 << 20;

/// The contents of `manifest.json`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always `intertwine packed set`.
    pub format: String,
    /// Version of the format, 1.
    pub version: u32,
    /// Number of records in all shards.
    pub records: u64,
    /// Number of labelled objects in all shards.
    pub instances: u64,
    /// Number of lines in `quarantine.jsonl`.
    pub quarantined: u64,
    /// Categories by index; empty for pictures without labels.
    pub categories: Vec<Category>,
    /// Names of the picture classes by index, from `--classes-from-folders`; else empty.
    pub labels: Vec<String>,
    /// The options the set was packed with.
    pub options: PackOptions,
    /// The shards in order; record numbers run through them.
    pub shards: Vec<FinishedShard>,
}

impl Manifest {
    /// A manifest of finished shards.
    pub(crate) fn new(
        shards: Vec<FinishedShard>,
        categories: Vec<Category>,
        labels: Vec<String>,
        options: PackOptions,
        quarantined: u64,
    ) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            records: shards.iter().map(|shard| shard.records).sum(),
            instances: shards.iter().map(|shard| shard.instances).sum(),
            quarantined,
            categories,
            labels,
            options,
            shards,
        }
    }

    /// Reads and checks the manifest of the packed set in `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let length = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error)
                if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) =>
            {
                return Err(DatasetError::NoSet {
                    path: folder.into(),
                    exists: folder.exists(),
                })
            }
            Err(error) => return Err(DatasetError::io("open the manifest", &path)(error)),
        };
        let wrong = |what: String| DatasetError::Manifest {
            path: path.clone(),
            what,
        };
        if length > MAX_BYTES {
            return Err(wrong(format!("{length} bytes, the limit is {MAX_BYTES}")));
        }
        let text = fs::read(&path).map_err(DatasetError::io("read", &path))?;
        let manifest = Self::parse(&text).map_err(wrong)?;
        Ok(manifest)
    }

    /// Reads a manifest's text and checks what can be checked without the shards.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        /// Looked at first, so that another version is not reported as an unknown key.
        #[derive(serde::Deserialize)]
        struct Head {
            format: Option<String>,
            version: Option<u32>,
        }
        let head: Head =
            serde_json::from_slice(text).map_err(|e| format!("not a manifest: {e}"))?;
        if head.format.as_deref() != Some(FORMAT) {
            return Err(format!(
                "format = {:?}, expected \"{FORMAT}\"",
                head.format.unwrap_or_default()
            ));
        }
        if head.version != Some(VERSION) {
            return Err(format!(
                "version = {:?}, this program reads version {VERSION}",
                head.version
            ));
        }
        let manifest: Self = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        let mut names = HashSet::new();
        let (mut records, mut instances) = (0u64, 0u64);
        for (i, shard) in manifest.shards.iter().enumerate() {
            let mut parts = Path::new(&shard.file).components();
            let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == shard.file.as_str());
            if !plain || shard.file.contains('\\') {
                return Err(format!(
                    "shards[{i}].file = {:?}, expected a plain file name",
                    shard.file
                ));
            }
            if !names.insert(&shard.file) {
                return Err(format!(
                    "shards[{i}].file = {:?} is listed twice",
                    shard.file
                ));
            }
            records = records.saturating_add(shard.records);
            instances = instances.saturating_add(shard.instances);
        }
        for (key, stated, sum) in [
            ("records", manifest.records, records),
            ("instances", manifest.instances, instances),
        ] {
            if stated != sum {
                return Err(format!("{key} = {stated}, the shards add up to {sum}"));
            }
        }
        Ok(manifest)
    }

    /// Writes `manifest.json` into `folder`, beside its name first, then renamed; returns its BLAKE3.
    pub(crate) fn write(&self, folder: &Path) -> Result<String> {
        let path = folder.join(MANIFEST);
        let partial = folder.join(format!("{MANIFEST}.partial"));
        let mut text =
            serde_json::to_vec_pretty(self).expect("a manifest is plain data with string keys");
        text.push(b'\n');
        File::create(&partial)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&partial, &path))
            .map_err(DatasetError::io("write", &path))?;
        Ok(blake3::hash(&text).to_string())
    }

    /// BLAKE3 of the manifest in `folder`; none if there is none to be read.
    pub(crate) fn hash(folder: &Path) -> Option<String> {
        let text = fs::read(folder.join(MANIFEST)).ok()?;
        Some(blake3::hash(&text).to_string())
    }
}
