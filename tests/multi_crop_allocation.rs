//! Rendering the views of a picture allocates nothing once the buffers are there, exact or fast.
//!
//! One test in a binary of its own, because the counters are those of the whole process.

use image::{Rgb, RgbImage};
use intertwine::augment::{MultiCrop, MultiCropConfig, Scratch, Views};
use intertwine_flow::random::{stream, Purpose};
use stats_alloc::{Region, StatsAlloc, INSTRUMENTED_SYSTEM};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn views_are_rendered_without_an_allocation() {
    let picture = |w, h| RgbImage::from_fn(w, h, |x, y| Rgb([x as u8, y as u8, (x * y) as u8]));
    let pictures = [picture(341, 256), picture(256, 300)];
    for fast in [false, true] {
        let config = MultiCropConfig {
            fast,
            ..MultiCropConfig::default()
        };
        let multi_crop = MultiCrop::new(config).unwrap();
        let (mut scratch, mut views) = (Scratch::default(), Views::default());
        let mut pass = || {
            for index in 0..24 {
                let mut rng = stream(1, Purpose::Augment, 0, index);
                let picture = &pictures[index as usize % 2];
                multi_crop
                    .apply_into(picture, &mut rng, &mut scratch, &mut views)
                    .unwrap();
            }
        };
        // The same crops again, so that no buffer has to grow any more.
        pass();
        let region = Region::new(ALLOCATOR);
        pass();
        let change = region.change();
        let found = (change.allocations, change.reallocations);
        assert_eq!(found, (0, 0), "fast = {fast}: {change:?}");
    }
}
