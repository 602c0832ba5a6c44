//! What a C program can do wrong is an error, not a crash.

use std::ffi::{CStr, CString};
use std::ptr::{null, null_mut};

use intertwine_detect_c::*;

fn model() -> CString {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/squares.onnx");
    CString::new(path).unwrap()
}

fn load() -> *mut IntertwineDetector {
    // SAFETY: the path ends in zero; no error is asked for.
    let detector = unsafe { intertwine_load(model().as_ptr(), null_mut(), 0) };
    assert!(!detector.is_null());
    detector
}

#[test]
fn a_load_that_fails_says_why_in_the_room_it_has() {
    let path = CString::new("no/such/model.onnx").unwrap();
    for size in [1, 2, 20, 400] {
        let mut error = vec![1; size];
        // SAFETY: the path ends in zero, `error` has `size` bytes.
        let detector = unsafe { intertwine_load(path.as_ptr(), error.as_mut_ptr(), size) };
        assert!(detector.is_null());
        // SAFETY: it was ended within its size.
        let text = unsafe { CStr::from_ptr(error.as_ptr()) }.to_str().unwrap();
        assert!(
            text.len() < size
                && "model no/such/model.onnx: cannot read".starts_with(&text[..text.len().min(30)]),
            "{text}"
        );
    }
    // SAFETY: NULL is allowed everywhere.
    unsafe {
        assert!(intertwine_load(null(), null_mut(), 0).is_null());
        assert!(intertwine_load_bytes(null(), 9, null_mut(), 0).is_null());
        intertwine_free(null_mut());
        assert_eq!(intertwine_class_count(null()), 0);
        assert!(intertwine_class_name(null(), 0).is_null());
        assert!(!intertwine_error(null()).is_null());
    }
}

#[test]
fn impossible_arguments_are_refused_and_the_detector_goes_on() {
    let detector = load();
    let rgb = vec![128u8; 3 * 64 * 64 + 7];
    let (mut found, mut count) = (null(), 9);
    let mut detect = |pixels: *const u8, width, height, stride| {
        // SAFETY: `rgb` has more bytes than any of the shapes below that is not refused.
        let status = unsafe {
            intertwine_detect(
                detector, pixels, width, height, stride, &mut found, &mut count,
            )
        };
        (status, count)
    };
    use IntertwineStatus::BadArgument;
    assert_eq!(detect(null(), 64, 64, 192).0, BadArgument);
    assert_eq!(detect(rgb.as_ptr(), 0, 64, 192).0, BadArgument);
    assert_eq!(detect(rgb.as_ptr(), 64, 0, 192).0, BadArgument);
    assert_eq!(detect(rgb.as_ptr(), 64, 64, 191).0, BadArgument);
    assert_eq!(
        detect(rgb.as_ptr(), u32::MAX, u32::MAX, usize::MAX).0,
        BadArgument
    );
    // Nothing is left of an earlier call.
    assert_eq!(detect(rgb.as_ptr(), 0, 64, 192), (BadArgument, 0));
    // Rows may be longer than the picture is wide.
    assert_eq!(detect(rgb.as_ptr(), 63, 64, 192), (IntertwineStatus::Ok, 0));
    assert_eq!(detect(rgb.as_ptr(), 64, 64, 192), (IntertwineStatus::Ok, 0));
    // SAFETY: the detector lives.
    unsafe {
        let error = || CStr::from_ptr(intertwine_error(detector)).to_str().unwrap();
        assert_eq!(intertwine_set_score(detector, f32::NAN), BadArgument);
        assert_eq!(error(), "the score is NaN, expected 0 to 1");
        assert_eq!(intertwine_set_score(detector, 0.5), IntertwineStatus::Ok);
        assert_eq!(error(), "");
        assert_eq!(intertwine_set_threads(detector, 0), BadArgument);
        assert_eq!(error(), "0 threads, expected 1 or more");
        assert_eq!(intertwine_set_threads(detector, 2), IntertwineStatus::Ok);
        let mut count = 9;
        let (pixels, count_at) = (rgb.as_ptr(), &raw mut count);
        let status = intertwine_detect(detector, pixels, 64, 64, 192, null_mut(), count_at);
        assert_eq!((status, count, error()), (BadArgument, 0, "found is NULL"));
        count = 9;
        let mut found = pixels.cast();
        let found_at = &raw mut found;
        let status = intertwine_detect(detector, pixels, 64, 64, 191, found_at, count_at);
        assert_eq!((status, count), (BadArgument, 0));
        assert_ne!(found, pixels.cast());
        assert!(error().starts_with("64 x 64 pixels in rows of 191 bytes; expected"));
        // Without a detector too.
        count = 9;
        let status = intertwine_detect(null_mut(), pixels, 64, 64, 192, found_at, count_at);
        assert_eq!((status, count), (BadArgument, 0));
        assert_eq!(intertwine_set_score(detector, 0.5), IntertwineStatus::Ok);
        assert_eq!(intertwine_input_size(detector), 128);
        let name = CStr::from_ptr(intertwine_class_name(detector, 0));
        assert_eq!(name.to_str(), Ok("bright"));
        assert!(intertwine_class_name(detector, 99).is_null());
        assert_eq!(CStr::from_ptr(intertwine_error(detector)).to_str(), Ok(""));
        intertwine_free(detector);
    }
}
