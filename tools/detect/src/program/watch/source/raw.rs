//! Plain frames, one after another: what `ffmpeg -f rawvideo -pix_fmt rgb24 -` writes.

use std::io::{self, Read};
use std::str::FromStr;

use anyhow::{bail, Context, Result};
use image::RgbImage;
use intertwine_detect::picture::MAX_PIXELS;
use intertwine_flow::Pool;

use super::{Frame, Pixels, Source};

/// Width and height of a frame, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

impl Size {
    /// Bytes of a frame.
    fn bytes(self) -> usize {
        3 * self.width as usize * self.height as usize
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |side: &str| side.parse::<u32>().ok().filter(|&side| side > 0);
        let sides = text.split_once('x');
        let size = sides.and_then(|(width, height)| {
            Some(Self {
                width: parse(width)?,
                height: parse(height)?,
            })
        });
        let size = size.ok_or("expected WIDTHxHEIGHT in pixels, such as 640x480")?;
        match u64::from(size.width) * u64::from(size.height) <= MAX_PIXELS {
            true => Ok(size),
            false => Err(format!("expected at most {MAX_PIXELS} pixels")),
        }
    }
}

/// Frames of `3 * width * height` bytes: rows from top to bottom, red, green and blue of each pixel.
pub struct Raw<R> {
    reader: R,
    size: Size,
    number: u64,
    buffers: Pool<RgbImage>,
}

impl<R: Read> Raw<R> {
    /// Frames of this size.
    pub fn new(reader: R, size: Size) -> Self {
        Self {
            reader,
            size,
            number: 0,
            buffers: Pool::new(move || RgbImage::new(size.width, size.height)),
        }
    }
}

impl<R: Read + Send> Source for Raw<R> {
    fn next(&mut self) -> Result<Option<Frame>> {
        let mut picture = self.buffers.take();
        let bytes: &mut [u8] = &mut picture;
        let mut filled = 0;
        while filled < bytes.len() {
            match self.reader.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot read the standard input"),
            }
        }
        let Size { width, height } = self.size;
        if filled == 0 {
            return Ok(None);
        }
        self.number += 1;
        if filled < self.size.bytes() {
            bail!(
                "frame {} is short: {filled} bytes of {} (3 x {width} x {height}); is --size what is sent, and the \
                 pixel format rgb24?",
                self.number,
                self.size.bytes()
            );
        }
        Ok(Some(Frame::now(self.number, Pixels::Raw(picture))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time, as a slow pipe does.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(1);
            self.0.read(&mut buffer[..count])
        }
    }

    #[test]
    fn frames_are_cut_by_size_however_the_bytes_come() {
        let bytes: Vec<u8> = (0..36).collect();
        let size = "3x2".parse().unwrap();
        let mut raw = Raw::new(Drip(&bytes), size);
        for (number, expected) in (1..).zip(bytes.chunks(18)) {
            let frame = raw.next().unwrap().unwrap();
            let picture = frame.pixels.decode().unwrap();
            assert_eq!(
                (frame.number, picture.as_raw().as_slice()),
                (number, expected)
            );
        }
        assert!(raw.next().unwrap().is_none());
    }

    #[test]
    fn a_short_last_frame_is_an_error_that_counts() {
        let mut raw = Raw::new(&[7u8; 20][..], "3x2".parse().unwrap());
        assert!(raw.next().unwrap().is_some());
        let error = raw.next().err().unwrap().to_string();
        assert!(error.contains("frame 2 is short: 2 bytes of 18"), "{error}");
    }

    #[test]
    fn sizes_that_are_none_are_refused() {
        for text in [
            "",
            "640",
            "640x",
            "x480",
            "0x480",
            "-1x5",
            "640X480",
            "99999x99999",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
