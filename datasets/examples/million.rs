//! Packs a million pictures of 8 x 8 pixels into a temporary folder (about 330 MB). A process of its own then
//! opens them, reads every one in shuffled order, and says how long that takes and how much memory.
//!
//! `cargo run --release -p intertwine-datasets --example million -- [RECORDS]`
//!
//! `RssAnon` of `/proc/self/status` is what the program holds itself; pages of the mapped files are counted
//! as `RssFile`, and the system takes them back when it needs them.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use image::{Rgb, RgbImage};
use intertwine_datasets::manifest::{Manifest, MANIFEST, VERSION};
use intertwine_datasets::pixels::PixelEncoder;
use intertwine_datasets::shard::{EncodedRecord, ShardWriter};
use intertwine_datasets::{Encoding, Mix, PackOptions, PackedSet, RecordInfo, Scratch};

const SEED: u64 = 0;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    match &arguments[1..] {
        [command, folder] if command == "read" => read(Path::new(folder)),
        arguments => {
            let records = match arguments {
                [] => 1_000_000,
                [text, ..] => text.parse()?,
            };
            let folder = tempfile::tempdir()?;
            write(folder.path(), records)?;
            let mut reader = std::process::Command::new(std::env::current_exe()?);
            let status = reader.arg("read").arg(folder.path()).status()?;
            status
                .success()
                .then_some(())
                .ok_or("reading failed".into())
        }
    }
}

/// Opens, shuffles and reads a set.
fn read(folder: &Path) -> Result<(), Box<dyn Error>> {
    let before = status("RssAnon:")?;
    let said = |what: &str, start: Instant| -> Result<(), Box<dyn Error>> {
        println!(
            "{what}: {:.3} s, {} KiB of own memory more than at the start, {} KiB mapped",
            start.elapsed().as_secs_f64(),
            status("RssAnon:")?.saturating_sub(before),
            status("RssFile:")?
        );
        Ok(())
    };
    let start = Instant::now();
    let mix = Mix::from(Arc::new(PackedSet::open(folder)?));
    let records = mix.len() as u64;
    said(&format!("opened {records} records"), start)?;

    let start = Instant::now();
    let sum: u64 = (0..records).map(|p| mix.at(p, SEED).record as u64).sum();
    said("shuffled", start)?;
    // Every record once, whatever the order.
    assert_eq!(sum, records * (records - 1) / 2);

    let (mut image, mut scratch) = (RgbImage::default(), Scratch::default());
    let start = Instant::now();
    for position in 0..records {
        let place = mix.at(position, SEED);
        let (set, number) = mix.locate(place.record);
        set.read_image_into(number, &mut image, &mut scratch)?;
        assert_eq!(image.get_pixel(0, 0), &pixel(place.record as u64));
    }
    said("shuffled and read", start)
}

/// Tells a record's picture from its neighbours'.
fn pixel(record: u64) -> Rgb<u8> {
    Rgb([record as u8, (record >> 8) as u8, (record >> 16) as u8])
}

/// A packed set; one of so many files would take long to pack from files.
fn write(folder: &Path, records: u64) -> Result<(), Box<dyn Error>> {
    let options = PackOptions {
        encoding: Encoding::Raw,
        shard_bytes: 32 << 20,
        ..PackOptions::default()
    };
    let mut writer = ShardWriter::create(folder, options.shard_bytes)?;
    let mut encoder = PixelEncoder::default();
    for record in 0..records {
        let info = RecordInfo {
            image_id: record + 1,
            source: format!("{record:07}.png"),
            original_size: (8, 8),
            label: None,
        };
        let image = RgbImage::from_pixel(8, 8, pixel(record));
        let quality = options.jpeg_quality;
        let encoded =
            EncodedRecord::new(&image, &info, &[], options.encoding, quality, &mut encoder)?;
        writer.write(&encoded)?;
    }
    let manifest = Manifest {
        format: "intertwine packed set".into(),
        version: VERSION,
        records,
        instances: 0,
        quarantined: 0,
        categories: Vec::new(),
        labels: Vec::new(),
        options,
        shards: writer.finish()?,
    };
    std::fs::write(folder.join(MANIFEST), serde_json::to_vec(&manifest)?)?;
    Ok(())
}

/// A figure of `/proc/self/status` in KiB.
fn status(key: &str) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let value = line.and_then(|line| line.split_whitespace().next());
    Ok(value
        .ok_or(format!("no {key} in /proc/self/status"))?
        .parse()?)
}
