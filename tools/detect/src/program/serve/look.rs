//! A picture looked at: bytes to pixels to detections to the bytes of an answer, on a worker's thread.

use std::io::Cursor;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use image::RgbImage;
use intertwine_detect::coco::{self, Segmentation};
use intertwine_detect::draw::draw;
use intertwine_detect::{picture, DetectError, Detection, Detector, ModelCard, Thresholds};
use serde::Serialize;
use tokio::sync::oneshot;

use super::answer;
use super::fault::Fault;
use super::metrics::Metrics;
use super::pool::Job;
use super::query::{Form, Wish};
use super::upload::Upload;
use crate::program::{encode, milliseconds};

/// A picture to be looked at.
pub struct Look {
    /// Its file.
    pub picture: Upload,
    /// What is wanted of it.
    pub wish: Wish,
    /// Who waits for the answer.
    pub reply: oneshot::Sender<Result<Response<Full<Bytes>>, Fault>>,
}

impl Job for Look {
    fn wanted(&self) -> bool {
        !self.reply.is_closed()
    }
}

/// What all workers share: the detector that theirs are copies of, and where they count.
pub struct Lookout {
    prototype: Mutex<Detector>,
    card: ModelCard,
    thresholds: Thresholds,
    max_pixels: u64,
    metrics: Arc<Metrics>,
}

/// The answer in JSON.
#[derive(Serialize)]
struct Report<'a> {
    picture: Size,
    /// Lowest score of a detection.
    score: f32,
    /// Strongest first.
    detections: Vec<Found<'a>>,
    timing_ms: Timing,
}

/// Pixels.
#[derive(Serialize)]
struct Size {
    width: u32,
    height: u32,
}

/// As in a COCO result file, but for the picture's id, and with the name of the category.
#[derive(Serialize)]
struct Found<'a> {
    category_id: u32,
    category_name: &'a str,
    /// `[x, y, width, height]`, pixels of the picture.
    bbox: [f32; 4],
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    segmentation: Option<Segmentation>,
}

#[derive(Serialize)]
struct Timing {
    decode: f64,
    detect: f64,
}

impl Lookout {
    /// For workers that find what this detector finds, in pictures of so many pixels at most.
    pub fn new(prototype: Detector, max_pixels: u64, metrics: Arc<Metrics>) -> Self {
        Self {
            card: prototype.card().clone(),
            thresholds: *prototype.thresholds(),
            prototype: Mutex::new(prototype),
            max_pixels,
            metrics,
        }
    }

    /// Looks at a picture with a worker's detector, which is made when it is first needed.
    pub fn look(&self, detector: &mut Option<Detector>, look: Look) {
        let Look {
            picture,
            wish,
            reply,
        } = look;
        let answer = self.answer(detector, picture, wish, || reply.is_closed());
        if let Some(answer) = answer.transpose() {
            // Gone in the meantime: nobody to tell.
            let _ = reply.send(answer);
        }
    }

    /// The answer; none when nobody waits for it any more.
    fn answer(
        &self,
        detector: &mut Option<Detector>,
        upload: Upload,
        wish: Wish,
        gone: impl Fn() -> bool,
    ) -> Result<Option<Response<Full<Bytes>>>, Fault> {
        let start = Instant::now();
        let picture = picture::decode_up_to(&upload.bytes, self.max_pixels)?;
        drop(upload);
        let decode = start.elapsed();
        if gone() {
            return Ok(None);
        }

        let failed = |error: DetectError| Fault::Detect(error.to_string());
        let detector = match detector {
            Some(detector) => detector,
            None => detector.insert(self.copy().map_err(failed)?),
        };
        let thresholds = Thresholds {
            score: wish.score.unwrap_or(self.thresholds.score),
            ..self.thresholds
        };
        detector.set_thresholds(thresholds);
        let start = Instant::now();
        let detections = detector.detect(&picture).map_err(failed)?;
        let detect = start.elapsed();

        self.metrics.pictures.fetch_add(1, Relaxed);
        let found = detections.len() as u64;
        self.metrics.detections.fetch_add(found, Relaxed);
        self.metrics.decode.observe(decode);
        self.metrics.detect.observe(detect);
        if gone() {
            return Ok(None);
        }
        let canvas = || draw(&picture, detections, &self.card.classes);
        let response = match wish.form {
            Form::Json => {
                let timing_ms = Timing {
                    decode: milliseconds(decode),
                    detect: milliseconds(detect),
                };
                let report = Report {
                    picture: Size {
                        width: picture.width(),
                        height: picture.height(),
                    },
                    score: thresholds.score,
                    detections: self.found(detections),
                    timing_ms,
                };
                Ok(answer::json(&report))
            }
            Form::Jpeg => drawn(&canvas(), true),
            Form::Png => drawn(&canvas(), false),
        };
        response.map(Some)
    }

    fn found(&self, detections: &[Detection]) -> Vec<Found<'_>> {
        let entries = coco::entries(0, detections, &self.card);
        detections
            .iter()
            .zip(entries)
            .map(|(detection, entry)| Found {
                category_id: entry.category_id,
                category_name: &self.card.classes[detection.class].name,
                bbox: entry.bbox,
                score: entry.score,
                segmentation: entry.segmentation,
            })
            .collect()
    }

    fn copy(&self) -> Result<Detector, DetectError> {
        // It is only copied, so a panic leaves it as it was.
        let prototype = self.prototype.lock();
        prototype
            .unwrap_or_else(PoisonError::into_inner)
            .try_clone()
    }
}

/// A drawn picture as an answer.
fn drawn(canvas: &RgbImage, jpeg: bool) -> Result<Response<Full<Bytes>>, Fault> {
    let mut bytes = Cursor::new(Vec::new());
    // To memory, so that only what the form cannot hold fails.
    encode(canvas, jpeg, &mut bytes).map_err(|error| Fault::Draw(error.to_string()))?;
    let kind = if jpeg { "image/jpeg" } else { "image/png" };
    Ok(answer::typed(kind, bytes.into_inner()))
}
