//! Wiring is checked by the compiler: graphs that fit compile, others say why they do not.
//!
//! The messages are those of the Rust release the project is built with.

#[path = "wiring/fits.rs"]
mod fits;

#[test]
fn graphs_that_fit_compile_and_run() {
    fits::main();
}

#[test]
fn graphs_that_do_not_fit_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/wiring/fail_*.rs");
}
