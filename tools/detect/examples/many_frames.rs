//! Frames that never end, as a measurement: what memory and speed do over hundreds of thousands of them, and who
//! allocates.
//!
//! ```sh
//! cargo run --release -p intertwine-detect --example many_frames -- 200000
//! ```
//!
//! A line for each tenth of the run: resident memory, frames a second, and the allocations a frame of the network (tract
//! and our layers in it), of the resize before it (the filter's weights), and of all else (normalising, postprocessing with
//! masks, tracking; 0 once warm).

use std::alloc::System;
use std::error::Error;
use std::time::Instant;

use image::{Rgb, RgbImage};
use intertwine_detect::{Detector, Preprocessor, Tracker};
use stats_alloc::{Region, Stats, StatsAlloc, INSTRUMENTED_SYSTEM};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Different frames, which come again and again: two squares that cross the picture.
const SCENES: u32 = 64;
/// Runs by which the allocations of a part alone are known.
const BARE: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let frames: usize = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 200_000,
    };
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/squares.onnx");
    let mut detector = Detector::load(model.as_ref())?;
    let mut tracker = Tracker::default();
    let scenes: Vec<RgbImage> = (0..SCENES).map(scene).collect();
    let (resize, network) = bare_allocations(&mut detector, &scenes[0])?;

    println!(
        "{frames} frames of {} x {}",
        scenes[0].width(),
        scenes[0].height()
    );
    println!(
        "   frames  resident MB  frames/s  allocations a frame: network  resize  all else     ids"
    );
    let mut ids = 0;
    for tenth in 0..10 {
        let range = frames * tenth / 10..frames * (tenth + 1) / 10;
        let (start, region) = (Instant::now(), Region::new(ALLOCATOR));
        for frame in range.clone() {
            let found = detector.detect(&scenes[frame % scenes.len()])?;
            let highest = tracker.update(found).iter().flatten().max();
            ids = ids.max(highest.copied().unwrap_or(0));
        }
        let total = allocations(region.change()) as f64 / range.len().max(1) as f64;
        println!(
            "{:9}  {:>11}  {:8.0}  {network:28.2}  {resize:6.2}  {:8.2}  {ids:6}",
            range.end,
            resident_mb().map_or("unknown".into(), |mb| format!("{mb:.1}")),
            range.len() as f64 / start.elapsed().as_secs_f64(),
            total - network - resize,
        );
    }
    Ok(())
}

/// A bright square from left to right and a dark one from right to left.
fn scene(at: u32) -> RgbImage {
    let mut picture = RgbImage::from_pixel(160, 128, Rgb([128; 3]));
    for (left, top, value) in [(2 * at, 16, 255), (140 - 2 * at, 80, 0)] {
        for (x, y) in (left..left + 20).flat_map(|x| (top..top + 20).map(move |y| (x, y))) {
            picture.put_pixel(x, y, Rgb([value; 3]));
        }
    }
    picture
}

/// Allocations of a resize and of a run of the network, each alone; the same for every picture of a size.
fn bare_allocations(
    detector: &mut Detector,
    picture: &RgbImage,
) -> Result<(f64, f64), Box<dyn Error>> {
    let mut preprocessor = Preprocessor::new(detector.card());
    let mut input = vec![0.0; preprocessor.input_len()];
    preprocessor.apply(picture, &mut input)?;
    detector.run_raw(&input)?;
    let region = Region::new(ALLOCATOR);
    for _ in 0..BARE {
        preprocessor.apply(picture, &mut input)?;
    }
    let resize = allocations(region.change()) as f64 / BARE as f64;
    let region = Region::new(ALLOCATOR);
    for _ in 0..BARE {
        detector.run_raw(&input)?;
    }
    Ok((resize, allocations(region.change()) as f64 / BARE as f64))
}

fn allocations(change: Stats) -> usize {
    change.allocations + change.reallocations
}

/// Linux keeps the size of the resident set in `/proc/self/status`.
fn resident_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes / 1024.0)
}
