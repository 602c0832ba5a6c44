//! Wiring is checked by the compiler: graphs that fit compile, others say why they do not.

#[test]
fn only_graphs_that_fit_compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/wiring/fits.rs");
    cases.compile_fail("tests/wiring/stage_does_not_fit.rs");
    cases.compile_fail("tests/wiring/closure_does_not_fit.rs");
    cases.compile_fail("tests/wiring/batch_does_not_fit.rs");
    cases.compile_fail("tests/wiring/no_source.rs");
    cases.compile_fail("tests/wiring/run_changes_thread.rs");
}
