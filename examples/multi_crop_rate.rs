//! How many pictures a second the multi-crop augmentation does, decoded pictures to patches.
//!
//! usage: multi_crop_rate FOLDER [small] [crop] [THREADS]: `small` is 2 x 48 + 4 x 24 with patches of 8
//! instead of 2 x 224 + 8 x 96, `crop` leaves out colour, blur and solarisation.

use intertwine::augment::{MultiCrop, MultiCropConfig, Scratch, Views};
use intertwine_flow::random::{stream, Purpose};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut config = MultiCropConfig::default();
    if args.iter().any(|a| a == "small") {
        config.patch = 8;
        (config.globals.size, config.locals.size, config.locals.count) = (48, 24, 4);
    }
    if args.iter().any(|a| a == "crop") {
        (config.grey, config.jitter.probability) = (0.0, 0.0);
        (
            config.blur.first_global,
            config.blur.other_globals,
            config.blur.locals,
        ) = (0.0, 0.0, 0.0);
        config.solarise.other_globals = 0.0;
    }
    let threads = args.iter().find_map(|a| a.parse().ok()).unwrap_or(2u64);
    let mut paths: Vec<_> = std::fs::read_dir(&args[0])?
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    let pictures = paths
        .iter()
        .take(300)
        .map(|p| Ok(image::open(p)?.to_rgb8()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let multi_crop = MultiCrop::new(config)?;
    let next = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let (mut scratch, mut views) = (Scratch::default(), Views::default());
                while start.elapsed() < Duration::from_secs(4) {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let picture = &pictures[i as usize % pictures.len()];
                    let mut rng = stream(1, Purpose::Augment, 0, i);
                    multi_crop
                        .apply_into(picture, &mut rng, &mut scratch, &mut views)
                        .expect("not empty");
                }
            });
        }
    });
    let rate = next.into_inner() as f64 / start.elapsed().as_secs_f64();
    println!(
        "{rate:.0} images/s on {threads} threads, {:.3} core-ms an image",
        threads as f64 * 1e3 / rate
    );
    Ok(())
}
