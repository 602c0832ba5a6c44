//! Antialiased resizing of a part of a picture, as Pillow's `Image.crop(box).resize(size, BICUBIC)`.
//!
//! Separable: first across, rounded to bytes, then down, rounded to bytes; each output pixel is the mean of the input
//! pixels under the kernel, which is stretched by the reduction and cut off at the borders of the part. Pillow's
//! weights have 22 bits; here they are `f32`, so that a pixel may be off by one where Pillow's sum falls next to a
//! half.
//!
//! Both passes are weighted sums of vectors. Down, a vector is a stretch of a row. Across, it is a *column* of sixteen
//! rows: a band of sixteen rows is transposed, filtered, and transposed back, so that no vector is gathered. A
//! picture that is mirrored on the way costs nothing more: its taps are listed backwards.

#[cfg(test)]
pub(crate) mod reference;
mod taps;
#[cfg(test)]
mod tests;

use crate::cpu::{self, Path};
use crate::lanes::{Lanes, Square, LANES};
use taps::Taps;

/// Resampling kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Triangle, support 1.
    Bilinear,
    /// Cubic convolution with a = -1/2, support 2.
    Bicubic,
}

/// What to make of which part of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Left edge, in pixels of the picture.
    pub x: usize,
    /// Top edge.
    pub y: usize,
    /// Width, not 0.
    pub width: usize,
    /// Height, not 0.
    pub height: usize,
    /// Whether it is mirrored left to right.
    pub flip: bool,
    /// Width and height of the result, not 0.
    pub to: (usize, usize),
}

impl Part {
    /// The whole of a picture of `from` pixels across and down, as `to` pixels.
    pub fn whole(from: (usize, usize), to: (usize, usize)) -> Self {
        Self {
            x: 0,
            y: 0,
            width: from.0,
            height: from.1,
            flip: false,
            to,
        }
    }
}

/// Buffers of [`Resizer::resize`], kept between pictures.
#[derive(Debug, Default)]
pub struct Resizer {
    across: Taps,
    down: Taps,
    /// A band of rows as columns: first those of red, then those of green, then those of blue.
    columns: Vec<[f32; LANES]>,
    /// Rows that are resized across and may still be needed: each red, green, blue.
    rows: Vec<f32>,
    /// A result that is to be interleaved.
    planar: Vec<u8>,
}

/// Bytes of a channel of a row `width` wide in the result of [`Resizer::resize`].
pub fn pitch(width: usize) -> usize {
    width.next_multiple_of(LANES)
}

impl Resizer {
    /// Resizes `part` of a picture of interleaved RGB, `width` pixels a row, into `out`.
    ///
    /// `out` is [`part.to.1`, 3, [`pitch`]`(part.to.0)`]: each row is its reds, greens and blues, each padded.
    ///
    /// # Panics
    /// If the part is empty or leaves the picture, or a slice does not fit its shape.
    pub fn resize(&mut self, rgb: &[u8], width: usize, part: Part, filter: Filter, out: &mut [u8]) {
        self.resize_on(cpu::path(), rgb, width, part, filter, out);
    }

    /// Resizes a whole picture of interleaved RGB, `from` pixels across and down, into `out`, which is interleaved and
    /// `to` pixels across and down.
    ///
    /// # Panics
    /// If a side is 0 or a slice does not fit its shape.
    pub fn resize_rgb(
        &mut self,
        rgb: &[u8],
        from: (usize, usize),
        to: (usize, usize),
        filter: Filter,
        out: &mut [u8],
    ) {
        crate::check_len(
            "resize",
            "the picture",
            rgb,
            crate::size([3, from.0, from.1]),
        );
        crate::check_len("resize", "out", out, crate::size([3, to.0, to.1]));
        let part = Part::whole(from, to);
        let mut planar = std::mem::take(&mut self.planar);
        planar.resize(to.1 * 3 * pitch(to.0), 0);
        self.resize(rgb, from.0, part, filter, &mut planar);
        interleave(cpu::path(), &planar, to.0, out);
        self.planar = planar;
    }

    fn resize_on(
        &mut self,
        path: Path,
        rgb: &[u8],
        width: usize,
        part: Part,
        filter: Filter,
        out: &mut [u8],
    ) {
        let height = crate::rows_of("resize", "the picture", rgb, 3 * width);
        assert!(
            part.width > 0 && part.height > 0 && part.to.0 > 0 && part.to.1 > 0,
            "resize: {part:?} is empty"
        );
        assert!(
            part.x + part.width <= width && part.y + part.height <= height,
            "resize: {part:?} leaves a picture of {width} x {height} pixels"
        );
        crate::check_len(
            "resize",
            "out",
            out,
            crate::size([part.to.1, 3, pitch(part.to.0)]),
        );
        resize(path, self, rgb, width, part, filter, out);
    }
}

on_lanes! {
    fn resize<V>(resizer: &mut Resizer, rgb: &[u8], width: usize, part: Part, filter: Filter, out: &mut [u8]) {
        let Resizer { across, down, columns, rows, .. } = resizer;
        across.set::<V>(part.width, part.to.0, filter, part.flip);
        down.set::<V>(part.height, part.to.1, filter, false);
        // Groups of columns are filled whole.
        let channel = part.width.next_multiple_of(LANES);
        columns.resize(3 * channel, [0.0; LANES]);
        let row = 3 * pitch(part.to.0);
        // A ring of whole bands, with room for a band besides what an output row reads.
        let kept = (down.count + LANES).next_multiple_of(LANES);
        rows.resize(kept * row, 0.0);
        let mut ready = 0;
        for (y, out) in out.chunks_exact_mut(row).enumerate() {
            let (start, weights) = down.of(y);
            while ready < start + down.count {
                let count = (part.height - ready).min(LANES);
                let corner = 3 * ((part.y + ready) * width + part.x);
                load_band::<V>(&rgb[corner..], 3 * width, count, columns, channel);
                let band = &mut rows[ready % kept * row..];
                band_across::<V>(columns, channel, across, band, count, row);
                ready += LANES;
            }
            // What an output row reads may begin at the end of the ring and go on at its start.
            let slot = start % kept;
            let first = (kept - slot).min(down.count);
            let (weights, rest) = weights.split_at(first);
            let lane = y % LANES;
            row_down::<V>([(&rows[slot * row..], weights), (rows, rest)], lane, out);
        }
    }
}

on_lanes! {
    /// Interleaves rows of reds, greens and blues.
    fn interleave<V>(planar: &[u8], width: usize, rgb: &mut [u8]) {
        let pitch = pitch(width);
        for (row, out) in planar.chunks_exact(3 * pitch).zip(rgb.chunks_exact_mut(3 * width)) {
            let (red, rest) = row.split_at(pitch);
            let (green, blue) = rest.split_at(pitch);
            let colours = red.as_chunks::<LANES>().0.iter()
                .zip(green.as_chunks::<LANES>().0)
                .zip(blue.as_chunks::<LANES>().0);
            let pieces = out.as_chunks_mut::<3>().0.chunks_mut(LANES);
            for (((red, green), blue), out) in colours.zip(pieces) {
                let pixels = V::interleave([red, green, blue]);
                match out.as_chunks_mut().0 {
                    [whole] => *whole = pixels,
                    _ => out.copy_from_slice(&pixels[..out.len()]),
                }
            }
        }
    }
}

/// Reads `count` rows, at most [`LANES`], as columns. Columns beyond the part hold whatever is there.
#[inline(always)]
fn load_band<V: Lanes>(
    rgb: &[u8],
    stride: usize,
    count: usize,
    columns: &mut [[f32; LANES]],
    channel: usize,
) {
    let (red, rest) = columns.split_at_mut(channel);
    let (green, blue) = rest.split_at_mut(channel);
    let (red, green, blue) = (
        red.as_chunks_mut::<LANES>().0,
        green.as_chunks_mut::<LANES>().0,
        blue.as_chunks_mut::<LANES>().0,
    );
    let groups = red.iter_mut().zip(green).zip(blue);
    let (mut square, mut pixels): (Square, [Square; 3]) = Default::default();
    for (group, ((red, green), blue)) in groups.enumerate() {
        for (third, pixels) in pixels.iter_mut().enumerate() {
            let at = (3 * group + third) * LANES;
            if (count - 1) * stride + at + LANES <= rgb.len() {
                // A row may be shorter than what is read: then the next ones follow.
                for (y, line) in square.iter_mut().enumerate().take(count) {
                    let whole = rgb[y * stride + at..].first_chunk();
                    *line = *whole.expect("just checked for the last row");
                }
            } else {
                // The picture's last bytes.
                for (y, line) in square.iter_mut().enumerate().take(count) {
                    let rest = rgb.get(y * stride + at..).unwrap_or_default();
                    let len = rest.len().min(LANES);
                    line[..len].copy_from_slice(&rest[..len]);
                }
            }
            V::transpose(&square, pixels);
        }
        let bytes = pixels.as_flattened();
        for i in 0..LANES {
            V::from_bytes(&bytes[3 * i]).store(&mut red[i]);
            V::from_bytes(&bytes[3 * i + 1]).store(&mut green[i]);
            V::from_bytes(&bytes[3 * i + 2]).store(&mut blue[i]);
        }
    }
}

/// Resizes a band across and writes its `count` rows, `row` apart.
#[inline(always)]
fn band_across<V: Lanes>(
    columns: &[[f32; LANES]],
    channel: usize,
    taps: &Taps,
    rows: &mut [f32],
    count: usize,
    row: usize,
) {
    let (red, rest) = columns.split_at(channel);
    let (green, blue) = rest.split_at(channel);
    let (mut squares, mut lines): ([Square; 3], Square) = Default::default();
    let blocks = taps.starts.as_chunks::<LANES>().0;
    for (block, (starts, weights)) in blocks
        .iter()
        .zip(taps.weights.chunks_exact(taps.count))
        .enumerate()
    {
        for (i, &start) in starts.iter().enumerate() {
            let mut sums = [V::splat(0.0); 3];
            let pixels = red[start..][..taps.count]
                .iter()
                .zip(&green[start..][..taps.count])
                .zip(&blue[start..][..taps.count]);
            for (weight, ((r, g), b)) in weights.iter().zip(pixels) {
                let weight = V::splat(weight[i]);
                sums[0] = V::load(r).mul_add(weight, sums[0]);
                sums[1] = V::load(g).mul_add(weight, sums[1]);
                sums[2] = V::load(b).mul_add(weight, sums[2]);
            }
            squares[0][i] = sums[0].to_bytes();
            squares[1][i] = sums[1].to_bytes();
            squares[2][i] = sums[2].to_bytes();
        }
        for (c, square) in squares.iter().enumerate() {
            V::transpose(square, &mut lines);
            let at = c * (row / 3) + block * LANES;
            for (y, line) in lines.iter().enumerate().take(count) {
                let out = rows[y * row + at..].first_chunk_mut();
                V::from_bytes(line).store(out.expect("rows hold whole blocks"));
            }
        }
    }
}

/// The weighted sum of rows that follow one another, two runs of them; their weights are those of `lane`.
#[inline(always)]
fn row_down<V: Lanes>(runs: [(&[f32], &[[f32; LANES]]); 2], lane: usize, out: &mut [u8]) {
    const WIDE: usize = 3 * LANES;
    let row = out.len();
    let pieces = out.as_chunks_mut::<WIDE>().0.iter_mut();
    for (at, out) in (0..row).step_by(WIDE).zip(pieces) {
        let mut sums = [V::splat(0.0); 3];
        for (rows, weights) in runs {
            for (k, weight) in weights.iter().enumerate() {
                let weight = V::splat(weight[lane]);
                let line = rows[k * row + at..].first_chunk::<WIDE>();
                let values = line.expect("rows are whole").as_chunks::<LANES>().0;
                for (sum, values) in sums.iter_mut().zip(values) {
                    *sum = V::load(values).mul_add(weight, *sum);
                }
            }
        }
        for (sum, out) in sums.into_iter().zip(out.as_chunks_mut::<LANES>().0) {
            *out = sum.to_bytes();
        }
    }
}
