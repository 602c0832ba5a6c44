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
    /// Runs of masks that are no longer wanted, whose memory the next ones take.
    spare: Vec<Vec<u32>>,
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
        let horizontal = Sampling {
            scale: sx / stride as f32,
            last: side - 1,
        };
        let vertical = Sampling {
            scale: sy / stride as f32,
            last: side - 1,
        };
        let (x0, x1) = centres_within(bbox[0], bbox[2], width);
        let (y0, y1) = centres_within(bbox[1], bbox[3], height);
        let mut runs = Runs::new(height, self.spare.pop().unwrap_or_default());
        if x0 < x1 && y0 < y1 {
            let (left, right) = (horizontal.at(x0).0, horizontal.at(x1 - 1).1);
            let (top, bottom) = (vertical.at(y0).0, vertical.at(y1 - 1).1);
            self.probabilities(coefficients, prototypes, side, [left, top, right, bottom]);
            let across = right - left + 1;
            for x in x0..x1 {
                let (a, b, t) = horizontal.at(x);
                self.column.clear();
                self.column.extend(
                    self.cells
                        .chunks_exact(across)
                        .map(|row| lerp(row[a - left], row[b - left], t)),
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

    /// Takes back masks that are no longer wanted.
    pub(crate) fn recycle(&mut self, masks: impl Iterator<Item = Rle>) {
        self.spare.extend(masks.map(Rle::into_counts));
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
        for (&coefficient, plane) in coefficients
            .iter()
            .zip(prototypes.chunks_exact(side * side))
        {
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
    /// None yet, in the memory of `counts`.
    fn new(height: u32, mut counts: Vec<u32>) -> Self {
        counts.clear();
        Self {
            height,
            counts,
            end: 0,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, pixel by pixel, on the whole picture and in double precision.
    fn reference(
        coefficients: &[f32],
        prototypes: &[f32],
        stride: u32,
        letterbox: &Letterbox,
        bbox: [f32; 4],
    ) -> Vec<f64> {
        let side = (letterbox.size() / stride) as usize;
        let cell = |row: usize, column: usize| {
            let logit: f64 = (0..coefficients.len())
                .map(|p| {
                    f64::from(coefficients[p])
                        * f64::from(prototypes[(p * side + row) * side + column])
                })
                .sum();
            1.0 / (1.0 + (-logit).exp())
        };
        let (width, height) = letterbox.source();
        let (content_width, content_height) = letterbox.content();
        let place = |pixel: u32, content: u32, source: u32| {
            let at = (f64::from(pixel) + 0.5) * f64::from(content)
                / f64::from(source)
                / f64::from(stride)
                - 0.5;
            at.clamp(0.0, (side - 1) as f64)
        };
        let mut probabilities = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let (centre_x, centre_y) = (x as f32 + 0.5, y as f32 + 0.5);
                let inside = centre_x >= bbox[0]
                    && centre_x < bbox[2]
                    && centre_y >= bbox[1]
                    && centre_y < bbox[3];
                let (u, v) = (
                    place(x, content_width, width),
                    place(y, content_height, height),
                );
                let (column, row) = (u.floor(), v.floor());
                let mut sum = 0.0;
                for (r, weight_y) in [(row, 1.0 - (v - row)), (row + 1.0, v - row)] {
                    for (c, weight_x) in [(column, 1.0 - (u - column)), (column + 1.0, u - column)]
                    {
                        if weight_x * weight_y > 0.0 {
                            sum += weight_x * weight_y * cell(r as usize, c as usize);
                        }
                    }
                }
                probabilities.push(if inside { sum } else { 0.0 });
            }
        }
        probabilities
    }

    #[test]
    fn equals_the_definition() {
        // Rounding may decide a probability of exactly one half either way, so such pixels are skipped.
        let mut state = 7u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        let mut assembler = MaskAssembler::default();
        let mut inside = 0;
        for (width, height) in [(64, 64), (91, 40), (33, 117), (7, 300), (300, 7), (1, 1)] {
            for stride in [4, 8, 64] {
                let letterbox = Letterbox::new(width, height, 64).unwrap();
                let cells = (64 / stride as usize).pow(2);
                let coefficients: Vec<f32> = (0..3).map(|_| 2.0 * random() - 1.0).collect();
                let prototypes: Vec<f32> = (0..3 * cells).map(|_| 8.0 * random() - 4.0).collect();
                let (w, h) = (width as f32, height as f32);
                let (x0, y0) = (random() * w * 0.5, random() * h * 0.5);
                for bbox in [
                    [0.0, 0.0, w, h],
                    [x0, y0, x0 + 0.5 * w, y0 + 0.4 * h],
                    [x0, y0, x0 + 0.01, h],
                ] {
                    let mask =
                        assembler.assemble(&coefficients, &prototypes, stride, &letterbox, bbox);
                    assert_eq!(mask.size(), (height, width));
                    let bitmap = mask.decode();
                    let expected = reference(&coefficients, &prototypes, stride, &letterbox, bbox);
                    for (at, (&bit, &p)) in bitmap.iter().zip(&expected).enumerate() {
                        let (x, y) = (at as u32 % width, at as u32 / width);
                        assert!(
                            (p - 0.5).abs() < 1e-4 || (bit == 1) == (p > 0.5),
                            "{width} x {height}, stride {stride}, at {x}, {y}: {p}"
                        );
                    }
                    inside += mask.area();
                }
            }
        }
        assert!(inside > 5000, "the masks are empty: {inside}");
    }

    #[test]
    fn runs_are_canonical() {
        // A full mask is one run after an empty one; a column that touches the next is one run.
        let letterbox = Letterbox::new(8, 8, 8).unwrap();
        let mut assembler = MaskAssembler::default();
        let mut assemble = |bbox| {
            assembler
                .assemble(&[1.0], &[5.0; 16], 2, &letterbox, bbox)
                .counts()
                .to_vec()
        };
        assert_eq!(assemble([0.0, 0.0, 8.0, 8.0]), [0, 64]);
        assert_eq!(assemble([2.0, 0.0, 4.0, 8.0]), [16, 16, 32]);
        assert_eq!(assemble([6.0, 5.0, 8.0, 8.0]), [53, 3, 5, 3]);
        assert_eq!(assemble([3.0, 3.0, 3.2, 8.0]), [64]); // no pixel's centre
    }
}
