//! A Pascal VOC annotation.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| intertwine_datasets::fuzzing::voc(bytes));
