//! Programs that must not compile, each with the reason the compiler gives.

#[test]
fn pixels_and_geometry_stay_together() {
    let tests = trybuild::TestCases::new();
    tests.pass("tests/compile_fail/crop_takes_both.rs");
    tests.compile_fail("tests/compile_fail/view_without_geometry.rs");
    tests.compile_fail("tests/compile_fail/pixels_cropped_alone.rs");
    tests.compile_fail("tests/compile_fail/geometry_swapped_alone.rs");
}
