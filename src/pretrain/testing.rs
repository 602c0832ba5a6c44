//! What the tests share.

use intertwine_datasets::scenes::{draw_scene, SceneConfig};
use intertwine_flow::random::{stream, Purpose};

use super::PretrainConfig;
use crate::augment::{MultiCrop, Scratch, Views};

/// The views of four drawn pictures, the same for equal configs.
pub(super) fn drawn_views(config: &PretrainConfig) -> [Box<Views>; 4] {
    let crops = MultiCrop::new(config.crops.clone()).unwrap();
    std::array::from_fn(|i| {
        let i = i as u64;
        let picture = draw_scene(&SceneConfig::default(), 1, i).image;
        let mut rng = stream(1, Purpose::Augment, 0, i);
        let (mut scratch, mut views) = (Scratch::default(), Box::<Views>::default());
        let cropped = crops.apply_into(&picture, &mut rng, &mut scratch, &mut views);
        cropped.unwrap();
        views
    })
}
