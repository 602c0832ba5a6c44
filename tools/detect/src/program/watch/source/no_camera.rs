//! In the place of [`camera`](super::camera) where cameras are not read by Video4Linux.

use std::path::Path;
use std::time::Duration;

use anyhow::{bail, Result};

use super::persistent::Attempt;
use super::{Frame, Size};

/// None of these.
pub enum Camera {}

impl Camera {
    /// Says what to do instead.
    pub fn open(path: &Path, _: Option<Size>, _: Duration) -> Result<Self> {
        bail!(
            "{0}: this program was built without cameras (feature v4l2, on Linux); let ffmpeg read it (-f v4l2 -i {0}), \
             and send raw pixels to `-` (see --help)",
            path.display()
        )
    }
}

impl Attempt for Camera {
    fn attempt(&mut self) -> Result<Option<Frame>> {
        match *self {}
    }

    fn disconnect(&mut self) {
        match *self {}
    }
}
