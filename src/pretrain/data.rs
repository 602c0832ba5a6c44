//! From shards to batches: `Shards > Shuffle > Crop > Batch > Mask > Step`.

use std::num::NonZeroUsize;
use std::sync::Arc;

use intertwine_datasets::{Mix, Rank};
use intertwine_flow::random::{stream, Purpose};
use intertwine_flow::{stage, stage_with, Pool, Pooled, Source};

use super::batch::Batch;
use super::config::PretrainConfig;
use crate::augment::{AugmentError, MultiCrop, Scratch, Views};
use crate::config::ConfigError;
use crate::feed::Feed;
use crate::nn::positions::Encoding;
use crate::records::{Picture, Records};

/// The batches of steps `from..`, in `optim.accumulate` parts each.
///
/// Several processes take turns, a part each. So rank `r` of `n` reads, part for part, what one process
/// reads as every `n`-th part from the `r`-th on.
///
/// # Errors
/// If the crops' config makes no sense.
pub fn batches(
    sets: &Arc<Mix>,
    config: &PretrainConfig,
    encoding: (Encoding, usize),
    rank: Rank,
    from: u64,
) -> Result<Feed<Batch>, ConfigError> {
    let crops = MultiCrop::new(config.crops.clone()).map_err(|e| e.within("crops"))?;
    let (seed, mask) = (config.seed, config.mask.clone());
    let part = config.optim.batch / config.optim.accumulate.max(1);
    let size = NonZeroUsize::new(part).unwrap_or(NonZeroUsize::MIN);
    let part = size.get() as u64;
    let order = {
        let sets = sets.clone();
        move |own| Records::position(&sets, sets.at(rank.position(own, part), seed))
    };
    let views: Pool<Views> = Pool::new(Views::default);
    let crop =
        move |picture: Picture, scratch: &mut Scratch| -> Result<Pooled<Views>, AugmentError> {
            let mut rng = stream(seed, Purpose::Augment, picture.epoch, picture.record as u64);
            let mut views = views.take();
            crops.apply_into(&picture.image, &mut rng, scratch, &mut views)?;
            Ok(views)
        };
    let arrange = move |items: intertwine_flow::Batch<Pooled<Views>>| {
        let index = rank.position(items.positions().start / part, 1);
        Batch::new(&items, encoding, &mask, seed, index)
    };
    let graph = Records::new(sets.clone())
        .graph()
        .reorder("Shuffle", order)
        .then(stage_with("Crop", Scratch::default, crop))
        .batch_exact(size)
        .then(stage("Mask", arrange))
        .sink("Step");
    Ok(Feed::new(graph, from * config.optim.batch as u64))
}

#[cfg(test)]
mod tests {
    use intertwine_datasets::scenes::{write_pictures, SceneConfig};
    use intertwine_datasets::{pack, PackOptions, PackedSet};

    use super::*;
    use crate::config::resolve;
    use crate::pretrain::config::PRESETS;

    /// Packed drawn pictures.
    fn packed(
        folder: &std::path::Path,
        name: &str,
        pictures: std::ops::Range<u64>,
    ) -> Arc<PackedSet> {
        let drawn = folder.join(format!("{name}-drawn"));
        let scenes = SceneConfig {
            size: 48,
            ..SceneConfig::default()
        };
        write_pictures(&drawn, &scenes, 5, pictures).unwrap();
        let out = folder.join(name);
        let source = intertwine_datasets::Source::new(drawn);
        pack(&source, &PackOptions::default(), &out, &|_| {}).unwrap();
        Arc::new(PackedSet::open(&out).unwrap())
    }

    /// What tells parts apart: the pixels and the masks.
    type Content = (Vec<f32>, Vec<u32>);

    /// The first parts that a rank of so many reads, from a step on.
    fn parts(
        sets: &Arc<Mix>,
        rank: (u64, u64),
        accumulate: usize,
        from: u64,
        count: usize,
    ) -> Vec<Content> {
        let settings = [
            format!("optim.batch={}", 2 * accumulate),
            format!("optim.accumulate={accumulate}"),
            "mask.probability=1.0".into(),
        ];
        let config: PretrainConfig = resolve(PRESETS, "pico", None, &settings).unwrap();
        let rank = Rank::new(rank.0, rank.1, sets.len() as u64).unwrap();
        let mut feed = batches(sets, &config, (Encoding::View(0), 8), rank, from).unwrap();
        (0..count)
            .map(|_| {
                let part = feed.next_part().unwrap();
                let patches = part.student_input().patches.into_owned();
                (patches, part.masked)
            })
            .collect()
    }

    #[test]
    fn ranks_read_together_what_one_process_reads() {
        let folder = tempfile::tempdir().unwrap();
        let a = packed(folder.path(), "a", 0..7);
        let b = packed(folder.path(), "b", 7..12);
        let sets = Arc::new(Mix::new(vec![(a, None), (b, Some(0.4))]).unwrap());
        let alone = parts(&sets, (0, 1), 6, 0, 12);
        assert_ne!(alone[0], alone[6], "the second step repeats the first");
        // Six parts to a step whatever the ranks; each run is stopped after its first step and goes on.
        for ranks in [2, 3] {
            let accumulate = 6 / ranks;
            for rank in 0..ranks {
                for step in [0, 1] {
                    let own = parts(
                        &sets,
                        (rank as u64, ranks as u64),
                        accumulate,
                        step,
                        accumulate,
                    );
                    let expected = alone[6 * step as usize..][..6].iter();
                    let expected: Vec<_> = expected.skip(rank).step_by(ranks).cloned().collect();
                    assert!(own == expected, "rank {rank} of {ranks}, step {step}");
                }
            }
        }
    }
}
