//! The rows of a YOLO label file; the same text as its data.yaml.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| intertwine_datasets::fuzzing::yolo(bytes));
