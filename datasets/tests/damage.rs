//! A shard damaged in every possible single byte, or cut off anywhere: found or harmless, without a panic
//! and without more memory than the sound shard takes.

mod support;

use std::fs;

use intertwine_datasets::{PackedSet, Result, Sample};
use stats_alloc::{Region, StatsAlloc, INSTRUMENTED_SYSTEM};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

fn read_all(folder: &std::path::Path) -> Result<Vec<Sample>> {
    let set = PackedSet::open(folder)?;
    (0..set.len()).map(|record| set.read(record)).collect()
}

// One test in this program: the allocator counts for all threads.
#[test]
fn every_byte_and_every_length() {
    let folder = tempfile::tempdir().unwrap();
    drop(support::small_set(folder.path()));
    let set = folder.path().join("set");
    let region = Region::new(ALLOCATOR);
    let sound = read_all(&set).unwrap();
    // Opening is about 100 KB; zstd's tables are not in the count, they come from C.
    let bound = 2 * region.change().bytes_allocated + (64 << 10);

    let shard = set.join("shard-00000.itw");
    let bytes = fs::read(&shard).unwrap();
    assert!(
        bytes.len() < 10_000,
        "{} bytes make this test slow",
        bytes.len()
    );
    let mut found = 0;
    for at in 0..bytes.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= change;
            fs::write(&shard, &damaged).unwrap();
            let region = Region::new(ALLOCATOR);
            match read_all(&set) {
                Ok(samples) => {
                    assert_eq!(samples, sound, "byte {at} changed by {change:#x} unnoticed")
                }
                Err(_) => found += 1,
            }
            let allocated = region.change().bytes_allocated;
            assert!(
                allocated < bound,
                "byte {at} changed by {change:#x}: {allocated} bytes allocated"
            );
            if at % 8 == 0 && change == 1 {
                let problems = PackedSet::open(&set).map_or(1, |set| set.verify().problems.len());
                assert!(problems > 0, "byte {at} passes verify");
            }
        }
    }
    // Harmless are only the zeros between records.
    assert!(
        found > 3 * bytes.len() * 3 / 4,
        "{found} of {} found",
        3 * bytes.len()
    );

    for length in 0..bytes.len() {
        fs::write(&shard, &bytes[..length]).unwrap();
        assert!(read_all(&set).is_err(), "cut to {length}");
    }
    fs::write(&shard, [&bytes[..], &[0]].concat()).unwrap();
    assert!(read_all(&set).is_err(), "one byte longer");
    fs::write(&shard, &bytes).unwrap();
    assert_eq!(PackedSet::open(&set).unwrap().verify().problems.len(), 0);
}
