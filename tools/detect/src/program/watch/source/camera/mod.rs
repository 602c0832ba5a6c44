//! A camera of this machine, by Video4Linux.

mod mjpeg;
mod pixels;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use image::RgbImage;
use intertwine_flow::Pool;
use moq_v4l::buffer::{self, Type};
use moq_v4l::capability::Flags;
use moq_v4l::format::{Colorspace, Quantization};
use moq_v4l::frameinterval::FrameIntervalEnum;
use moq_v4l::io::mmap::Stream as Buffers;
use moq_v4l::io::traits::CaptureStream;
use moq_v4l::video::Capture as _;
use moq_v4l::{Device, Format, FourCC};
use yuv::{YuvRange, YuvStandardMatrix};

use super::persistent::Attempt;
use super::{Frame, Pixels, Size};
use mjpeg::with_tables;
use pixels::{Layout, PixelFormat};

/// Buffers that the driver fills in turn.
const BUFFERS: u32 = 4;
/// So many damaged frames in a row are a failure.
const MOST_DAMAGED: u32 = 100;
/// So many frames in a row may have been dropped.
const MOST_DROPPED: u32 = 1000;
/// Frames a second above which a format is not better for being faster.
const FAST_ENOUGH: u32 = 30;

/// The frames of a camera. One that goes away is opened again when it is back.
pub struct Camera {
    path: PathBuf,
    size: Option<Size>,
    /// The longest that nothing may come.
    timeout: Duration,
    capture: Option<Capture>,
    number: u64,
    pictures: Pool<RgbImage>,
    files: Pool<Vec<u8>>,
}

impl Camera {
    /// Opens the device, such as `/dev/video0`. Of a size that it does not have it gives one near to that; without a
    /// size it stays as it is set.
    ///
    /// # Errors
    /// If the device cannot be opened, or none of its formats is known here.
    pub fn open(path: &Path, size: Option<Size>, timeout: Duration) -> Result<Self> {
        let capture =
            Capture::start(path, size, timeout).with_context(|| path.display().to_string())?;
        Ok(Self {
            path: path.to_owned(),
            size,
            timeout,
            capture: Some(capture),
            number: 0,
            pictures: Pool::default(),
            files: Pool::default(),
        })
    }
}

impl Attempt for Camera {
    fn attempt(&mut self) -> Result<Option<Frame>> {
        let capture = match &mut self.capture {
            Some(capture) => capture,
            none => none.insert(Capture::start(&self.path, self.size, self.timeout)?),
        };
        for _ in 0..MOST_DAMAGED {
            let (bytes, meta) = match capture.buffers.next() {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    bail!("silent for {} s", self.timeout.as_secs_f32())
                }
                other => other.context("cannot read a frame")?,
            };
            // What the driver dropped went by all the same. Some drivers begin to count anew now and then.
            let steps = meta.sequence.wrapping_sub(capture.sequence);
            capture.sequence = meta.sequence;
            self.number += match steps {
                1..=MOST_DROPPED => steps.into(),
                _ => 1,
            };
            if meta.flags.contains(buffer::Flags::ERROR) {
                continue;
            }
            let bytes = bytes.get(..meta.bytesused as usize).unwrap_or_default();
            let pixels = match &capture.content {
                Content::Jpeg => {
                    let mut file = self.files.take();
                    with_tables(bytes, &mut file);
                    Pixels::Encoded(file)
                }
                Content::Plain(layout) => {
                    let (found, expected) = (bytes.len(), layout.bytes());
                    ensure!(
                        found >= expected,
                        "a frame has {found} bytes, expected {expected}"
                    );
                    let mut picture = self.pictures.take();
                    layout.convert(bytes, &mut picture)?;
                    Pixels::Raw(picture)
                }
            };
            return Ok(Some(Frame::now(self.number, pixels)));
        }
        bail!("{MOST_DAMAGED} damaged frames in a row")
    }
    fn disconnect(&mut self) {
        self.capture = None;
    }
}

/// A device that sends frames.
struct Capture {
    buffers: Buffers<'static>,
    content: Content,
    /// The last frame's number by the driver's count.
    sequence: u32,
}

/// What is in a buffer.
enum Content {
    /// A JPEG picture.
    Jpeg,
    /// Pixels.
    Plain(Layout),
}

impl Capture {
    fn start(path: &Path, size: Option<Size>, timeout: Duration) -> Result<Self> {
        let device = Device::with_path(path).context("cannot be opened")?;
        let about = device.query_caps().context("is no camera")?;
        ensure!(
            about.capabilities.contains(Flags::VIDEO_CAPTURE | Flags::STREAMING),
            "{} ({}) sends no frames that can be read here (it has {}); a camera often has several devices, and there is \
             ffmpeg (see --help)",
            about.card,
            about.driver,
            about.capabilities
        );
        let wanted = choose(&device, size)?;
        // Asked for even if it is set already: a camera that another program reads from refuses.
        let format = device.set_format(&wanted).with_context(|| {
            let Format {
                width,
                height,
                fourcc,
                ..
            } = wanted;
            format!("does not take {width} x {height} {fourcc}; does another program use it?")
        })?;
        let content = content(&format)?;
        let mut buffers = Buffers::with_buffers(&device, Type::VideoCapture, BUFFERS)
            .context("gives no buffers; does another program use it?")?;
        // Milliseconds in an i32.
        let longest = Duration::from_millis(i32::MAX as u64);
        buffers.set_timeout(timeout.min(longest));
        let Format {
            width,
            height,
            fourcc,
            ..
        } = format;
        let rate = match rate(&device, &format) {
            0 => String::new(),
            rate => format!(", up to {rate} frames a second"),
        };
        eprintln!(
            "{}: {}, {width} x {height} {fourcc}{rate}",
            path.display(),
            about.card
        );
        Ok(Self {
            buffers,
            content,
            sequence: u32::MAX,
        })
    }
}

/// The format to ask for: that which is set, if it is known here and no size is asked for; else, of those known here,
/// the fastest at this size, and of equals the one that is the least work.
fn choose(device: &Device, size: Option<Size>) -> Result<Format> {
    let mut format = device.format().context("does not tell its format")?;
    match size {
        None if is_known(format.fourcc) => return Ok(format),
        None => {}
        Some(Size { width, height }) => format = Format::new(width, height, format.fourcc),
    }
    let offered = device.enum_formats().context("does not tell its formats")?;
    let known = offered
        .iter()
        .map(|offer| offer.fourcc)
        .filter(|code| is_known(*code));
    let candidates = known.map(|fourcc| Format::new(format.width, format.height, fourcc));
    let best = candidates.max_by_key(|candidate| {
        let place = PixelFormat::ALL
            .iter()
            .position(|(code, _)| **code == candidate.fourcc.repr);
        // JPEG, which has no place, is the most work.
        let work = place.unwrap_or(PixelFormat::ALL.len());
        (
            rate(device, candidate).min(FAST_ENOUGH),
            std::cmp::Reverse(work),
        )
    });
    best.with_context(|| {
        let names: Vec<String> = offered.iter().map(|offer| offer.fourcc.to_string()).collect();
        let known: Vec<_> = PixelFormat::ALL.iter().map(|(code, _)| code.escape_ascii().to_string()).collect();
        format!(
            "sends {}, of which nothing is known here (expected MJPG, {}); let ffmpeg read it (see --help)",
            names.join(", "),
            known.join(", ")
        )
    })
}

fn is_jpeg(code: FourCC) -> bool {
    [b"MJPG", b"JPEG"].contains(&&code.repr)
}

fn is_known(code: FourCC) -> bool {
    is_jpeg(code) || PixelFormat::of(&code.repr).is_some()
}

/// The most frames a second of a format and size; 0 if the device does not tell.
fn rate(device: &Device, format: &Format) -> u32 {
    let intervals = device.enum_frameintervals(format.fourcc, format.width, format.height);
    let shortest = intervals
        .iter()
        .flatten()
        .map(|offer| match &offer.interval {
            FrameIntervalEnum::Discrete(seconds) => *seconds,
            FrameIntervalEnum::Stepwise(steps) => steps.min,
        });
    let rates = shortest.map(|seconds| seconds.denominator / seconds.numerator.max(1));
    rates.max().unwrap_or(0)
}

/// What comes in a format.
fn content(format: &Format) -> Result<Content> {
    if is_jpeg(format.fourcc) {
        return Ok(Content::Jpeg);
    }
    let pixels = PixelFormat::of(&format.fourcc.repr)
        .with_context(|| format!("was asked for another format and sends {}", format.fourcc))?;
    // The defaults of V4L2: V4L2_MAP_YCBCR_ENC_DEFAULT, V4L2_MAP_QUANTIZATION_DEFAULT.
    let matrix = match format.colorspace {
        Colorspace::Rec709 | Colorspace::DCIP3 => YuvStandardMatrix::Bt709,
        Colorspace::Rec2020 => YuvStandardMatrix::Bt2020,
        Colorspace::SMPTE240M => YuvStandardMatrix::Smpte240,
        _ => YuvStandardMatrix::Bt601,
    };
    let range = match (format.quantization, format.colorspace) {
        (Quantization::FullRange, _) | (Quantization::Default, Colorspace::JPEG) => YuvRange::Full,
        _ => YuvRange::Limited,
    };
    let layout = Layout {
        format: pixels,
        width: format.width,
        height: format.height,
        stride: format.stride,
        range,
        matrix,
    };
    ensure!(
        layout.is_possible(),
        "says that it sends {layout:?}, which cannot be"
    );
    Ok(Content::Plain(layout))
}
