//! The memory that reading takes does not depend on how many records there are.

mod support;

use std::path::Path;
use std::sync::Arc;

use image::RgbImage;
use intertwine_datasets::{Mix, PackOptions, PackedSet, Scratch, Source};
use stats_alloc::{Region, Stats, StatsAlloc, INSTRUMENTED_SYSTEM};
use support::{draw, pack_quietly, save};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// A packed set of small pictures.
fn packed(folder: &Path, pictures: u32) {
    let drawn = folder.join(format!("{pictures}"));
    for i in 0..pictures {
        save(&drawn.join(format!("{i:04}.bmp")), &draw(8, 8, i));
    }
    let out = folder.join(format!("packed-{pictures}"));
    pack_quietly(&Source::new(drawn), &PackOptions::default(), &out);
}

/// What opening allocates, and what reading two epochs in shuffled order does after the first record.
fn allocated(folder: &Path, pictures: u32) -> (Stats, Stats) {
    let region = Region::new(ALLOCATOR);
    let set = PackedSet::open(&folder.join(format!("packed-{pictures}"))).unwrap();
    let mix = Mix::from(Arc::new(set));
    let opening = region.change();
    let (mut image, mut scratch) = (RgbImage::default(), Scratch::default());
    let mut read = |position| {
        let (set, number) = mix.locate(mix.at(position, 1).record);
        set.read_image_into(number, &mut image, &mut scratch)
            .unwrap();
    };
    read(0);
    let region = Region::new(ALLOCATOR);
    (1..2 * u64::from(pictures)).for_each(read);
    (opening, region.change())
}

// One test in this program: the allocator counts for all threads.
#[test]
fn memory_does_not_grow_with_the_records() {
    let folder = tempfile::tempdir().unwrap();
    packed(folder.path(), 20);
    packed(folder.path(), 1000);
    let (few, read_few) = allocated(folder.path(), 20);
    let (many, read_many) = allocated(folder.path(), 1000);
    // The manifest's numbers have a few more digits.
    let more = many.bytes_allocated.abs_diff(few.bytes_allocated);
    assert!(more < 256, "opening 980 more records takes {more} bytes");
    for (read, pictures) in [(read_few, 20), (read_many, 1000)] {
        assert_eq!(read.bytes_allocated, read.bytes_deallocated, "{read:?}");
        // The decoder's list of strips.
        let bytes = read.bytes_allocated / (2 * pictures - 1);
        assert!(bytes <= 16, "{bytes} bytes a picture: {read:?}");
    }
}
