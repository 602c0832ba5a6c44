//! The live graph: `Frame > Decode > Detect > Track > Write > Results`.
//!
//! It runs inline, on the thread that takes frames from the slot. As in the detector's own graph, which is its stage
//! `Detect`, a frame enters with a loan of everything the stages need, and each hands on the rest; so detections and ids
//! are borrowed from who made them, and nothing is copied. Reading is not a stage: it happens on another thread, and
//! what reaches the graph is decided by the [`slot`](super::slot).

use std::borrow::Cow;
use std::time::Duration;

use image::RgbImage;
use intertwine_detect::{DetectError, Detection, Detector, PictureError, Tracker};
use intertwine_flow::chain::{Chain, Input, Then};
use intertwine_flow::{input, lending_stage, Inline};

use super::sink::Sink;
use super::source::Frame;

/// A frame, with what every stage needs.
pub struct Arrived<'a> {
    pub frame: &'a Frame,
    /// Frames dropped so far.
    pub dropped: u64,
    pub detector: &'a mut Detector,
    pub tracker: &'a mut Tracker,
    pub sink: &'a mut Sink,
}

/// It is a picture.
pub struct Decoded<'a> {
    arrived: Arrived<'a>,
    picture: Cow<'a, RgbImage>,
}

/// The detector has looked at it.
pub struct Detected<'a> {
    arrived: Told<'a>,
    picture: Cow<'a, RgbImage>,
    detections: &'a [Detection],
    tracker: &'a mut Tracker,
}

/// It is known what was where before.
pub struct Tracked<'a> {
    arrived: Told<'a>,
    picture: Cow<'a, RgbImage>,
    detections: &'a [Detection],
    ids: &'a [Option<u64>],
}

/// What is left of [`Arrived`] to tell of.
struct Told<'a> {
    frame: &'a Frame,
    dropped: u64,
    sink: &'a mut Sink,
}

/// From bytes to a picture.
pub struct DecodeStage;
/// From a picture to detections.
pub struct DetectStage;
/// Ids for detections.
pub struct TrackStage;
/// Results to where they are wanted.
pub struct WriteStage;

lending_stage!(DecodeStage, "Decode", Arrived => Decoded<'a>, PictureError, |arrived| {
    Ok(Decoded { picture: arrived.frame.pixels.decode()?, arrived })
});

lending_stage!(DetectStage, "Detect", Decoded => Detected<'a>, DetectError, |decoded| {
    let Decoded { arrived, picture } = decoded;
    let Arrived { frame, dropped, detector, tracker, sink } = arrived;
    let detections = detector.detect(&picture)?;
    Ok(Detected { arrived: Told { frame, dropped, sink }, picture, detections, tracker })
});

lending_stage!(TrackStage, "Track", Detected => Tracked<'a>, std::convert::Infallible, |detected| {
    let Detected { arrived, picture, detections, tracker } = detected;
    Ok(Tracked { arrived, picture, detections, ids: tracker.update(detections) })
});

lending_stage!(WriteStage, "Write", Tracked => Duration, anyhow::Error, |tracked| {
    let Tracked { arrived: Told { frame, dropped, sink }, picture, detections, ids } = tracked;
    sink.write(frame, dropped, &picture, detections, ids)
});

/// The wiring, as a type.
type Wiring = Then<Then<Then<Then<Input, DecodeStage>, DetectStage>, TrackStage>, WriteStage>;

/// The graph, ready to be pushed.
pub type LiveGraph = Inline<Wiring, <Wiring as Chain<Arrived<'static>>>::Scratch>;

/// Builds the graph.
pub fn live_graph() -> LiveGraph {
    input::<Arrived<'static>>("Frame")
        .then(DecodeStage)
        .then(DetectStage)
        .then(TrackStage)
        .then(WriteStage)
        .sink("Results")
        .inline()
}
