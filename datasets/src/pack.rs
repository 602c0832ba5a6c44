//! Packs a source: reads, checks, resizes and encodes pictures on all threads, writes them in order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use intertwine_flow::Pool;
use rayon::prelude::*;

use crate::error::{DatasetError, Result};
use crate::import::{list_counts, Importer, Source};
use crate::manifest::Manifest;
use crate::options::PackOptions;
use crate::output::Staging;
use crate::prepare::{Outcome, Packed, Worker};
use crate::quarantine::{count_reasons, Quarantined, QUARANTINE};
use crate::shard::ShardWriter;

/// Pictures worked on between two writes, at most.
const BATCH: usize = 256;

/// A batch of several pictures ends when their files have this many bytes. What is encoded of two batches is
/// in memory at once, some ten times the bytes of JPEG files, besides a decoded picture for each thread.
const BATCH_BYTES: u64 = 16 << 20;

/// How far packing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Pictures dealt with, packed or not.
    pub done: usize,
    /// Pictures there are.
    pub total: usize,
    /// Entries in the quarantine list so far.
    pub quarantined: usize,
    /// Bytes of the records so far.
    pub bytes: u64,
}

/// What was packed.
#[derive(Clone, Debug)]
pub struct PackReport {
    /// The packed set's folder; none after [`check`].
    pub out: Option<PathBuf>,
    /// Pictures packed.
    pub pictures: usize,
    /// Labelled objects packed.
    pub instances: usize,
    /// Number of categories of labelled objects.
    pub categories: usize,
    /// Number of classes of whole pictures.
    pub labels: usize,
    /// Bytes of all shards.
    pub bytes: u64,
    /// What was left out or changed; the lines of `quarantine.jsonl`.
    pub quarantined: Vec<Quarantined>,
    /// Files in the source folder that are not pictures by their name, counted by extension.
    pub ignored: BTreeMap<String, usize>,
    /// Something to know about the source.
    pub note: Option<String>,
}

/// Packs `source` into the folder `out`, which appears only when it is complete.
///
/// Works on the threads of the current rayon pool; the result is the same, byte for byte, for any number of
/// them. `progress` is called from one thread at a time, after each batch.
///
/// # Errors
/// If the source cannot be opened, holds no usable picture, or the output cannot be written. Single bad
/// pictures and labels are no errors: they are listed in `quarantine.jsonl` and in the report.
pub fn pack(
    source: &Source,
    options: &PackOptions,
    out: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<PackReport> {
    options.validate()?;
    // A source that cannot be opened should leave no trace at `out`.
    let importer = source.open()?;
    let staging = Staging::prepare(out, options.overwrite)?;
    let folder = staging.folder();
    let writer = ShardWriter::create(&folder, options.shard_bytes)?;
    let mut sink = Sink {
        writer: Some(writer),
        ..Sink::new(importer.len(), progress)
    };
    run(&source.path, importer.as_ref(), options, &mut sink)?;
    let mut report = sink.report(importer.as_ref(), source)?;
    let shards = match sink.writer {
        Some(writer) => writer.finish()?,
        None => Vec::new(),
    };
    write_quarantine(&folder.join(QUARANTINE), &report.quarantined)?;
    let (categories, labels) = (
        importer.categories().to_vec(),
        importer.picture_labels().to_vec(),
    );
    let manifest = Manifest::new(
        shards,
        categories,
        labels,
        options.clone(),
        report.quarantined.len() as u64,
    );
    manifest.write(&folder)?;
    staging.commit()?;
    report.bytes = manifest.shards.iter().map(|shard| shard.bytes).sum();
    report.out = Some(out.into());
    Ok(report)
}

/// Does all that [`pack`] does but encode and write: reads and decodes every picture, checks every label.
///
/// # Errors
/// Those of [`pack`] that come from the source.
pub fn check(
    source: &Source,
    options: &PackOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<PackReport> {
    options.validate()?;
    let importer = source.open()?;
    let mut sink = Sink::new(importer.len(), progress);
    run(&source.path, importer.as_ref(), options, &mut sink)?;
    sink.report(importer.as_ref(), source)
}

/// Encodes batch after batch on all threads, while the batch before is written.
fn run(
    source: &Path,
    importer: &dyn Importer,
    options: &PackOptions,
    sink: &mut Sink,
) -> Result<()> {
    let writes = sink.writer.is_some();
    let workers = Pool::<Worker>::default();
    let mut waiting: Vec<Outcome> = Vec::new();
    let mut start = 0;
    while start < importer.len() {
        let batch = start..start + batch_len(importer, start);
        start = batch.end;
        let encode = || -> Result<Vec<Outcome>> {
            let outcomes = batch.into_par_iter().with_max_len(1);
            let outcomes =
                outcomes.map(|index| workers.take().prepare(importer, index, options, writes));
            outcomes
                .collect::<io::Result<_>>()
                .map_err(DatasetError::io("encode pictures of", source))
        };
        let (encoded, written) = rayon::join(encode, || sink.take(std::mem::take(&mut waiting)));
        written?;
        waiting = encoded?;
    }
    sink.take(waiting)
}

/// Number of pictures in the batch from `start` on; enough to keep all threads busy, whatever their size.
fn batch_len(importer: &dyn Importer, start: usize) -> usize {
    let busy = 4 * rayon::current_num_threads();
    let mut bytes = 0;
    let ends = |&(count, index): &(usize, usize)| {
        bytes += importer.file_len(index);
        count >= busy && bytes >= BATCH_BYTES
    };
    let limit = importer.len().min(start + BATCH);
    let last = (start..limit)
        .enumerate()
        .find(ends)
        .map_or(limit, |(_, index)| index + 1);
    last - start
}

/// Takes what was made, in order.
struct Sink<'a> {
    /// None when only checking.
    writer: Option<ShardWriter>,
    progress: &'a (dyn Fn(Progress) + Sync),
    so_far: Progress,
    pictures: usize,
    instances: usize,
    quarantined: Vec<Quarantined>,
}

impl<'a> Sink<'a> {
    fn new(total: usize, progress: &'a (dyn Fn(Progress) + Sync)) -> Self {
        let so_far = Progress {
            done: 0,
            total,
            quarantined: 0,
            bytes: 0,
        };
        Self {
            writer: None,
            progress,
            so_far,
            pictures: 0,
            instances: 0,
            quarantined: Vec::new(),
        }
    }

    fn take(&mut self, outcomes: Vec<Outcome>) -> Result<()> {
        self.so_far.done += outcomes.len();
        for Outcome {
            packed,
            quarantined,
        } in outcomes
        {
            self.quarantined.extend(quarantined);
            let Some(Packed { instances, record }) = packed else {
                continue;
            };
            self.pictures += 1;
            self.instances += instances;
            if let (Some(writer), Some(record)) = (&mut self.writer, record) {
                self.so_far.bytes += record.len() as u64;
                writer.write(&record)?;
            }
        }
        self.so_far.quarantined = self.quarantined.len();
        (self.progress)(self.so_far);
        Ok(())
    }

    fn report(&mut self, importer: &dyn Importer, source: &Source) -> Result<PackReport> {
        let mut quarantined = importer.refused().to_vec();
        quarantined.append(&mut self.quarantined);
        let ignored = importer.ignored();
        if self.pictures == 0 {
            return Err(nothing_usable(source, &quarantined, &ignored));
        }
        Ok(PackReport {
            out: None,
            pictures: self.pictures,
            instances: self.instances,
            categories: importer.categories().len(),
            labels: importer.picture_labels().len(),
            bytes: self.so_far.bytes,
            quarantined,
            ignored,
            note: importer.note(),
        })
    }
}

fn nothing_usable(
    source: &Source,
    quarantined: &[Quarantined],
    ignored: &BTreeMap<String, usize>,
) -> DatasetError {
    let reasons: Vec<_> = count_reasons(quarantined)
        .iter()
        .map(|(reason, n)| format!("{reason}: {n}"))
        .collect();
    let first = quarantined
        .first()
        .map(|entry| format!("; first {entry}"))
        .unwrap_or_default();
    let passed = if ignored.is_empty() {
        String::new()
    } else {
        format!("; not pictures {}", list_counts(ignored))
    };
    let what = format!(
        "no picture could be used ({}){first}{passed}",
        reasons.join(", ")
    );
    DatasetError::Source {
        path: source.path.clone(),
        what,
    }
}

fn write_quarantine(path: &Path, entries: &[Quarantined]) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for entry in entries {
            serde_json::to_writer(&mut file, entry)?;
            file.write_all(b"\n")?;
        }
        file.into_inner()?.sync_all()
    };
    write().map_err(DatasetError::io("write", path))
}
