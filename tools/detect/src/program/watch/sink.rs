//! Where the result of a frame goes: JSON, a line for people, a drawn picture.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use image::RgbImage;
use intertwine_detect::draw::draw_tracked;
use intertwine_detect::{Detection, ModelCard};

use super::drawn::Drawn;
use super::lines::{Found, Line, Lines, Outcome};
use super::post::Post;
use super::source::Frame;
use crate::program::{fits_jpeg, milliseconds};

/// Writes results.
pub struct Sink {
    /// The source's name.
    pub source: String,
    pub card: ModelCard,
    /// Lowest score of a detection without a track id that is told of.
    pub show: f32,
    /// Whether JSON lines hold masks.
    pub masks: bool,
    pub json: Option<Lines>,
    pub post: Option<Post>,
    /// Whether people read the standard output.
    pub text: bool,
    pub drawn: Option<Drawn>,
    /// The JSON line of the frame, made here.
    pub line: Vec<u8>,
}

impl Sink {
    /// Writes what was found in a frame; returns the frame's age then.
    ///
    /// # Errors
    /// Whatever cannot be written.
    pub fn write(
        &mut self,
        frame: &Frame,
        dropped: u64,
        picture: &RgbImage,
        detections: &[Detection],
        ids: &[Option<u64>],
    ) -> Result<Duration> {
        let (width, height) = picture.dimensions();
        let show = self.show;
        // What the tracker knows is there is told of, weak as it may be.
        let shown = detections
            .iter()
            .zip(ids)
            .filter(|(detection, id)| detection.score >= show || id.is_some());
        let drawn = match (&mut self.drawn, fits_jpeg(picture)) {
            (Some(drawn), Ok(())) => {
                let tracked = shown.clone().map(|(found, id)| (found, *id));
                Some(drawn.write(&draw_tracked(picture, tracked, &self.card.classes))?)
            }
            (Some(_), Err(error)) => {
                eprintln!("not drawn: {}: {error}", label(frame));
                None
            }
            (None, _) => None,
        };
        let age = frame.arrived.elapsed();
        if self.json.is_some() || self.post.is_some() {
            let detections: Vec<Found> = shown
                .clone()
                .map(|(found, id)| {
                    let [x0, y0, x1, y1] = found.bbox;
                    let class = &self.card.classes[found.class];
                    let mask = found.mask.as_ref().filter(|_| self.masks);
                    Found {
                        category_id: class.id,
                        name: &class.name,
                        bbox: [x0, y0, x1 - x0, y1 - y0],
                        score: found.score,
                        track_id: *id,
                        segmentation: mask.map(Into::into),
                    }
                })
                .collect();
            let outcome = Outcome::Done {
                width,
                height,
                drawn: drawn.as_deref(),
                detections: &detections,
            };
            line(&self.source, frame, dropped, age, outcome).render(&mut self.line)?;
            self.deliver()?;
        }
        if self.text {
            let mut text = format!("{}: {width} x {height}", label(frame));
            for (found, id) in shown {
                text.push_str(", ");
                text.push_str(&self.card.classes[found.class].name);
                if let Some(id) = id {
                    text.push_str(&format!(" #{id}"));
                }
            }
            let _ = writeln!(io::stdout(), "{text}; {:.0} ms old", milliseconds(age));
        }
        Ok(age)
    }

    /// Writes that a frame could not be used.
    ///
    /// # Errors
    /// Whatever cannot be written.
    pub fn failed(&mut self, frame: &Frame, dropped: u64, error: &str) -> Result<()> {
        eprintln!("failed: {}: {error}", label(frame));
        let (age, outcome) = (frame.arrived.elapsed(), Outcome::Failed { error });
        line(&self.source, frame, dropped, age, outcome).render(&mut self.line)?;
        self.deliver()
    }

    /// Sends the line to whoever wants it.
    fn deliver(&mut self) -> Result<()> {
        if let Some(post) = &mut self.post {
            post.send(&self.line);
        }
        match &mut self.json {
            Some(lines) => lines.write(&self.line),
            None => Ok(()),
        }
    }
}

fn line<'a>(
    source: &'a str,
    frame: &'a Frame,
    dropped: u64,
    age: Duration,
    outcome: Outcome<'a>,
) -> Line<'a> {
    let time = frame.time.duration_since(SystemTime::UNIX_EPOCH);
    Line {
        frame: frame.number,
        source,
        name: frame.name.as_deref(),
        time: (1e3 * time.unwrap_or_default().as_secs_f64()).round() / 1e3,
        age_ms: (1e3 * milliseconds(age)).round() / 1e3,
        dropped,
        outcome,
    }
}

/// What people call a frame.
fn label(frame: &Frame) -> String {
    match &frame.name {
        Some(name) => name.clone(),
        None => format!("frame {}", frame.number),
    }
}
