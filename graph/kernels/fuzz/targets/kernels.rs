//! Any kernel on any shape, against its reference, under AddressSanitizer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| intertwine_kernels::fuzzing::check(bytes));
