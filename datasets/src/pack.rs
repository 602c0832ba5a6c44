//! Packs a source: reads, checks, resizes and encodes pictures on all threads, writes them in order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::RgbImage;
use intertwine_flow::Pool;
use rayon::prelude::*;

use crate::decode::{decode, DecodeError, Decoded};
use crate::error::{DatasetError, Result};
use crate::import::{list_counts, Importer, Item, Source};
use crate::labels::{place, Sizes};
use crate::manifest::Manifest;
use crate::options::PackOptions;
use crate::output::Staging;
use crate::pixels::{Encoding, PixelEncoder};
use crate::quarantine::{count_reasons, Quarantined, Reason, QUARANTINE};
use crate::sample::RecordInfo;
use crate::shard::{EncodedRecord, ShardWriter};

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

/// What became of a picture.
struct Outcome {
    /// None if the picture was refused.
    packed: Option<Packed>,
    quarantined: Vec<Quarantined>,
}

/// A picture that is taken in.
struct Packed {
    instances: usize,
    /// None when only checking.
    record: Option<EncodedRecord>,
}

/// Why a picture is not taken in.
enum Stop {
    /// It is put into quarantine.
    Refused(Reason, String),
    /// Packing cannot go on.
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
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

/// What a thread keeps between pictures.
#[derive(Default)]
struct Worker {
    resizer: Resizer,
    encoder: PixelEncoder,
}

impl Worker {
    fn prepare(
        &mut self,
        importer: &dyn Importer,
        index: usize,
        options: &PackOptions,
        encode: bool,
    ) -> io::Result<Outcome> {
        let item = importer.item(index);
        let (source, image_id) = (item.source.clone(), item.image_id);
        let mut quarantined = Vec::new();
        let read = importer.read(index).map_err(unreadable);
        let packed = match read
            .and_then(|bytes| self.record(item, bytes, options, encode, &mut quarantined))
        {
            Ok(packed) => Some(packed),
            Err(Stop::Refused(reason, detail)) => {
                // Labels of a picture that is not packed go with it; the picture's line stands for them.
                quarantined = vec![Quarantined::picture(source.clone(), reason, detail)];
                None
            }
            Err(Stop::Failed(error)) => {
                return Err(io::Error::new(error.kind(), format!("{source}: {error}")))
            }
        };
        for entry in &mut quarantined {
            entry.image_id = Some(image_id);
            entry.source.get_or_insert_with(|| source.clone());
        }
        Ok(Outcome {
            packed,
            quarantined,
        })
    }

    fn record(
        &mut self,
        item: Item,
        file: Vec<u8>,
        options: &PackOptions,
        encode: bool,
        quarantined: &mut Vec<Quarantined>,
    ) -> Result<Packed, Stop> {
        let mut decoded = decode_anything(&file).map_err(undecodable)?;
        quarantined.extend(item.refused);
        if let Some(stated) = item.stated_size {
            if let Some(detail) = reconcile(stated, &mut decoded)? {
                let entry = Quarantined::picture(item.source.clone(), Reason::ExifIgnored, detail);
                quarantined.push(Quarantined {
                    kept: true,
                    ..entry
                });
            }
        }
        let as_it_came = decoded.is_jpeg && decoded.orientation == Orientation::NoTransforms;
        let image = decoded.upright();
        let original = image.dimensions();
        if original.0.min(original.1) < options.smallest_side {
            let detail = format!(
                "{} x {}, expected at least {} a side",
                original.0, original.1, options.smallest_side
            );
            return Err(Stop::Refused(Reason::TooSmall, detail));
        }
        let stored = options.resize.target(original.0, original.1);
        let sizes = Sizes { original, stored };
        let instances: Vec<_> = item
            .objects
            .into_iter()
            .filter_map(|label| place(label, sizes, quarantined))
            .collect();
        if !encode {
            return Ok(Packed {
                instances: instances.len(),
                record: None,
            });
        }
        let info = RecordInfo {
            image_id: item.image_id,
            source: item.source,
            original_size: original,
            label: item.label,
        };
        let record = if options.encoding == Encoding::Jpeg && as_it_came && original == stored {
            EncodedRecord::from_pixels(file, Encoding::Jpeg, stored, &info, &instances)?
        } else {
            drop(file);
            let image = self.resize(image, stored)?;
            EncodedRecord::new(
                &image,
                &info,
                &instances,
                options.encoding,
                options.jpeg_quality,
                &mut self.encoder,
            )?
        };
        Ok(Packed {
            instances: instances.len(),
            record: Some(record),
        })
    }

    /// Makes a picture smaller, antialiased.
    fn resize(&mut self, image: RgbImage, (width, height): (u32, u32)) -> io::Result<RgbImage> {
        if image.dimensions() == (width, height) {
            return Ok(image);
        }
        let mut smaller = RgbImage::new(width, height);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
        let (from_width, from_height) = image.dimensions();
        let from = fast_image_resize::images::ImageRef::new(
            from_width,
            from_height,
            &image,
            PixelType::U8x3,
        );
        let from = from.map_err(io::Error::other)?;
        let to = fast_image_resize::images::Image::from_slice_u8(
            width,
            height,
            &mut smaller,
            PixelType::U8x3,
        );
        self.resizer
            .resize(&from, &mut to.map_err(io::Error::other)?, &options)
            .map_err(io::Error::other)?;
        Ok(smaller)
    }
}

/// Holds a picture against the size its label file states, in which the boxes are meant. Labels made
/// without regard to EXIF keep the picture unrotated, which the text returned says.
fn reconcile(stated: (u32, u32), decoded: &mut Decoded) -> Result<Option<String>, Stop> {
    use Orientation::{Rotate270, Rotate270FlipH, Rotate90, Rotate90FlipH};
    let (width, height) = decoded.image.dimensions();
    let swaps_sides = matches!(
        decoded.orientation,
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH
    );
    let upright = if swaps_sides {
        (height, width)
    } else {
        (width, height)
    };
    if stated == upright {
        return Ok(None);
    }
    let (w, h) = stated;
    if stated == (width, height) {
        decoded.orientation = Orientation::NoTransforms;
        return Ok(Some(format!(
            "labels are for {w} x {h}, the picture without its EXIF rotation; packed so"
        )));
    }
    let detail = format!(
        "the label file says {w} x {h}, the picture is {} x {}",
        upright.0, upright.1
    );
    Err(Stop::Refused(Reason::SizeMismatch, detail))
}

fn unreadable(error: io::Error) -> Stop {
    let reason = match error.kind() {
        ErrorKind::NotFound => Reason::MissingPicture,
        ErrorKind::FileTooLarge => Reason::TooLarge,
        _ => Reason::Unreadable,
    };
    Stop::Refused(reason, error.to_string())
}

fn undecodable(error: DecodeError) -> Stop {
    let reason = match error {
        DecodeError::NotAPicture(_) => Reason::NotAPicture,
        DecodeError::Unsupported(_) => Reason::UnsupportedFormat,
        DecodeError::TooLarge(..) => Reason::TooLarge,
        DecodeError::Damaged(_) => Reason::Damaged,
    };
    let detail = match error {
        DecodeError::Damaged(detail) => detail,
        other => other.to_string(),
    };
    Stop::Refused(reason, detail)
}

/// Decodes a file that may hold anything. A decoder that panics on it costs this one picture, not hours of
/// packing; it holds no state that the panic could leave half changed.
fn decode_anything(file: &[u8]) -> Result<Decoded, DecodeError> {
    let decoded = std::panic::catch_unwind(|| decode(file));
    decoded.unwrap_or_else(|_| Err(DecodeError::Damaged("the decoder panicked on it".into())))
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
