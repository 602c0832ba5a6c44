//! A region resized to the pixels of a view.

use super::{Located, Normalisation, Region, View};
use crate::field::overlap::Overlap;
use crate::field::Filter;
use image::RgbImage;
use intertwine_kernels::photometric::{patches, Buffers, Chain, Colour};
use intertwine_kernels::resize::{pitch, Part, Resizer};

/// A resized region: bytes of red, green and blue.
#[derive(Clone, Debug, Default)]
pub struct Canvas {
    width: usize,
    height: usize,
    /// Of each row the reds, the greens and the blues, each padded to [`pitch`].
    bytes: Vec<u8>,
}

/// The buffers of [`Located::resize`], kept between pictures.
#[derive(Debug, Default)]
pub struct Resampler {
    resizer: Resizer,
    /// What is seen of a picture beside which padding is seen, too.
    part: Vec<u8>,
}

impl Canvas {
    /// Draws a region over whatever was here.
    pub(super) fn draw(
        &mut self,
        region: Region,
        (width, height): (u32, u32),
        filter: Filter,
        resampler: &mut Resampler,
    ) {
        let Region {
            picture,
            area,
            flip,
            padding,
        } = region;
        (self.width, self.height) = (width as usize, height as usize);
        let across = Overlap::new(area.x, area.w, picture.width(), width);
        let down = Overlap::new(area.y, area.h, picture.height(), height);
        let part = Part {
            x: across.from.0,
            y: down.from.0,
            width: across.from.1,
            height: down.from.1,
            flip,
            to: (across.to.1, down.to.1),
        };
        let row = 3 * pitch(self.width);
        self.bytes.resize(self.height * row, 0);
        let source = (picture.as_raw().as_slice(), picture.width() as usize);
        let Resampler {
            resizer,
            part: seen,
        } = resampler;
        if part.to == (self.width, self.height) {
            resizer.resize(source.0, source.1, part, filter, &mut self.bytes);
            return;
        }
        let padding = padding.unwrap_or_default();
        for (i, line) in self.bytes.chunks_exact_mut(pitch(self.width)).enumerate() {
            line.fill(padding[i % 3]);
        }
        if across.is_empty() || down.is_empty() {
            return;
        }
        let from = pitch(part.to.0);
        seen.resize(part.to.1 * 3 * from, 0);
        resizer.resize(source.0, source.1, part, filter, seen);
        let left = if flip {
            self.width - across.to.0 - across.to.1
        } else {
            across.to.0
        };
        let lines = self.bytes.chunks_exact_mut(pitch(self.width));
        for (line, seen) in lines.skip(3 * down.to.0).zip(seen.chunks_exact(from)) {
            line[left..][..part.to.0].copy_from_slice(&seen[..part.to.0]);
        }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The pixels as a picture.
    pub fn to_rgb(&self) -> RgbImage {
        let pitch = pitch(self.width);
        RgbImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            image::Rgb([0, 1, 2].map(|c| self.bytes[(3 * y as usize + c) * pitch + x as usize]))
        })
    }
}

impl Located<Canvas> {
    /// The pixels.
    pub fn canvas(&self) -> &Canvas {
        &self.pixels
    }

    /// The pixels alone, as a canvas to draw the next region on.
    pub fn into_canvas(self) -> Canvas {
        self.pixels
    }

    /// Cuts the canvas into patches of `patch` x `patch` pixels, normalised, overwriting `view`.
    ///
    /// # Panics
    /// If a side of the canvas is not a multiple of `patch`.
    pub fn cut(&self, patch: usize, normalisation: Normalisation, view: &mut View) {
        let chain = Chain {
            adjustments: &[],
            colour: Colour::Exact,
            blur: None,
            solarise: None,
            mean: normalisation.mean,
            std: normalisation.std,
        };
        self.render(&chain, patch, &mut Buffers::default(), view);
    }

    /// As [`Self::cut`], with everything in `chain`, which leaves every pixel where it is.
    ///
    /// # Panics
    /// As [`Self::cut`], and if half the blur's kernel is not smaller than the canvas.
    pub fn render(&self, chain: &Chain, patch: usize, buffers: &mut Buffers, view: &mut View) {
        let Canvas {
            width,
            height,
            bytes,
        } = &self.pixels;
        let normalisation = Normalisation {
            mean: chain.mean,
            std: chain.std,
        };
        let out = view.overwrite((*width, *height), patch, normalisation, self.geometry);
        patches(bytes, (*width, *height), chain, patch, buffers, out);
    }
}
