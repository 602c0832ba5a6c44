//! A list of pictures; its lines as patterns of file names.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| intertwine_datasets::fuzzing::list(bytes));
