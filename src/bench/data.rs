//! How many pictures a second the multi-crop augmentation gives: the work that tests/peers/bench_data.py has its
//! peers do. A picture is read, decoded and turned into 2 views of 224 and 8 of 96 pixels, `f32`, in shuffled order.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use image::RgbImage;
use intertwine_datasets::{decode, Mix, PackedSet, Permutation};
use intertwine_flow::random::{stream, Purpose};
use intertwine_flow::{source, stage_with, Batch, FlowError, Pool, Pooled, Source};

use crate::augment::{AugmentError, MultiCrop, MultiCropConfig, Scratch, Views};
use crate::records::{Picture, Records};

/// Where pictures come from.
pub enum Pictures {
    /// The records of a packed set.
    Packed(Arc<PackedSet>),
    /// The files of a folder, decoded each time.
    Files(Vec<PathBuf>),
}

/// How fast it went.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Rate {
    /// Pictures a second, the median of `rounds`.
    pub images_per_s: f64,
    /// `exact` or `fast`.
    pub mode: &'static str,
    /// Threads that worked on it.
    pub threads: usize,
    /// Pictures in a round.
    pub images: u64,
    /// Pictures a second of each round.
    pub rounds: Vec<f64>,
}

/// Pictures that are in memory together, as in a training step. That of the peers.
const BATCH: NonZeroUsize = NonZeroUsize::new(20).expect("not 0");

/// Pictures before the timed ones: buffers are allocated, files come into memory, threads wake.
const WARM_UP: u64 = 100;

impl Pictures {
    /// The files of a folder, in order of their names.
    ///
    /// # Errors
    /// If the folder cannot be read or is empty.
    pub fn folder(folder: &Path) -> anyhow::Result<Self> {
        let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|e| e.path())).collect();
        let mut files = paths.with_context(|| folder.display().to_string())?;
        files.retain(|path| path.is_file());
        anyhow::ensure!(!files.is_empty(), "{} holds no file", folder.display());
        files.sort();
        Ok(Pictures::Files(files))
    }

    fn len(&self) -> u64 {
        match self {
            Pictures::Packed(set) => set.len() as u64,
            Pictures::Files(files) => files.len() as u64,
        }
    }
}

/// Times `rounds` rounds of `images` pictures each.
///
/// # Errors
/// A picture that cannot be read or decoded.
pub fn measure(from: Pictures, fast: bool, images: u64, rounds: usize) -> anyhow::Result<Rate> {
    let len = from.len();
    let crops = MultiCrop::new(MultiCropConfig {
        fast,
        ..MultiCropConfig::default()
    })?;
    let shuffled = move |position: u64| {
        let epoch = position / len;
        epoch * len + Permutation::new(len, 0, epoch, 0).get(position % len)
    };
    let views: Pool<Views> = Pool::new(Views::default);
    let crop = move |picture: &RgbImage, epoch: u64, record: u64, scratch: &mut Scratch| {
        let mut rng = stream(0, Purpose::Augment, epoch, record);
        let mut views = views.take();
        crops.apply_into(picture, &mut rng, scratch, &mut views)?;
        Ok::<Pooled<Views>, AugmentError>(views)
    };
    let rounds = match from {
        Pictures::Packed(set) => {
            let crop = move |p: Picture, scratch: &mut Scratch| {
                crop(&p.image, p.epoch, p.record as u64, scratch)
            };
            let run = Records::new(Arc::new(Mix::from(set)))
                .graph()
                .reorder("Shuffle", shuffled)
                .then(stage_with("Crop", Scratch::default, crop))
                .batch_exact(BATCH)
                .run(..);
            time(run, images, rounds)?
        }
        Pictures::Files(files) => {
            let read = move |position: u64| {
                let path = &files[(position % len) as usize];
                let picture = || anyhow::Ok(decode(&std::fs::read(path)?)?.upright());
                picture()
                    .map(|p| (position, p))
                    .with_context(|| path.display().to_string())
            };
            let crop = move |(position, p): (u64, RgbImage), scratch: &mut Scratch| {
                crop(&p, position / len, position % len, scratch)
            };
            let run = source("Files", None, read)
                .graph()
                .reorder("Shuffle", shuffled)
                .then(stage_with("Crop", Scratch::default, crop))
                .batch_exact(BATCH)
                .run(..);
            time(run, images, rounds)?
        }
    };
    Ok(Rate {
        images_per_s: super::median(&rounds),
        mode: if fast { "fast" } else { "exact" },
        threads: rayon::current_num_threads(),
        images,
        rounds,
    })
}

/// Pictures a second of each round of at least `images` pictures.
fn time<T>(
    mut batches: impl Iterator<Item = Result<Batch<T>, FlowError>>,
    images: u64,
    rounds: usize,
) -> Result<Vec<f64>, FlowError> {
    let mut pass = |images: u64| -> Result<f64, FlowError> {
        let (start, mut done) = (Instant::now(), 0);
        while done < images {
            let batch = batches.next().expect("the pictures have no end")?;
            done += batch.len() as u64;
        }
        Ok(done as f64 / start.elapsed().as_secs_f64())
    };
    pass(WARM_UP)?;
    (0..rounds).map(|_| pass(images)).collect()
}
