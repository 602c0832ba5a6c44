//! What is around the network allocates nothing once it is warm, but for the weights of a resize.
//!
//! One test in a binary of its own, because the counters are those of the whole process.

use std::alloc::System;

use image::{Rgb, RgbImage};
use intertwine_detect::{
    Detection, Detector, ModelCard, Postprocessor, Preprocessor, RawOutputs, Thresholds, Tracker,
};
use stats_alloc::{Region, Stats, StatsAlloc, INSTRUMENTED_SYSTEM};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Frames of a bright square that moves and a dark one that comes and goes.
const FRAMES: usize = 8;

/// What the network said about a frame.
struct Said {
    picture: RgbImage,
    boxes: Vec<f32>,
    scores: Vec<f32>,
    coefficients: Vec<f32>,
    prototypes: Vec<f32>,
}

impl Said {
    fn outputs(&self) -> RawOutputs<'_> {
        RawOutputs {
            boxes: &self.boxes,
            scores: &self.scores,
            coefficients: Some(&self.coefficients),
            prototypes: Some(&self.prototypes),
        }
    }
}

/// A scene in a picture of `side` x `side`; the network's input is 128 x 128.
fn picture(side: u32, frame: u32) -> RgbImage {
    let unit = side / 8;
    let mut picture = RgbImage::from_pixel(side, side, Rgb([128; 3]));
    for (left, top, value) in [(frame, 6, 255), (4, frame % 2, 0)] {
        for (x, y) in (0..unit).flat_map(|x| (0..unit).map(move |y| (x, y))) {
            picture.put_pixel(unit * left + x, unit * top + y, Rgb([value; 3]));
        }
    }
    picture
}

/// What the network says about each frame.
fn said(side: u32) -> Vec<Said> {
    let mut detector = Detector::load("tests/data/squares.onnx".as_ref()).unwrap();
    let mut preprocessor = Preprocessor::new(detector.card());
    let mut input = vec![0.0; preprocessor.input_len()];
    let mut say = |frame| {
        let picture = picture(side, frame);
        preprocessor.apply(&picture, &mut input).unwrap();
        let raw = detector.run_raw(&input).unwrap();
        Said {
            boxes: raw.boxes.to_vec(),
            scores: raw.scores.to_vec(),
            coefficients: raw.coefficients.unwrap().to_vec(),
            prototypes: raw.prototypes.unwrap().to_vec(),
            picture,
        }
    };
    (0..FRAMES as u32).map(&mut say).collect()
}

/// Runs everything but the network, with masks or without.
struct Around {
    card: ModelCard,
    preprocessor: Preprocessor,
    input: Vec<f32>,
    postprocessor: Postprocessor,
    detections: Vec<Detection>,
    tracker: Tracker,
    found: usize,
}

impl Around {
    fn new(masks: bool) -> Self {
        let detector = Detector::load("tests/data/squares.onnx".as_ref()).unwrap();
        let mut card = detector.card().clone();
        card.masks = card.masks.filter(|_| masks);
        let preprocessor = Preprocessor::new(&card);
        Self {
            input: vec![0.0; preprocessor.input_len()],
            preprocessor,
            postprocessor: Postprocessor::new(),
            detections: Vec::new(),
            tracker: Tracker::default(),
            found: 0,
            card,
        }
    }

    /// One frame; returns the allocations before the network and after it.
    fn frame(&mut self, said: &Said) -> (usize, usize) {
        let before = Region::new(ALLOCATOR);
        let letterbox = self
            .preprocessor
            .apply(&said.picture, &mut self.input)
            .unwrap();
        let before = allocations(before.change());
        let mut raw = said.outputs();
        if self.card.masks.is_none() {
            (raw.coefficients, raw.prototypes) = (None, None);
        }
        let thresholds = Thresholds::display(&self.card);
        let after = Region::new(ALLOCATOR);
        self.postprocessor
            .apply(
                &raw,
                &self.card,
                &letterbox,
                &thresholds,
                &mut self.detections,
            )
            .unwrap();
        let ids = self.tracker.update(&self.detections);
        self.found += ids.iter().flatten().count();
        (before, allocations(after.change()))
    }
}

fn allocations(change: Stats) -> usize {
    change.allocations + change.reallocations
}

#[test]
fn a_frame_costs_no_allocation() {
    for (side, masks) in [(128, false), (128, true), (256, false), (256, true)] {
        let said = said(side);
        let mut around = Around::new(masks);
        for frame in said.iter().cycle().take(3 * FRAMES) {
            around.frame(frame);
        }
        let resized = side != 128;
        for frame in said.iter().cycle().take(20 * FRAMES) {
            let (before, after) = around.frame(frame);
            // The resizer makes its weights anew for every picture.
            assert!(resized || before == 0, "{side}, masks: {masks}; {before}");
            assert_eq!(after, 0, "{side}, masks: {masks}");
        }
        assert!(around.found >= 2 * 23 * FRAMES, "{}", around.found);
    }
}
