//! A shard with sound checksums and any contents.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| intertwine_datasets::fuzzing::shard(bytes));
