//! A shard damaged in every possible single byte, or cut off anywhere: found or harmless, without a panic
//! and without more memory than the sound shard takes.

mod support;

use std::fs;
use std::io::{Seek, SeekFrom, Write};

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
    // Changed in place: a file system may wait for the disk when a file is written anew.
    let mut file = fs::File::options().write(true).open(&shard).unwrap();
    let mut put = |at: usize, byte: u8| {
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        file.write_all(&[byte]).unwrap();
    };
    let mut found = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        for change in [0x01, 0x80, 0xff] {
            put(at, byte ^ change);
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
        }
        if at % 8 == 0 {
            let problems = PackedSet::open(&set).map_or(1, |set| set.verify().problems.len());
            assert!(problems > 0, "byte {at} passes verify");
        }
        put(at, byte);
    }
    // Harmless are only the zeros between records.
    assert!(
        found > 3 * bytes.len() * 3 / 4,
        "{found} of {} found",
        3 * bytes.len()
    );

    assert_eq!(PackedSet::open(&set).unwrap().verify().problems.len(), 0);
    file.write_all(&[0]).unwrap();
    assert!(read_all(&set).is_err(), "one byte longer");
    for length in (0..bytes.len()).rev() {
        file.set_len(length as u64).unwrap();
        assert!(read_all(&set).is_err(), "cut to {length}");
    }
}
