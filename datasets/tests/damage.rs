//! A shard or manifest damaged in any byte, or cut off anywhere: found or harmless, without a panic and
//! without more memory than the sound set takes.

mod support;

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use intertwine_datasets::{Encoding, PackOptions, PackedSet, Result, Sample, Source};
use stats_alloc::{Region, StatsAlloc, INSTRUMENTED_SYSTEM};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// Each bit alone, and all of them.
const CHANGES: [u8; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 255];

fn read_all(folder: &Path) -> Result<Vec<Sample>> {
    let set = PackedSet::open(folder)?;
    (0..set.len()).map(|record| set.read(record)).collect()
}

/// A file that is changed in place: a file system may wait for the disk when a file is written anew.
struct Victim {
    file: File,
    bytes: Vec<u8>,
}

impl Victim {
    fn new(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        assert!(
            bytes.len() < 10_000,
            "{} bytes make this test slow",
            bytes.len()
        );
        let file = File::options().write(true).open(path).unwrap();
        Self { file, bytes }
    }

    fn put(&mut self, at: usize, byte: u8) {
        self.file.seek(SeekFrom::Start(at as u64)).unwrap();
        self.file.write_all(&[byte]).unwrap();
    }

    /// Changes byte after byte; returns how many of the changes are errors. Others must change nothing.
    fn each_byte(&mut self, changes: &[u8], set: &Path, sound: &[Sample], bound: usize) -> usize {
        let mut found = 0;
        for (at, byte) in self.bytes.clone().into_iter().enumerate() {
            for &change in changes {
                self.put(at, byte ^ change);
                let region = Region::new(ALLOCATOR);
                match read_all(set) {
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
            self.put(at, byte);
        }
        found
    }

    /// Cuts the file off at every length.
    fn each_length(&mut self, set: &Path) {
        self.put(self.bytes.len(), 0);
        assert!(read_all(set).is_err(), "one byte longer");
        for length in (0..self.bytes.len()).rev() {
            self.file.set_len(length as u64).unwrap();
            assert!(read_all(set).is_err(), "cut to {length}");
        }
    }
}

// One test in this program: the allocator counts for all threads.
#[test]
fn every_byte_and_every_length() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::new(support::labelled(folder.path()));
    for encoding in [Encoding::Raw, Encoding::Zpix, Encoding::Jpeg] {
        let set = folder.path().join(format!("{encoding:?}"));
        let options = PackOptions {
            encoding,
            ..PackOptions::default()
        };
        support::pack_quietly(&source, &options, &set);
        let region = Region::new(ALLOCATOR);
        let sound = read_all(&set).unwrap();
        // Opening is about 100 KB; zstd's tables are not in the count, they come from C.
        let bound = 2 * region.change().bytes_allocated + (64 << 10);

        let mut shard = Victim::new(&set.join("shard-00000.itw"));
        let changes = match encoding {
            Encoding::Zpix => &CHANGES[..],
            _ => &[1, 128, 255],
        };
        // Harmless are only the zeros between records and in the header.
        let found = shard.each_byte(changes, &set, &sound, bound);
        let all = changes.len() * shard.bytes.len();
        assert!(found > all * 3 / 4, "{found} of {all} found");
        for at in (0..shard.bytes.len()).step_by(8) {
            shard.put(at, !shard.bytes[at]);
            let problems = PackedSet::open(&set).map_or(1, |set| set.verify().problems.len());
            assert!(problems > 0, "byte {at} passes verify");
            shard.put(at, shard.bytes[at]);
        }
        assert_eq!(PackedSet::open(&set).unwrap().verify().problems.len(), 0);

        // The manifest has no checksum. What a change leaves to be read are the same records; it can go
        // unnoticed in names of categories and in how the set was packed.
        let mut manifest = Victim::new(&set.join("manifest.json"));
        let found = manifest.each_byte(changes, &set, &sound, bound);
        let all = changes.len() * manifest.bytes.len();
        assert!(found > all / 2, "{found} of {all} found");
        assert!(PackedSet::open(&set).is_ok());

        shard.each_length(&set);
    }
}
