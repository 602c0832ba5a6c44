//! Reads every picture of a packed set a few times on one thread and says how fast.
//!
//! `cargo run -p intertwine-datasets --example read_speed -- PACKED_SET`

use std::time::Instant;

use image::RgbImage;
use intertwine_datasets::{PackedSet, Scratch};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args()
        .nth(1)
        .ok_or("give the folder of a packed set")?;
    let set = PackedSet::open(folder.as_ref())?;
    let (mut image, mut scratch) = (RgbImage::default(), Scratch::default());
    let mut best = f64::INFINITY;
    let mut pixels = 0;
    for _ in 0..5 {
        let start = Instant::now();
        pixels = 0;
        for record in 0..set.len() {
            set.read_image_into(record, &mut image, &mut scratch)?;
            pixels += image.len();
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    let stored: u64 = set.manifest().shards.iter().map(|shard| shard.bytes).sum();
    println!(
        "{} pictures, {:.1} MB stored, {:.1} MB decoded: best of 5 {:.0} pictures/s, {:.0} MB/s decoded",
        set.len(),
        stored as f64 / 1e6,
        pixels as f64 / 1e6,
        set.len() as f64 / best,
        pixels as f64 / 1e6 / best
    );
    Ok(())
}
