//! The mask itself: construction from runs and bitmaps, area, box.

use crate::RleError;

/// A binary mask as COCO stores it: runs of equal pixels in column-major order, the first run being
/// zeros (and possibly empty).
///
/// The runs add up to `height * width`, which fits 32 bits, and only the first may be empty: one mask
/// has one form, so that `==` compares pixels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rle {
    height: u32,
    width: u32,
    counts: Vec<u32>,
}

impl Rle {
    /// From runs, beginning with zeros. Empty runs are allowed and joined away.
    ///
    /// # Errors
    /// [`RleError::WrongTotal`] if the runs do not add up to `height * width`,
    /// [`RleError::TooLarge`] if that product needs more than 32 bits.
    pub fn from_counts(height: u32, width: u32, counts: Vec<u32>) -> Result<Self, RleError> {
        let pixels = pixels(height, width)?;
        let total: u64 = counts.iter().map(|&run| u64::from(run)).sum();
        if total != u64::from(pixels) {
            return Err(RleError::WrongTotal {
                height,
                width,
                total,
            });
        }
        let canonical = !counts.is_empty() && !counts[1..].contains(&0);
        if canonical {
            return Ok(Self {
                height,
                width,
                counts,
            });
        }
        let mut runs = Runs::default();
        for (i, run) in counts.into_iter().enumerate() {
            runs.push(i % 2 == 1, run);
        }
        Ok(runs.into_mask(height, width))
    }

    /// From a row-major bitmap of `height * width` bytes, non-zero meaning inside.
    ///
    /// # Panics
    /// If the bitmap's length is not `height * width`, or needs more than 32 bits.
    pub fn encode(mask: &[u8], height: u32, width: u32) -> Self {
        let pixels = pixels(height, width).expect("a bitmap within the format's 32 bits");
        assert_eq!(
            mask.len(),
            pixels as usize,
            "a bitmap of height {height} x width {width}"
        );
        // Runs go down the columns, memory along the rows. A band of columns is one cache line wide:
        // turned as a whole, each line is read once rather than once a column.
        const BAND: usize = 64;
        let (h, w) = (height as usize, width as usize);
        let mut columns = vec![0u8; BAND.min(w) * h];
        let mut runs = Runs::default();
        for x0 in (0..w).step_by(BAND) {
            let band = BAND.min(w - x0);
            for (y, row) in mask.chunks_exact(w).enumerate() {
                for (x, &pixel) in row[x0..x0 + band].iter().enumerate() {
                    columns[x * h + y] = u8::from(pixel != 0);
                }
            }
            for run in columns[..band * h].chunk_by(|a, b| a == b) {
                runs.push(run[0] != 0, run.len() as u32);
            }
        }
        runs.into_mask(height, width)
    }

    /// To a row-major bitmap of `height * width` zeros and ones.
    ///
    /// This allocates what the mask's size claims, up to 4 GiB: compare an untrusted mask's
    /// [`size`](Self::size) with its picture's before.
    pub fn decode(&self) -> Vec<u8> {
        let (h, w) = (self.height as usize, self.width as usize);
        let mut mask = vec![0; h * w];
        for (x, rows) in self.column_spans() {
            for y in rows {
                mask[y as usize * w + x as usize] = 1;
            }
        }
        mask
    }

    /// Number of pixels inside.
    pub fn area(&self) -> u64 {
        self.counts
            .iter()
            .skip(1)
            .step_by(2)
            .map(|&run| u64::from(run))
            .sum()
    }

    /// Bounding box `[x, y, w, h]` in pixels, zeros when empty.
    pub fn bbox(&self) -> [f64; 4] {
        let (mut x0, mut y0, mut x1, mut y1) = (u32::MAX, u32::MAX, 0, 0);
        for (start, end) in self.spans() {
            let (first, last) = (start / self.height, (end - 1) / self.height);
            x0 = x0.min(first);
            x1 = x1.max(last);
            if first == last {
                y0 = y0.min(start % self.height);
                y1 = y1.max((end - 1) % self.height);
            } else {
                // Running on into the next column, it touches this one's foot and that one's head.
                (y0, y1) = (0, self.height - 1);
            }
        }
        if x0 > x1 {
            return [0.0; 4];
        }
        [
            f64::from(x0),
            f64::from(y0),
            f64::from(x1 - x0 + 1),
            f64::from(y1 - y0 + 1),
        ]
    }

    /// (height, width) in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.height, self.width)
    }

    /// The runs: zeros, ones, zeros, .. down the columns. Never empty; only the first may be 0.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// The runs themselves, as to use their memory again.
    pub fn into_counts(self) -> Vec<u32> {
        self.counts
    }

    /// The inside runs as half-open ranges of the column-major pixel index, in rising order.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut at = 0;
        self.counts.chunks_exact(2).map(move |pair| {
            let start = at + pair[0];
            at = start + pair[1];
            (start, at)
        })
    }

    /// The inside runs cut at the columns' ends: column, half-open range of rows.
    pub(crate) fn column_spans(&self) -> impl Iterator<Item = (u32, std::ops::Range<u32>)> + '_ {
        let h = self.height;
        self.spans().flat_map(move |(start, end)| {
            (start / h..=(end - 1) / h).map(move |x| {
                let top = x * h;
                // `top + h` may be 2^32 at the last column: compare distances instead.
                (x, start.saturating_sub(top)..(end - top).min(h))
            })
        })
    }
}

/// `height * width`, if runs can count it.
pub(crate) fn pixels(height: u32, width: u32) -> Result<u32, RleError> {
    height
        .checked_mul(width)
        .ok_or(RleError::TooLarge { height, width })
}

/// Builds a mask's runs in order, joining equal neighbours.
#[derive(Default)]
pub(crate) struct Runs {
    counts: Vec<u32>,
}

impl Runs {
    /// `length` further pixels, inside or not.
    pub(crate) fn push(&mut self, inside: bool, length: u32) {
        if length == 0 {
            return;
        }
        if self.counts.is_empty() && inside {
            self.counts.push(0);
        }
        // Runs at odd positions are inside, so an even number of them so far means the last one is.
        let last_inside = self.counts.len().is_multiple_of(2);
        match self.counts.last_mut() {
            Some(last) if last_inside == inside => *last += length,
            _ => self.counts.push(length),
        }
    }

    /// From rising, disjoint inside ranges of the column-major pixel index; the rest is outside.
    pub(crate) fn from_spans(pixels: u32, spans: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut runs = Self::default();
        let mut at = 0;
        for (start, end) in spans {
            runs.push(false, start - at);
            runs.push(true, end - start);
            at = end;
        }
        runs.push(false, pixels - at);
        runs
    }

    /// The finished mask; the runs pushed must add up to `height * width`.
    pub(crate) fn into_mask(mut self, height: u32, width: u32) -> Rle {
        if self.counts.is_empty() {
            self.counts.push(0);
        }
        debug_assert_eq!(
            self.counts.iter().map(|&run| u64::from(run)).sum::<u64>(),
            u64::from(height) * u64::from(width)
        );
        Rle {
            height,
            width,
            counts: self.counts,
        }
    }
}
