//! The detector for programs in C.
//!
//! Every function may be called from any thread, but each detector from one at a time. Nothing here panics across the
//! border: a defect of ours becomes an error like any other.

use std::ffi::{c_char, CStr, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;
use std::ptr;
use std::slice;

use image::RgbImage;
use intertwine_detect::{DetectError, Detector, Thresholds};

/// A model made ready, with its buffers. Made by `intertwine_load` or `intertwine_load_bytes`, freed by
/// `intertwine_free`.
pub struct IntertwineDetector {
    detector: Detector,
    /// Names of the classes, ending in zero.
    names: Vec<CString>,
    /// Their ids.
    ids: Vec<u32>,
    picture: RgbImage,
    found: Vec<IntertwineDetection>,
    error: CString,
}

/// A thing found in a picture. What its pointers point to lives until the next call for the same detector.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct IntertwineDetection {
    /// Left edge, pixels of the picture.
    pub x0: f32,
    /// Upper edge.
    pub y0: f32,
    /// Right edge.
    pub x1: f32,
    /// Lower edge.
    pub y1: f32,
    /// Probability, 0 to 1.
    pub score: f32,
    /// Place of its class in the model's list.
    pub class_index: u32,
    /// The class's id in the data that the model was trained on.
    pub category_id: u32,
    /// The class's name, UTF-8.
    pub name: *const c_char,
    /// The mask as COCO's run lengths, columns first: pixels outside, inside, outside, .. of the whole picture. NULL if
    /// the model has no masks.
    pub mask_runs: *const u32,
    /// How many runs.
    pub mask_run_count: usize,
}

/// What a function returns.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntertwineStatus {
    /// It did what it says.
    Ok = 0,
    /// A pointer is NULL, or a number impossible; `intertwine_error` says which.
    BadArgument = 1,
    /// It failed; `intertwine_error` says why.
    Failed = 2,
}

/// Reads a model from a file. NULL if it cannot be used: then `error`, of `error_size` bytes, holds why, cut to fit and
/// ending in zero; it may be NULL.
///
/// # Safety
/// `path` is NULL or ends in zero; `error` is NULL or has `error_size` bytes.
#[no_mangle]
pub unsafe extern "C" fn intertwine_load(
    path: *const c_char,
    error: *mut c_char,
    error_size: usize,
) -> *mut IntertwineDetector {
    let load = || {
        if path.is_null() {
            return Err("the path is NULL".to_owned());
        }
        // SAFETY: the caller's promise.
        let path = unsafe { CStr::from_ptr(path) };
        let path = path
            .to_str()
            .map_err(|_| "the path is not UTF-8".to_owned())?;
        Detector::load(Path::new(path)).map_err(|e| e.to_string())
    };
    // SAFETY: the caller's promise.
    unsafe { made(load, error, error_size) }
}

/// Reads a model from memory, which is not needed afterwards. Otherwise as `intertwine_load`.
///
/// # Safety
/// `bytes` is NULL or has `size` bytes; `error` is NULL or has `error_size` bytes.
#[no_mangle]
pub unsafe extern "C" fn intertwine_load_bytes(
    bytes: *const u8,
    size: usize,
    error: *mut c_char,
    error_size: usize,
) -> *mut IntertwineDetector {
    let load = || {
        if bytes.is_null() {
            return Err("the model is NULL".to_owned());
        }
        // SAFETY: the caller's promise.
        let bytes = unsafe { slice::from_raw_parts(bytes, size) };
        Detector::from_bytes(bytes).map_err(|e| e.to_string())
    };
    // SAFETY: the caller's promise.
    unsafe { made(load, error, error_size) }
}

/// Frees a detector and all it gave out. NULL is allowed.
///
/// # Safety
/// `detector` is NULL or was made here and not freed before.
#[no_mangle]
pub unsafe extern "C" fn intertwine_free(detector: *mut IntertwineDetector) {
    if !detector.is_null() {
        // SAFETY: it came from Box::into_raw in `made`, and the caller frees it once.
        drop(unsafe { Box::from_raw(detector) });
    }
}

/// Side of the network's square input, pixels; pictures of any size are fitted into it. 0 for NULL.
///
/// # Safety
/// `detector` is NULL or was made here.
#[no_mangle]
pub unsafe extern "C" fn intertwine_input_size(detector: *const IntertwineDetector) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { detector.as_ref() }.map_or(0, |d| d.detector.card().input_size)
}

/// How many classes the model knows. 0 for NULL.
///
/// # Safety
/// `detector` is NULL or was made here.
#[no_mangle]
pub unsafe extern "C" fn intertwine_class_count(detector: *const IntertwineDetector) -> usize {
    // SAFETY: the caller's promise.
    unsafe { detector.as_ref() }.map_or(0, |d| d.names.len())
}

/// The name of a class, UTF-8, which lives as long as the detector. NULL if there is none.
///
/// # Safety
/// `detector` is NULL or was made here.
#[no_mangle]
pub unsafe extern "C" fn intertwine_class_name(
    detector: *const IntertwineDetector,
    class_index: usize,
) -> *const c_char {
    // SAFETY: the caller's promise.
    let name = unsafe { detector.as_ref() }.and_then(|d| d.names.get(class_index));
    name.map_or(ptr::null(), |name| name.as_ptr())
}

/// How many threads may work on one picture; at first one.
///
/// # Safety
/// `detector` is NULL or was made here.
#[no_mangle]
pub unsafe extern "C" fn intertwine_set_threads(
    detector: *mut IntertwineDetector,
    threads: usize,
) -> IntertwineStatus {
    // SAFETY: the caller's promise.
    match (unsafe { detector.as_mut() }, threads.try_into()) {
        (Some(this), Ok(threads)) => this.run(|this| this.detector.set_threads(threads)),
        (Some(this), Err(_)) => this.refuse("0 threads, expected 1 or more"),
        (None, _) => IntertwineStatus::BadArgument,
    }
}

/// The lowest score that is kept, 0 to 1; at first what the model recommends for people.
///
/// # Safety
/// `detector` is NULL or was made here.
#[no_mangle]
pub unsafe extern "C" fn intertwine_set_score(
    detector: *mut IntertwineDetector,
    score: f32,
) -> IntertwineStatus {
    // SAFETY: the caller's promise.
    match unsafe { detector.as_mut() } {
        Some(this) if (0.0..=1.0).contains(&score) => this.run(|this| {
            let thresholds = Thresholds {
                score,
                ..*this.detector.thresholds()
            };
            this.detector.set_thresholds(thresholds);
            Ok(())
        }),
        Some(this) => this.refuse(&format!("the score is {score}, expected 0 to 1")),
        None => IntertwineStatus::BadArgument,
    }
}

/// Finds things in a picture: `rgb` holds three bytes a pixel (red, green, blue), a row every `stride` bytes, at least
/// 3 * width. `found` then points to `count` detections, the strongest first, which live until the next call; if it fails, to
/// none.
///
/// # Safety
/// `detector` is NULL or was made here; `rgb` is NULL or has (height - 1) * stride + 3 * width bytes; `found` and `count`
/// are NULL or can be written.
#[no_mangle]
pub unsafe extern "C" fn intertwine_detect(
    detector: *mut IntertwineDetector,
    rgb: *const u8,
    width: u32,
    height: u32,
    stride: usize,
    found: *mut *const IntertwineDetection,
    count: *mut usize,
) -> IntertwineStatus {
    // SAFETY: the caller's promise.
    let this = unsafe { detector.as_mut() };
    let missing = [
        ("rgb", rgb.is_null()),
        ("found", found.is_null()),
        ("count", count.is_null()),
    ];
    let missing = missing.iter().find(|(_, is_null)| *is_null);
    let (status, results) = match (this, missing, bytes(width, height, stride)) {
        (None, ..) => (IntertwineStatus::BadArgument, &[][..]),
        (Some(this), Some((name, _)), _) => (this.refuse(&format!("{name} is NULL")), &[][..]),
        (Some(this), None, None) => {
            let why = format!(
                "{width} x {height} pixels in rows of {stride} bytes; expected at least one pixel, rows of at least \
                 3 * width bytes, and no more bytes in all than memory can hold"
            );
            (this.refuse(&why), &[][..])
        }
        (Some(this), None, Some(bytes)) => {
            // SAFETY: it is not NULL, and the caller's promise.
            let rgb = unsafe { slice::from_raw_parts(rgb, bytes) };
            let status = this.run(|this| this.detect(rgb, width, height, stride));
            (status, &this.found[..])
        }
    };
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(found) = found.as_mut() {
            *found = results.as_ptr();
        }
        if let Some(count) = count.as_mut() {
            *count = results.len();
        }
    }
    status
}

/// How many bytes a picture has; none if there is no such picture.
fn bytes(width: u32, height: u32, stride: usize) -> Option<usize> {
    let row = (width as usize).checked_mul(3)?;
    let rows = (height as usize).checked_sub(1)?;
    let bytes = rows.checked_mul(stride)?.checked_add(row)?;
    (row > 0 && stride >= row && bytes <= isize::MAX as usize).then_some(bytes)
}

/// Why the last call for this detector failed, UTF-8, which lives until the next one. Empty if it did not.
///
/// # Safety
/// `detector` is NULL or was made here.
#[no_mangle]
pub unsafe extern "C" fn intertwine_error(detector: *const IntertwineDetector) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { detector.as_ref() }.map_or(c"the detector is NULL".as_ptr(), |d| d.error.as_ptr())
}

impl IntertwineDetector {
    fn new(detector: Detector) -> Self {
        let classes = &detector.card().classes;
        Self {
            names: classes.iter().map(|class| text(&class.name)).collect(),
            ids: classes.iter().map(|class| class.id).collect(),
            detector,
            picture: RgbImage::new(0, 0),
            found: Vec::new(),
            error: CString::default(),
        }
    }

    /// Runs what may fail, and keeps why it did.
    fn run(&mut self, work: impl FnOnce(&mut Self) -> Result<(), DetectError>) -> IntertwineStatus {
        self.error = CString::default();
        self.found.clear();
        let outcome = catch_unwind(AssertUnwindSafe(|| work(self)));
        let error = match outcome {
            Ok(Ok(())) => return IntertwineStatus::Ok,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "a defect in the detector: it panicked".to_owned(),
        };
        self.found.clear();
        self.error = text(&error);
        IntertwineStatus::Failed
    }

    /// Does nothing for a call that cannot be meant, and keeps why.
    fn refuse(&mut self, why: &str) -> IntertwineStatus {
        self.found.clear();
        self.error = text(why);
        IntertwineStatus::BadArgument
    }

    fn detect(
        &mut self,
        rgb: &[u8],
        width: u32,
        height: u32,
        stride: usize,
    ) -> Result<(), DetectError> {
        let row = 3 * width as usize;
        let mut pixels = std::mem::take(&mut self.picture).into_raw();
        pixels.clear();
        for line in rgb.chunks(stride) {
            pixels.extend_from_slice(&line[..row]);
        }
        self.picture = RgbImage::from_raw(width, height, pixels).unwrap_or_default();
        let Self {
            detector,
            names,
            ids,
            picture,
            found,
            ..
        } = self;
        let kept = detector.detect(picture)?;
        found.extend(kept.iter().map(|d| {
            let runs = d.mask.as_ref().map(|mask| mask.counts());
            IntertwineDetection {
                x0: d.bbox[0],
                y0: d.bbox[1],
                x1: d.bbox[2],
                y1: d.bbox[3],
                score: d.score,
                class_index: d.class as u32,
                category_id: ids[d.class],
                name: names[d.class].as_ptr(),
                mask_runs: runs.map_or(ptr::null(), <[u32]>::as_ptr),
                mask_run_count: runs.map_or(0, <[u32]>::len),
            }
        }));
        Ok(())
    }
}

/// A text for C: up to its first zero, if it holds one.
fn text(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).unwrap_or_default()
}

/// A detector on the heap, or NULL and why in `error`.
///
/// # Safety
/// `error` is NULL or has `size` bytes.
unsafe fn made(
    load: impl FnOnce() -> Result<Detector, String>,
    error: *mut c_char,
    size: usize,
) -> *mut IntertwineDetector {
    let outcome = catch_unwind(AssertUnwindSafe(load))
        .unwrap_or_else(|_| Err("a defect in the loader: it panicked".to_owned()));
    match outcome {
        Ok(detector) => Box::into_raw(Box::new(IntertwineDetector::new(detector))),
        Err(why) => {
            if !error.is_null() && size > 0 {
                // Whole characters only.
                let end = why.floor_char_boundary(size - 1);
                let bytes = &why.as_bytes()[..end];
                // SAFETY: end < size, and the caller's promise.
                unsafe {
                    ptr::copy_nonoverlapping(bytes.as_ptr(), error.cast(), end);
                    *error.add(end) = 0;
                }
            }
            ptr::null_mut()
        }
    }
}
