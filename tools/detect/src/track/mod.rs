//! Things followed from frame to frame: ids that stay.
//!
//! The tracker is ByteTrack (Zhang et al., *ByteTrack: Multi-Object Tracking by Associating Every Detection Box*, ECCV
//! 2022). Each track says where it expects its thing (`motion`), and boxes are given to tracks so that the sum of
//! `IoU - floor` is greatest (`assign`), in two rounds: first the strong detections to all tracks, then the weak ones to
//! the tracks still without a box that were seen in the frame before. A thing that is half hidden is a weak detection in
//! the right place; a weak detection elsewhere is none. What is strong and belongs to nobody begins a track.

mod assign;
mod motion;

use assign::Assignment;
use motion::Motion;

use crate::postprocess::{iou, Detection};

/// Least overlap (IoU) of a box with where its track expects it: 0.2 for strong detections (section 4.1 of the paper),
/// 0.5 for weak ones (the paper's program).
const STRONG_IOU: f32 = 0.2;
const WEAK_IOU: f32 = 0.5;

/// The most frames for which [`Tracker::skip`] moves the tracks: by then nobody knows where they are.
const MOST_SKIPPED: u64 = 1000;

/// When tracks begin, go on and end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackerOptions {
    /// Lowest score that begins a track, 0..=1.
    pub strong_score: f32,
    /// Lowest score that continues one, 0..=1.
    pub weak_score: f32,
    /// How many frames a thing may be out of sight and still get its id back.
    pub keep_lost: u32,
}

impl Default for TrackerOptions {
    /// 0.6 and 30 frames of the paper, 0.1 of its program.
    fn default() -> Self {
        Self {
            strong_score: 0.6,
            weak_score: 0.1,
            keep_lost: 30,
        }
    }
}

/// Gives detections ids that stay with a thing from frame to frame.
///
/// Tracks have the class of their first detection and take boxes of no other. A track that is not seen in the frame
/// after its first is forgotten at once: it was a flicker. The result depends on the calls alone. Buffers are kept, so
/// that nothing is allocated once as many things were seen at once as ever will be.
///
/// ```
/// use intertwine_detect::{Detection, Tracker};
///
/// let at = |x: f32| Detection { bbox: [x, 0.0, x + 20.0, 20.0], score: 0.9, class: 0, mask: None };
/// let mut tracker = Tracker::default();
/// assert_eq!(tracker.update(&[at(0.0), at(100.0)]), [Some(1), Some(2)]);
/// assert_eq!(tracker.update(&[at(97.0), at(3.0), at(200.0)]), [Some(2), Some(1), Some(3)]);
/// ```
#[derive(Default)]
pub struct Tracker {
    options: TrackerOptions,
    tracks: Vec<Track>,
    /// Ids given so far.
    given: u64,
    ids: Vec<Option<u64>>,
    pairing: Pairing,
}

/// A thing.
struct Track {
    id: u64,
    class: usize,
    motion: Motion,
    /// Where it is expected in this frame.
    bbox: [f32; 4],
    /// Frames since it was seen; 0 once it has its box of this frame.
    unseen: u32,
    /// Whether it was seen more than once.
    confirmed: bool,
}

impl Tracker {
    /// Without tracks.
    pub fn new(options: TrackerOptions) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// The ids of the detections of the next frame, in their order. A weak detection that continues no track has
    /// none; neither has one of a box or score that is not finite, or without area. Ids begin at 1 and are never
    /// given twice.
    pub fn update(&mut self, detections: &[Detection]) -> &[Option<u64>] {
        let TrackerOptions {
            strong_score,
            weak_score,
            keep_lost,
        } = self.options;
        self.ids.clear();
        self.ids.resize(detections.len(), None);
        for track in &mut self.tracks {
            track.advance();
            track.unseen += 1;
        }

        let strong = |detection: &Detection| detection.score >= strong_score;
        let weak =
            |detection: &Detection| detection.score >= weak_score && detection.score < strong_score;
        let Self { tracks, ids, .. } = self;
        self.pairing
            .round(tracks, detections, ids, |_| true, strong, STRONG_IOU);
        let just_seen = |track: &Track| track.unseen == 1;
        self.pairing
            .round(tracks, detections, ids, just_seen, weak, WEAK_IOU);

        tracks.retain(|track| track.unseen == 0 || (track.confirmed && track.unseen <= keep_lost));
        for (detection, id) in detections.iter().zip(ids.iter_mut()) {
            if id.is_none() && strong(detection) && usable(detection) {
                self.given += 1;
                *id = Some(self.given);
                tracks.push(Track::new(self.given, detection));
            }
        }
        ids
    }

    /// So many frames went by unseen, as when a camera is faster than the detector: tracks move on, but do not get
    /// lost.
    pub fn skip(&mut self, frames: u64) {
        for track in &mut self.tracks {
            for _ in 0..frames.min(MOST_SKIPPED) {
                track.motion.predict();
            }
        }
    }
}

impl Track {
    fn new(id: u64, detection: &Detection) -> Self {
        Self {
            id,
            class: detection.class,
            motion: Motion::new(detection.bbox),
            bbox: detection.bbox,
            unseen: 0,
            confirmed: false,
        }
    }

    fn advance(&mut self) {
        if self.unseen > 0 {
            self.motion.keep_height();
        }
        self.motion.predict();
        self.bbox = self.motion.bbox();
    }

    fn seen(&mut self, bbox: [f32; 4]) {
        self.motion.correct(bbox);
        self.unseen = 0;
        self.confirmed = true;
    }
}

/// Which tracks and detections take part in a round, and who belongs to whom.
#[derive(Default)]
struct Pairing {
    tracks: Vec<usize>,
    detections: Vec<usize>,
    assignment: Assignment,
}

impl Pairing {
    /// Gives detections to those tracks that have none yet, among those that may take part.
    fn round(
        &mut self,
        tracks: &mut [Track],
        detections: &[Detection],
        ids: &mut [Option<u64>],
        may_track: impl Fn(&Track) -> bool,
        may_detection: impl Fn(&Detection) -> bool,
        floor: f32,
    ) {
        self.tracks.clear();
        self.tracks.extend(
            (0..tracks.len()).filter(|&at| tracks[at].unseen > 0 && may_track(&tracks[at])),
        );
        self.detections.clear();
        self.detections.extend((0..detections.len()).filter(|&at| {
            ids[at].is_none() && may_detection(&detections[at]) && usable(&detections[at])
        }));
        let gain = |row: usize, column: usize| {
            let track = &tracks[self.tracks[row]];
            let detection = &detections[self.detections[column]];
            match track.class == detection.class {
                true => iou(track.bbox, detection.bbox) - floor,
                false => 0.0,
            }
        };
        let (rows, columns) = (self.tracks.len(), self.detections.len());
        let partners = self.assignment.solve(rows, columns, gain);
        for (&track, column) in self.tracks.iter().zip(partners) {
            if let Some(column) = *column {
                let detection = self.detections[column];
                tracks[track].seen(detections[detection].bbox);
                ids[detection] = Some(tracks[track].id);
            }
        }
    }
}

/// Whether a detection is one: a box of numbers, with an area.
fn usable(detection: &Detection) -> bool {
    let [x0, y0, x1, y1] = detection.bbox;
    detection.bbox.iter().all(|value| value.is_finite())
        && detection.score.is_finite()
        && x1 > x0
        && y1 > y0
}

#[cfg(test)]
mod tests;
