//! What ffmpeg reads: RTSP cameras, https, videos. It runs beside us and sends plain pictures.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use image::RgbImage;
use intertwine_detect::picture::MAX_PIXELS;
use intertwine_flow::{Pool, Pooled};

use super::child::Child;
use super::persistent::Attempt;
use super::{Frame, Pixels};
use crate::program::complain;
use crate::program::watch::http::without_user;

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
    child: Child,
    /// What it sends, while it is connected.
    pictures: Option<Receiver<Result<Pooled<RgbImage>>>>,
    number: u64,
}

impl Ffmpeg {
    /// Starts ffmpeg on an address or a file, as this child.
    ///
    /// # Errors
    /// If there is no ffmpeg.
    pub fn open(input: String, extent: Extent, timeout: Duration, child: Child) -> Result<Self> {
        Ok(Self {
            pictures: Some(start(&input, extent, &child)?),
            child,
            input,
            extent,
            timeout,
            number: 0,
        })
    }

    fn next(&mut self) -> Result<Option<Frame>> {
        let pictures = match &mut self.pictures {
            Some(pictures) => pictures,
            none => none.insert(start(&self.input, self.extent, &self.child)?),
        };
        match pictures.recv_timeout(self.timeout) {
            Ok(picture) => {
                self.number += 1;
                Ok(Some(Frame::now(self.number, Pixels::Raw(picture?))))
            }
            Err(RecvTimeoutError::Timeout) => {
                bail!("silent for {} s", self.timeout.as_secs_f32())
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait().context("cannot wait for ffmpeg")?;
                ensure!(status.success(), "ffmpeg cannot read it ({status})");
                match self.extent {
                    Extent::Whole => Ok(None),
                    Extent::Endless => bail!("the stream has ended"),
                }
            }
        }
    }
}

impl Attempt for Ffmpeg {
    fn attempt(&mut self) -> Result<Option<Frame>> {
        match self.next() {
            // What it fails of then is its end.
            Err(_) if self.child.has_ended() => Ok(None),
            other => other,
        }
    }

    fn disconnect(&mut self) {
        self.pictures = None;
        // A stream that is silent does not end by itself.
        self.child.kill();
    }
}

/// Starts ffmpeg, and threads that read what it says and what it writes: a picture at a time, closed when there are no more
/// and all is said.
fn start(input: &str, extent: Extent, child: &Child) -> Result<Receiver<Result<Pooled<RgbImage>>>> {
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
    command.args([every_frame().map_err(not_started)?, "passthrough"]);
    // Each picture with its size before it, and nothing lost.
    command.args(["-f", "image2pipe", "-c:v", "ppm", "-"]);
    let (output, said) = child.start(&mut command).map_err(not_started)?;
    let saying = thread::spawn({
        let input = input.to_owned();
        move || pass_on(said, &input)
    });
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
        // A panic there has been printed.
        let _ = saying.join();
    });
    Ok(pictures)
}

/// Passes on what ffmpeg says. It likes to repeat the whole address, which may hold a password.
fn pass_on(said: ChildStderr, input: &str) {
    let shown = without_user(input);
    for line in BufReader::new(said).split(b'\n').map_while(Result::ok) {
        complain(String::from_utf8_lossy(&line).replace(input, &shown));
    }
}

/// The option that says how frames are spaced. Unless told to pass them on as they are, ffmpeg repeats and drops frames of
/// an uneven rate until the rate is even. No version before 5.1 knows `-fps_mode` and none from 9 on `-vsync`, so it is asked.
fn every_frame() -> io::Result<&'static str> {
    let help = Command::new("ffmpeg")
        .args(["-h", "long"])
        .stdin(Stdio::null())
        .output()?;
    let help = String::from_utf8_lossy(&help.stdout);
    Ok(match help.contains("-fps_mode") {
        true => "-fps_mode",
        false => "-vsync",
    })
}

fn not_started(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::NotFound => anyhow::anyhow!(
            "this is for ffmpeg to read, and that is not installed here (apt-get install ffmpeg, or ffmpeg.org)"
        ),
        _ => anyhow::Error::from(error).context("cannot start ffmpeg"),
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
