//! `pack-dataset`: packs a folder of pictures or a labelled data set into shards.

mod summary;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use intertwine_datasets::{
    inspect, pack, Encoding, Existing, Format, PackOptions, Progress, Resize, Source,
};
use intertwine_flow::Told;

/// Exit status of `--strict` when something was found.
const FOUND: u8 = 3;

/// Packs a folder of pictures or a labelled data set into shards for training.
///
/// Pictures become upright 8-bit RGB: EXIF rotation is applied, grey, palette, CMYK and 16-bit pictures are
/// converted, transparency is laid over black. Bad files and labels do not stop the packing: each is listed
/// with its reason in OUT/quarantine.jsonl and counted in the summary.
///
/// A run that was stopped, by whatever means, goes on when the same command is given again, and ends with the
/// same bytes; packed again are at most the pictures of one shard (--shard-mib).
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    /// A folder of pictures (with any folders within), or a labelled data set: COCO (.json), Pascal VOC (folder,
    /// or a list of ImageSets), YOLO (folder or data.yaml), WebDataset (.tar, a folder of them, or a pattern such
    /// as 'train-{0000..0099}.tar'), a list (.txt: a path and, if any, a class on each line)
    source: PathBuf,

    /// The folder to make; it appears when all is packed. May be left out with --check
    #[arg(required_unless_present = "check")]
    out: Option<PathBuf>,

    /// What SOURCE is; auto tells it from what is on the disk
    #[arg(long, value_enum, default_value = "auto")]
    format: FormatName,

    /// Where the pictures of a label file are (COCO, VOC, list); if not given, they are looked for around it
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,

    /// The part of SOURCE to take if it is VOC or YOLO, such as train; all takes every one
    #[arg(long, value_name = "NAME")]
    split: Option<String>,

    /// Make pictures smaller so that the shorter side has N pixels; smaller pictures stay as they are
    #[arg(long, value_name = "N", conflicts_with = "max_side", value_parser = clap::value_parser!(u32).range(1..=65535))]
    min_side: Option<u32>,

    /// Make pictures smaller so that the longer side has N pixels; smaller pictures stay as they are
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65535))]
    max_side: Option<u32>,

    /// How pixels are stored: zpix is lossless and fast to read; jpeg keeps a JPEG's own bytes where the
    /// picture is not changed and is the smallest and slowest to read; raw is the largest
    #[arg(long, value_enum, default_value = "zpix")]
    encoding: EncodingName,

    /// Quality (1 to 100) where --encoding jpeg has to compress anew
    #[arg(long, value_name = "Q", default_value_t = 90, value_parser = clap::value_parser!(u8).range(1..=100))]
    jpeg_quality: u8,

    /// Put pictures into quarantine that have a side below N pixels
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65535))]
    smallest_side: u32,

    /// Take the first folder below SOURCE (COCO: of a picture's name) as the class of the pictures in it
    #[arg(long)]
    classes_from_folders: bool,

    /// Read and check everything and pack nothing: bad pictures and labels, pictures that are there twice or
    /// look alike, classes, sizes. SOURCE may also be a packed set
    #[arg(long)]
    check: bool,

    /// With --check: find the pictures that OTHER, a source or a packed set, has too, exactly or looking alike
    #[arg(long, value_name = "OTHER", requires = "check")]
    against: Option<PathBuf>,

    /// The part of OTHER to take, as --split is that of SOURCE
    #[arg(long, value_name = "NAME", requires = "against")]
    against_split: Option<String>,

    /// With --check: write all that was found to one HTML page with small pictures of it
    #[arg(long, value_name = "FILE", requires = "check")]
    report: Option<PathBuf>,

    /// Replace the packed set that OUT holds, once the new one is complete
    #[arg(long)]
    overwrite: bool,

    /// Add the pictures to the packed set that OUT holds, as new shards; takes the options it was packed
    /// with. Categories of the same name are the same. The set stays what it was until all is complete
    #[arg(long, conflicts_with = "overwrite")]
    append: bool,

    /// End with status 3 if anything was put into quarantine, or found by --check (without: 0, with a warning)
    #[arg(long)]
    strict: bool,

    /// Close a shard when it has N MiB
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    shard_mib: u64,

    /// Threads to work on; all processors if not given. The result does not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

const EXAMPLES: &str = "\
Examples:
  pack-dataset photos packed/photos --min-side 256
  pack-dataset coco/annotations/instances_train2017.json packed/train --images coco/train2017 --max-side 640
  pack-dataset more-photos packed/photos --min-side 256 --append
  pack-dataset VOCdevkit/VOC2012 packed/train --split train
  pack-dataset coco8/data.yaml packed/val --split val
  pack-dataset 'shards/train-{0000..0099}.tar' packed/train --min-side 256
  pack-dataset train.json --check --against val.json --report train.html
  pack-dataset data.yaml --split train --check --against data.yaml --against-split val

Exit status: 0 packed (what was put into quarantine is listed and warned of), 1 failed,
2 wrong arguments, 3 with --strict if anything was put into quarantine or found by --check.";

#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    Auto,
    Folder,
    Coco,
    Voc,
    Yolo,
    #[value(name = "webdataset")]
    WebDataset,
    List,
}

#[derive(Clone, Copy, ValueEnum)]
enum EncodingName {
    Zpix,
    Jpeg,
    Raw,
}

impl Arguments {
    fn source(&self) -> Source {
        let format = match self.format {
            FormatName::Auto => Format::Auto,
            FormatName::Folder => Format::Folder,
            FormatName::Coco => Format::Coco,
            FormatName::Voc => Format::Voc,
            FormatName::Yolo => Format::Yolo,
            FormatName::WebDataset => Format::WebDataset,
            FormatName::List => Format::List,
        };
        let classes_from_folders = self.classes_from_folders;
        Source {
            path: self.source.clone(),
            format,
            images: self.images.clone(),
            split: self.split.clone(),
            classes_from_folders,
        }
    }

    fn options(&self) -> PackOptions {
        PackOptions {
            resize: match (self.min_side, self.max_side) {
                (Some(side), _) => Resize::MinSide(side),
                (_, Some(side)) => Resize::MaxSide(side),
                _ => Resize::Keep,
            },
            encoding: match self.encoding {
                EncodingName::Zpix => Encoding::Zpix,
                EncodingName::Jpeg => Encoding::Jpeg,
                EncodingName::Raw => Encoding::Raw,
            },
            jpeg_quality: self.jpeg_quality,
            smallest_side: self.smallest_side,
            shard_bytes: self.shard_mib << 20,
            existing: match (self.overwrite, self.append) {
                (true, _) => Existing::Replace,
                (_, true) => Existing::Append,
                _ => Existing::Refuse,
            },
        }
    }
}

fn main() -> ExitCode {
    sigpipe::reset();
    run().unwrap_or_else(|error| {
        eprintln!("error: {}", Told(&*error));
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let threads = arguments.threads.map_or(0, usize::from);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .context("cannot start the threads")?;
    let (source, options) = (arguments.source(), arguments.options());
    let failure = |path: &Path| format!("cannot write `{}`", path.display());
    if let Some(path) = &arguments.report {
        intertwine_files::make_room(path).with_context(|| failure(path))?;
    }
    let bar = progress_bar();
    let progress = |progress: Progress| {
        let begins = bar.length() == Some(0);
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        if begins {
            // What an earlier run had done says nothing about the speed of this one.
            bar.reset_eta();
        }
        if progress.quarantined > 0 {
            bar.set_message(format!(
                "{} in quarantine",
                HumanCount(progress.quarantined as u64)
            ));
        }
    };
    let found_something = match &arguments.out {
        Some(out) if !arguments.check => {
            let report = pool.install(|| pack(&source, &options, out, &progress));
            bar.finish_and_clear();
            let report = report?;
            summary::packed(&report);
            !report.quarantined.is_empty()
        }
        _ => {
            let against = arguments.against.as_ref().map(|path| Source {
                split: arguments.against_split.clone(),
                ..Source::new(path)
            });
            let found = pool.install(|| inspect(&source, against.as_ref(), &options, &progress));
            bar.finish_and_clear();
            let found = found?;
            summary::inspected(&found);
            if let Some(path) = &arguments.report {
                let page = pool.install(|| found.html());
                intertwine_files::bytes(path, page.as_bytes()).with_context(|| failure(path))?;
                println!("Report: {}", path.display());
            }
            found.found_something()
        }
    };
    let status = if arguments.strict && found_something {
        FOUND
    } else {
        0
    };
    Ok(ExitCode::from(status))
}

/// A bar on the terminal; nothing when the output goes elsewhere.
fn progress_bar() -> ProgressBar {
    let style = "{bar:32} {human_pos}/{human_len} pictures, {per_sec}, {eta} left {msg}";
    let style = ProgressStyle::with_template(style)
        .expect("the template is constant and tested by running");
    ProgressBar::new(0).with_style(style)
}
