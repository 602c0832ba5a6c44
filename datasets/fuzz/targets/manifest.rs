//! The text of a manifest.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| intertwine_datasets::fuzzing::manifest(bytes));
