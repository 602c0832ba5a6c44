//! What ffmpeg reads: RTSP cameras, https, videos. It runs beside us and sends plain pictures.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use image::RgbImage;
use intertwine_detect::picture::MAX_PIXELS;
use intertwine_flow::{Pool, Pooled};

use super::persistent::Attempt;
use super::{Frame, Pixels};

/// What is read to its end, or for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A file: every frame, once.
    Whole,
    /// A stream, which is connected to again when it ends.
    Endless,
}

/// The frames that ffmpeg finds in something.
pub struct Ffmpeg {
    input: String,
    extent: Extent,
    /// The longest that nothing may come.
    timeout: Duration,
    running: Option<Running>,
    number: u64,
}

impl Ffmpeg {
    /// Starts ffmpeg on an address or a file.
    ///
    /// # Errors
    /// If there is no ffmpeg.
    pub fn open(input: String, extent: Extent, timeout: Duration) -> Result<Self> {
        Ok(Self {
            running: Some(Running::start(&input, extent)?),
            input,
            extent,
            timeout,
            number: 0,
        })
    }
}

impl Attempt for Ffmpeg {
    fn attempt(&mut self) -> Result<Option<Frame>> {
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(Running::start(&self.input, self.extent)?),
        };
        match running.pictures.recv_timeout(self.timeout) {
            Ok(picture) => {
                self.number += 1;
                Ok(Some(Frame::now(self.number, Pixels::Raw(picture?))))
            }
            Err(RecvTimeoutError::Timeout) => {
                bail!("silent for {} s", self.timeout.as_secs_f32())
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = running.child.wait().context("cannot wait for ffmpeg")?;
                ensure!(status.success(), "ffmpeg cannot read it ({status})");
                match self.extent {
                    Extent::Whole => Ok(None),
                    Extent::Endless => bail!("the stream has ended"),
                }
            }
        }
    }

    fn disconnect(&mut self) {
        self.running = None;
    }
}

/// The program, and a thread that reads what it writes.
struct Running {
    child: Child,
    /// A picture at a time. Closed when ffmpeg writes no more.
    pictures: Receiver<Result<Pooled<RgbImage>>>,
}

impl Running {
    fn start(input: &str, extent: Extent) -> Result<Self> {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-loglevel", "error"]);
        if input.starts_with("rtsp") {
            // Over UDP what is lost smears pictures.
            command.args(["-rtsp_transport", "tcp"]);
        }
        // A file's name is never taken for an address.
        let protocol = match extent {
            Extent::Whole => "file:",
            Extent::Endless => "",
        };
        command.args(["-i", &format!("{protocol}{input}")]);
        command.args(["-an", "-pix_fmt", "rgb24"]);
        // Each picture with its size before it, and nothing lost.
        command.args(["-f", "image2pipe", "-c:v", "ppm", "-"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => anyhow::anyhow!(
                "{input} is for ffmpeg to read, and that is not installed here (apt-get install ffmpeg, or ffmpeg.org)"
            ),
            _ => anyhow::Error::from(error).context("cannot start ffmpeg"),
        })?;
        let output = child.stdout.take().expect("it was asked for");
        let (sender, pictures) = sync_channel(0);
        thread::spawn(move || {
            let mut pictures = Pictures::new(output);
            // Until there are no more, or nobody wants them.
            while let Some(picture) = pictures.next().transpose() {
                let last = picture.is_err();
                if sender.send(picture).is_err() || last {
                    break;
                }
            }
        });
        Ok(Self { child, pictures })
    }
}

impl Drop for Running {
    /// A stream that is silent does not end by itself.
    fn drop(&mut self) {
        // Fails if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Pictures one after another, as netpbm's `P6` files of one byte a value.
struct Pictures<R> {
    reader: BufReader<R>,
    buffers: Pool<RgbImage>,
}

impl Pictures<ChildStdout> {
    fn new(output: ChildStdout) -> Self {
        Self {
            reader: BufReader::with_capacity(1 << 16, output),
            buffers: Pool::default(),
        }
    }
}

impl<R: Read> Pictures<R> {
    /// The next one; none at the end.
    fn next(&mut self) -> Result<Option<Pooled<RgbImage>>> {
        const UNCLEAR: &str = "ffmpeg sends what is no picture";
        if self.reader.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut word = || word(&mut self.reader);
        ensure!(word()? == "P6", "{UNCLEAR}");
        let mut number = || -> Result<u32> { word()?.parse().context(UNCLEAR) };
        let (width, height, most) = (number()?, number()?, number()?);
        ensure!(most == 255, "{UNCLEAR} of 8 bits");
        let pixels = u64::from(width) * u64::from(height);
        ensure!(
            (1..=MAX_PIXELS).contains(&pixels),
            "a frame of {width} x {height} pixels; expected 1 to {MAX_PIXELS} pixels"
        );
        let mut picture = self.buffers.take();
        if picture.dimensions() != (width, height) {
            *picture = RgbImage::new(width, height);
        }
        self.reader
            .read_exact(&mut picture)
            .context("ffmpeg ended within a frame")?;
        Ok(Some(picture))
    }
}

/// What comes up to the next white space, which is taken too. Longer than any number is nothing.
fn word(reader: &mut impl BufRead) -> io::Result<String> {
    let mut word = String::new();
    for byte in reader.take(16).bytes() {
        match byte? {
            b' ' | b'\n' => break,
            byte => word.push(byte.into()),
        }
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures(bytes: &[u8]) -> Pictures<&[u8]> {
        Pictures {
            reader: BufReader::with_capacity(5, bytes),
            buffers: Pool::default(),
        }
    }

    #[test]
    fn pictures_of_different_sizes_follow_one_another() {
        let mut pictures = pictures(b"P6\n2 1\n255\nabcdefP6\n1 2\n255\nghijkl");
        let first = pictures.next().unwrap().unwrap();
        assert_eq!(
            (first.dimensions(), &first.as_raw()[..]),
            ((2, 1), &b"abcdef"[..])
        );
        let second = pictures.next().unwrap().unwrap();
        assert_eq!(
            (second.dimensions(), &second.as_raw()[..]),
            ((1, 2), &b"ghijkl"[..])
        );
        assert!(pictures.next().unwrap().is_none());
    }

    #[test]
    fn what_is_no_picture_is_an_error() {
        for (bytes, expected) in [
            (&b"P5\n2 1\n255\nab"[..], "no picture"),
            (b"P6\n2\n", "no picture"),
            (b"P6\n2 -1\n255\nabcdef", "no picture"),
            (b"P6\n2 1\n65535\nabcdef", "of 8 bits"),
            (b"P6\n0 1\n255\n", "0 x 1 pixels"),
            (b"P6\n99999 99999\n255\n", "99999 x 99999 pixels"),
            (b"P6\n2 1\n255\nabcde", "within a frame"),
            (b"GIF89a and a great deal more", "no picture"),
        ] {
            let error = pictures(bytes).next().err().unwrap();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}
