//! Packs a source: reads, checks, resizes and encodes pictures on all threads, writes them in order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use intertwine_flow::Pool;

use crate::append::Appended;
use crate::batches::in_order;
use crate::error::{DatasetError, Result};
use crate::import::{list_counts, Importer, Source};
use crate::journal::{Journal, Step, Task};
use crate::manifest::Manifest;
use crate::options::PackOptions;
use crate::output::{Begun, Prepared, Staging};
use crate::prepare::{read, Worker};
use crate::quarantine::{self, count_reasons, Quarantined, QUARANTINE};
use crate::resume::{inputs_of, Inputs};
use crate::shard::{number_after, EncodedRecord, FinishedShard, ShardWriter};

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

/// What was packed; of a set that was appended to, what was added.
#[derive(Clone, Debug)]
pub struct PackReport {
    /// The packed set's folder.
    pub out: PathBuf,
    /// Pictures packed.
    pub pictures: usize,
    /// Labelled objects packed.
    pub instances: usize,
    /// Number of categories of labelled objects in the set.
    pub categories: usize,
    /// Number of classes of whole pictures in the set.
    pub labels: usize,
    /// Bytes of the shards.
    pub bytes: u64,
    /// What was left out or changed; the lines of `quarantine.jsonl`.
    pub quarantined: Vec<Quarantined>,
    /// Files in the source folder that are not pictures by their name, counted by extension.
    pub ignored: BTreeMap<String, usize>,
    /// Something to know about the source.
    pub note: Option<String>,
    /// What was taken over from an earlier run that was stopped.
    pub resumed: Option<Resumed>,
}

/// Work of an earlier run that was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// Pictures that were not looked at again.
    pub pictures: usize,
    /// Finished shards that were taken over.
    pub shards: usize,
    /// Why other finished shards were made again.
    pub lost: Option<String>,
}

/// Packs `source` into the folder `out`, which appears only when it is complete, or is added to in one step.
///
/// Works on the threads of the current rayon pool; the result is the same, byte for byte, for any number of
/// them. `progress` is called from one thread at a time, after each batch.
///
/// A run that was killed goes on when it is started again: shards that it had finished are taken over, if
/// the source has not changed, so that at most the work for one shard of each run is lost. The result is
/// the same as if it had not been killed.
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
    let mut importer = source.open()?;
    let task = Task::new(source, options);
    let mut staging = match Staging::prepare(out, options.existing, task)? {
        Prepared::Open(staging) => staging,
        Prepared::Done(past) => {
            let manifest = Manifest::read(out)?;
            let totals = Totals::of(past.steps);
            let resumed = totals.resumed(None);
            return Ok(totals.report(importer.as_ref(), out, &manifest, resumed));
        }
    };
    let (mut first, mut quarantined) = (0, Vec::new());
    if let Some(base) = staging.base() {
        quarantined = quarantine::read(&out.join(QUARANTINE), base.quarantined)?;
        first = number_after(base.shards.iter().map(|shard| shard.file.as_str()));
        importer = Box::new(Appended::new(importer, source, out, options)?);
    }
    let importer = importer.as_ref();
    let Begun {
        journal,
        steps,
        lost,
    } = staging.begin(importer)?;
    let folder = staging.folder();
    let finished = steps.iter().map(|step| step.shard.clone()).collect();
    let writer = ShardWriter::after(&folder, options.shard_bytes, first, finished);
    let mut sink = Sink::new(writer, journal, Totals::of(steps), importer.len(), progress);
    let resumed = sink.totals.resumed(lost);
    run(&source.path, importer, options, &mut sink)?;
    let (totals, mut shards, mut journal) = sink.finish()?;
    if totals.pictures == 0 {
        return Err(nothing_usable(source, importer, &totals.quarantined));
    }

    if let Some(base) = staging.base() {
        shards.splice(0..0, base.shards.iter().cloned());
    }
    quarantined.extend_from_slice(importer.refused());
    quarantined.extend_from_slice(&totals.quarantined);
    quarantine::write(&folder.join(QUARANTINE), &quarantined)?;
    let manifest = Manifest::new(
        shards,
        importer.categories().to_vec(),
        importer.picture_labels().to_vec(),
        options.clone(),
        quarantined.len() as u64,
    );
    journal.complete(manifest.write(&folder)?)?;
    staging.commit(&manifest)?;
    Ok(totals.report(importer, out, &manifest, resumed))
}

/// An item that was worked on.
struct Made {
    inputs: blake3::Hash,
    /// None if the picture was refused.
    record: Option<EncodedRecord>,
    quarantined: Vec<Quarantined>,
}

/// Encodes batch after batch on all threads, while the batch before is written.
fn run(
    source: &Path,
    importer: &dyn Importer,
    options: &PackOptions,
    sink: &mut Sink,
) -> Result<()> {
    let workers = Pool::<Worker>::default();
    let make = |index: usize| {
        // Before the file is read, so that one that is changed meanwhile is noticed later.
        let stamp = importer.stamp(index);
        let item = importer.item(index);
        let inputs = inputs_of(&item, stamp);
        let outcome = read(importer, index, item, options);
        let encode = |picture| workers.take().encode(picture, options);
        let record = outcome.picture.map(encode).transpose();
        Ok(Made {
            inputs,
            record: record.map_err(DatasetError::io("encode pictures of", source))?,
            quarantined: outcome.quarantined,
        })
    };
    let items = sink.totals.done..importer.len();
    let bytes = |made: &Made| made.record.as_ref().map_or(0, EncodedRecord::len);
    in_order(items, make, bytes, |made| sink.take(made))
}

/// What has been done so far.
#[derive(Default)]
struct Totals {
    /// Items of the source dealt with.
    done: usize,
    shards: usize,
    pictures: usize,
    instances: usize,
    bytes: u64,
    quarantined: Vec<Quarantined>,
}

impl Totals {
    fn of(steps: Vec<Step>) -> Self {
        let mut totals = Self {
            done: steps.last().map_or(0, |step| step.end),
            shards: steps.len(),
            ..Self::default()
        };
        for step in steps {
            totals.pictures += step.shard.records as usize;
            totals.instances += step.shard.instances as usize;
            totals.bytes += step.shard.bytes;
            totals.quarantined.extend(step.quarantined);
        }
        totals
    }

    /// What was taken over, if this is from an earlier run; `lost` says why not all of it.
    fn resumed(&self, lost: Option<String>) -> Option<Resumed> {
        (self.shards > 0 || lost.is_some()).then_some(Resumed {
            pictures: self.done,
            shards: self.shards,
            lost,
        })
    }

    fn report(
        self,
        importer: &dyn Importer,
        out: &Path,
        manifest: &Manifest,
        resumed: Option<Resumed>,
    ) -> PackReport {
        let mut quarantined = importer.refused().to_vec();
        quarantined.extend(self.quarantined);
        PackReport {
            out: out.into(),
            pictures: self.pictures,
            instances: self.instances,
            categories: manifest.categories.len(),
            labels: manifest.labels.len(),
            bytes: manifest.shards.iter().map(|shard| shard.bytes).sum(),
            quarantined,
            ignored: importer.ignored(),
            note: importer.note(),
            resumed,
        }
    }
}

/// Takes what was made, in order.
struct Sink<'a> {
    writer: ShardWriter,
    journal: Journal,
    totals: Totals,
    /// Of the items since the last finished shard.
    inputs: Inputs,
    /// Entries of the quarantine list up to the last finished shard.
    recorded: usize,
    total: usize,
    progress: &'a (dyn Fn(Progress) + Sync),
}

impl<'a> Sink<'a> {
    fn new(
        writer: ShardWriter,
        journal: Journal,
        totals: Totals,
        total: usize,
        progress: &'a (dyn Fn(Progress) + Sync),
    ) -> Self {
        Self {
            writer,
            journal,
            recorded: totals.quarantined.len(),
            totals,
            inputs: Inputs::default(),
            total,
            progress,
        }
    }

    fn take(&mut self, made: Vec<Made>) -> Result<()> {
        for Made {
            inputs,
            record,
            quarantined,
        } in made
        {
            self.totals.done += 1;
            self.totals.quarantined.extend(quarantined);
            self.inputs.add(&inputs);
            let Some(record) = record else {
                continue;
            };
            self.totals.pictures += 1;
            self.totals.instances += record.instances();
            self.totals.bytes += record.len() as u64;
            if let Some(shard) = self.writer.write(&record)?.cloned() {
                self.record(shard, false)?;
            }
        }
        (self.progress)(Progress {
            done: self.totals.done,
            total: self.total,
            quarantined: self.totals.quarantined.len(),
            bytes: self.totals.bytes,
        });
        Ok(())
    }

    /// Enters a finished shard into the journal.
    fn record(&mut self, shard: FinishedShard, last: bool) -> Result<()> {
        let quarantined = self.totals.quarantined[self.recorded..].to_vec();
        self.recorded = self.totals.quarantined.len();
        self.totals.shards += 1;
        self.journal.step(Step {
            end: self.totals.done,
            inputs: self.inputs.take(),
            shard,
            last,
            quarantined,
        })
    }

    /// Completes the last shard; returns all of them.
    fn finish(mut self) -> Result<(Totals, Vec<FinishedShard>, Journal)> {
        if let Some(shard) = self.writer.close()?.cloned() {
            self.record(shard, true)?;
        }
        Ok((self.totals, self.writer.finish()?, self.journal))
    }
}

fn nothing_usable(
    source: &Source,
    importer: &dyn Importer,
    quarantined: &[Quarantined],
) -> DatasetError {
    let quarantined = [importer.refused(), quarantined].concat();
    let ignored = importer.ignored();
    let reasons: Vec<_> = count_reasons(&quarantined)
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
        format!("; not pictures {}", list_counts(&ignored))
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
