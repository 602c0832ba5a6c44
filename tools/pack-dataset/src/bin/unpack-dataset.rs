//! `unpack-dataset`: writes a packed set back as pictures and label files.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use intertwine_datasets::{export, PackedSet, Target};
use intertwine_flow::Told;

/// Writes a packed set back as pictures and label files that other programs read.
///
/// Pixels come out as they are stored: the bytes of a JPEG that was kept as it came, else as PNG. Packing the
/// output again with the same options gives the same pixels, classes, boxes and masks. (Pictures that packing made
/// smaller than --smallest-side, 8 pixels unless stated, are refused then: pack with --smallest-side 1.)
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    /// A packed set
    packed: PathBuf,

    /// The folder to make; it appears when all is written, and nothing is ever written over
    out: PathBuf,

    /// folder: pictures, in a folder for each class, with COCO's instances.json if there are objects;
    /// webdataset: data-000000.tar and so on
    #[arg(long, value_enum, default_value = "folder")]
    to: TargetName,

    /// Close a WebDataset archive when it has N MiB
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    shard_mib: u64,

    /// Threads to work on; all processors if not given. The result does not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

const EXAMPLES: &str = "\
Examples:
  unpack-dataset packed/train pictures/train
  unpack-dataset packed/train shards/train --to webdataset";

#[derive(Clone, Copy, ValueEnum)]
enum TargetName {
    Folder,
    #[value(name = "webdataset")]
    WebDataset,
}

fn main() -> ExitCode {
    sigpipe::reset();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", Told(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::parse();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(arguments.threads.map_or(0, usize::from))
        .build()
        .context("cannot start the threads")?;
    let set = PackedSet::open(&arguments.packed)?;
    let target = match arguments.to {
        TargetName::Folder => Target::Folder,
        TargetName::WebDataset => Target::WebDataset {
            shard_bytes: arguments.shard_mib << 20,
        },
    };
    let style = "{bar:32} {human_pos}/{human_len} pictures, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(style)
        .expect("the template is constant and tested by running");
    let bar = ProgressBar::new(set.len() as u64).with_style(style);
    let progress = |done: usize| bar.set_position(done as u64);
    let result = pool.install(|| export(&set, target, &arguments.out, &progress));
    bar.finish_and_clear();
    let report = result?;
    println!(
        "Wrote {} pictures and {} objects: {} files, {} in {}",
        HumanCount(report.pictures as u64),
        HumanCount(report.instances as u64),
        HumanCount(report.files as u64),
        HumanBytes(report.bytes),
        arguments.out.display()
    );
    Ok(())
}
