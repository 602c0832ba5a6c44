//! In the place of [`camera`](super::camera) where cameras are not read by Video4Linux.

use std::path::Path;

use anyhow::{bail, Result};

use super::{Frame, Patience, Size, Source};

/// None of these.
pub enum Camera {}

impl Camera {
    /// Says what to do instead.
    pub fn open(path: &Path, _: Option<Size>, _: Patience) -> Result<Self> {
        bail!(
            "{0}: this program was built without cameras (feature v4l2, on Linux); let ffmpeg read it (-f v4l2 -i {0}), \
             and send raw pixels to `-` (see --help)",
            path.display()
        )
    }
}

impl Source for Camera {
    fn next(&mut self) -> Result<Option<Frame>> {
        match *self {}
    }
}
