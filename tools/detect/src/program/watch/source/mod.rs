//! Where frames come from.

// One place decides whether there are cameras.
#[cfg_attr(not(all(feature = "v4l2", target_os = "linux")), path = "no_camera.rs")]
mod camera;
mod child;
mod ffmpeg;
mod folder;
mod parts;
mod persistent;
mod raw;
mod stream;

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use anyhow::Result;
use image::RgbImage;
use intertwine_detect::{picture, PictureError};
use intertwine_flow::Pooled;

pub use camera::Camera;
pub use child::Child;
pub use ffmpeg::{Extent, Ffmpeg};
pub use folder::Folder;
pub use persistent::Persistent;
pub use raw::{Raw, Size};
pub use stream::Stream;

/// A frame as it came.
pub struct Frame {
    /// Its place in the source, from 1. Those that were dropped have their numbers too.
    pub number: u64,
    /// Its file, if it has one.
    pub name: Option<String>,
    /// When it was there as a whole, by the clock that ages are measured with and by the one people read.
    pub arrived: Instant,
    pub time: SystemTime,
    pub pixels: Pixels,
}

impl Frame {
    /// One that is there now.
    fn now(number: u64, pixels: Pixels) -> Self {
        Self {
            number,
            name: None,
            arrived: Instant::now(),
            time: SystemTime::now(),
            pixels,
        }
    }
}

/// The picture of a frame, which is decoded only if somebody looks at it. Buffers go back to the reader.
pub enum Pixels {
    /// In a file.
    File(PathBuf),
    /// The bytes of a picture file.
    Encoded(Pooled<Vec<u8>>),
    /// Plain.
    Raw(Pooled<RgbImage>),
}

impl Pixels {
    /// The picture itself.
    pub fn decode(&self) -> Result<Cow<'_, RgbImage>, PictureError> {
        Ok(match self {
            Self::File(path) => Cow::Owned(picture::open(path)?),
            Self::Encoded(bytes) => Cow::Owned(picture::decode(bytes)?),
            Self::Raw(picture) => Cow::Borrowed(picture),
        })
    }
}

/// Something that frames come from.
pub trait Source: Send {
    /// Waits for the next frame; none after the last.
    ///
    /// # Errors
    /// What no waiting mends.
    fn next(&mut self) -> Result<Option<Frame>>;
}
