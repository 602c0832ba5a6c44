//! Programs that must not compile, each with what the compiler says.
//!
//! The documentation of `intertwine::field` has the same cases as `compile_fail` examples, beside one
//! that compiles; those always run. These compare the messages too, but trybuild checks all
//! dependencies once more for that, which takes minutes the first time:
//! `cargo test --test compile_fail -- --ignored`

#[test]
#[ignore = "checks every dependency once more: minutes the first time"]
fn pixels_and_geometry_stay_together() {
    let tests = trybuild::TestCases::new();
    tests.compile_fail("tests/compile_fail/view_without_geometry.rs");
    tests.compile_fail("tests/compile_fail/pixels_cropped_alone.rs");
    tests.compile_fail("tests/compile_fail/geometry_swapped_alone.rs");
}
