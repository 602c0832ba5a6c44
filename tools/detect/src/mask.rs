//! Masks from prototypes and coefficients (YOLACT, Bolya et al. 2019, section 3.3).

use intertwine_rle::Rle;

use crate::letterbox::Letterbox;

/// Assembles masks, keeping its buffers from one to the next.
///
/// The probability of a prototype cell is `sigmoid(sum_p coefficient_p * prototype_p)`. A source pixel
/// belongs to the mask when its centre lies inside the box and the probability there, interpolated
/// bilinearly between cell centres (constant beyond the outermost), is above 0.5. Only cells and pixels
/// under the box are touched, and the runs are made directly, without a bitmap.
#[derive(Default)]
pub(crate) struct MaskAssembler {
    /// Probabilities of the cells under the box, row-major.
    cells: Vec<f32>,
    /// The same, interpolated to one column of source pixels.
    column: Vec<f32>,
}

impl MaskAssembler {
    /// The mask of one detection, in the size of the source picture.
    ///
    /// `prototypes` is `[P, size / stride, size / stride]` with P the number of `coefficients`; `bbox` is in
    /// source pixels, inside the picture.
    pub(crate) fn assemble(
        &mut self,
        coefficients: &[f32],
        prototypes: &[f32],
        stride: u32,
        letterbox: &Letterbox,
        bbox: [f32; 4],
    ) -> Rle {
        let (width, height) = letterbox.source();
        let side = (letterbox.size() / stride) as usize;
        let [sx, sy] = letterbox.scale();
        let horizontal = Sampling { scale: sx / stride as f32, last: side - 1 };
        let vertical = Sampling { scale: sy / stride as f32, last: side - 1 };
        let (x0, x1) = centres_within(bbox[0], bbox[2], width);
        let (y0, y1) = centres_within(bbox[1], bbox[3], height);
        let mut runs = Runs::new(height);
        if x0 < x1 && y0 < y1 {
            let (left, right) = (horizontal.at(x0).0, horizontal.at(x1 - 1).1);
            let (top, bottom) = (vertical.at(y0).0, vertical.at(y1 - 1).1);
            self.probabilities(coefficients, prototypes, side, [left, top, right, bottom]);
            let across = right - left + 1;
            for x in x0..x1 {
                let (a, b, t) = horizontal.at(x);
                self.column.clear();
                self.column.extend(
                    self.cells.chunks_exact(across).map(|row| lerp(row[a - left], row[b - left], t)),
                );
                for y in y0..y1 {
                    let (a, b, t) = vertical.at(y);
                    if lerp(self.column[a - top], self.column[b - top], t) > 0.5 {
                        runs.set(x, y);
                    }
                }
            }
        }
        let counts = runs.finish(width);
        Rle::from_counts(height, width, counts).expect("the runs end at width * height")
    }

    /// Fills `cells` with the probabilities of the cells `[left, top, right, bottom]`, both ends included.
    fn probabilities(
        &mut self,
        coefficients: &[f32],
        prototypes: &[f32],
        side: usize,
        [left, top, right, bottom]: [usize; 4],
    ) {
        let across = right - left + 1;
        self.cells.clear();
        self.cells.resize(across * (bottom - top + 1), 0.0);
        for (&coefficient, plane) in coefficients.iter().zip(prototypes.chunks_exact(side * side)) {
            for (row, sums) in (top..).zip(self.cells.chunks_exact_mut(across)) {
                let start = row * side + left;
                for (sum, &value) in sums.iter_mut().zip(&plane[start..start + across]) {
                    *sum += coefficient * value;
                }
            }
        }
        for value in &mut self.cells {
            *value = 1.0 / (1.0 + (-*value).exp());
        }
    }
}

/// Pixels whose centre lies in `low..high`, as a half-open range.
fn centres_within(low: f32, high: f32, pixels: u32) -> (u32, u32) {
    // A float to integer cast saturates, and NaN becomes 0.
    let first = |edge: f32| ((edge - 0.5).ceil().max(0.0) as u32).min(pixels);
    (first(low), first(high))
}

/// Where the centre of a source pixel lies between the centres of prototype cells, along one axis.
struct Sampling {
    /// Prototype cells per source pixel.
    scale: f32,
    /// Index of the last cell.
    last: usize,
}

impl Sampling {
    /// The two cells to mix, and the share of the second.
    fn at(&self, pixel: u32) -> (usize, usize, f32) {
        let position = ((pixel as f32 + 0.5) * self.scale - 0.5).clamp(0.0, self.last as f32);
        let first = position as usize;
        (first, (first + 1).min(self.last), position - first as f32)
    }
}

fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// Column-major runs under construction.
struct Runs {
    height: u32,
    counts: Vec<u32>,
    /// First pixel after the last run, in column-major order. Pictures above 2^32 pixels are refused long
    /// before this point.
    end: u32,
}

impl Runs {
    fn new(height: u32) -> Self {
        Self { height, counts: Vec::new(), end: 0 }
    }

    /// Adds a pixel; pixels come in column-major order.
    fn set(&mut self, x: u32, y: u32) {
        let at = x * self.height + y;
        match self.counts.last_mut() {
            Some(ones) if at == self.end => *ones += 1,
            _ => self.counts.extend([at - self.end, 1]),
        }
        self.end = at + 1;
    }

    fn finish(mut self, width: u32) -> Vec<u32> {
        let rest = width * self.height - self.end;
        if rest > 0 {
            self.counts.push(rest);
        }
        self.counts
    }
}
