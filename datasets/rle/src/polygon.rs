//! COCO's rasterisation of polygons, pixel for pixel that of `rleFrPoly` in the COCO API.
//!
//! The outline is drawn on a grid five times as fine, one point a step along each edge's longer side,
//! and wherever it passes from one picture column's centre line to the right of it (fine column
//! `5x + 2` to `5x + 3`), the pixels of column `x` below the crossing change between outside and
//! inside. The reference walks every fine point; here each edge's crossings are computed directly, so
//! that the work depends on the columns crossed and not on how far the coordinates lie outside.

use crate::rle::{pixels, Rle, Runs};
use crate::RleError;

/// Fine grid cells in a pixel's side.
const SCALE: f64 = 5.0;
/// Largest distance from the origin in pixels: the reference holds fine coordinates in 32-bit integers.
pub(crate) const MAX_COORDINATE: f64 = 4e8;
/// Crossings kept before those that cancel are removed: 16 MiB. What remains is bounded by half.
const MAX_CROSSINGS: usize = 1 << 22;

impl Rle {
    /// Rasterises polygons (each `[x0, y0, x1, y1, ..]` in pixels, closed by itself, clipped to the
    /// picture) as pycocotools does and unites them. No polygon gives an empty mask.
    ///
    /// # Errors
    /// If a polygon is not at least three pairs of numbers, a coordinate is not finite or beyond
    /// 400 million pixels, or `height * width` needs more than 32 bits.
    pub fn from_polygons(polygons: &[Vec<f64>], height: u32, width: u32) -> Result<Self, RleError> {
        let pixels = pixels(height, width)?;
        let masks = polygons
            .iter()
            .enumerate()
            .map(|(i, polygon)| {
                let outline = Outline::new(i, polygon)?;
                Ok(outline.fill(height, width)?.into_mask(height, width))
            })
            .collect::<Result<Vec<_>, RleError>>()?;
        let union = Self::union(&masks.iter().collect::<Vec<_>>());
        Ok(union.unwrap_or_else(|| Runs::from_spans(pixels, []).into_mask(height, width)))
    }
}

/// A vertex on the fine grid.
type Point = [i64; 2];

/// A checked polygon on the fine grid.
struct Outline {
    /// Its place in the list, for errors.
    index: usize,
    vertices: Vec<Point>,
}

impl Outline {
    fn new(index: usize, polygon: &[f64]) -> Result<Self, RleError> {
        if polygon.len() < 6 || !polygon.len().is_multiple_of(2) {
            return Err(RleError::PolygonLength {
                polygon: index,
                length: polygon.len(),
            });
        }
        // A NaN is not contained in any range.
        let valid = -MAX_COORDINATE..=MAX_COORDINATE;
        if let Some(i) = polygon.iter().position(|value| !valid.contains(value)) {
            return Err(RleError::Coordinate {
                polygon: index,
                index: i,
                value: polygon[i],
            });
        }
        // Rounded half up where positive; the cast truncates as the reference's does.
        let fine = |value: f64| (SCALE * value + 0.5) as i64;
        let vertices = polygon
            .chunks_exact(2)
            .map(|p| [fine(p[0]), fine(p[1])])
            .collect();
        Ok(Self { index, vertices })
    }

    /// The polygon's pixels.
    fn fill(&self, height: u32, width: u32) -> Result<Runs, RleError> {
        let mut crossings: Vec<u32> = Vec::new();
        let ends = self
            .vertices
            .iter()
            .zip(self.vertices.iter().cycle().skip(1));
        for (&from, &to) in ends {
            for (x, y) in edge_crossings(from, to, width) {
                if crossings.len() == MAX_CROSSINGS {
                    cancel_pairs(&mut crossings);
                    if crossings.len() > MAX_CROSSINGS / 2 {
                        return Err(RleError::TooManyRuns {
                            polygon: self.index,
                        });
                    }
                }
                // First row whose centre is not above the crossing: ceil((y + 0.5) / 5 - 0.5).
                let row = (y + 2).div_euclid(5).clamp(0, i64::from(height)) as u32;
                // Fits: at most height * width, which does.
                crossings.push(x * height + row);
            }
        }
        cancel_pairs(&mut crossings);
        // An odd one out (an outline cut open by the picture's border) stays on to the last pixel.
        let pixels = height * width;
        if crossings.len() % 2 == 1 {
            crossings.push(pixels);
        }
        Ok(Runs::from_spans(
            pixels,
            crossings.chunks_exact(2).map(|pair| (pair[0], pair[1])),
        ))
    }
}

/// Sorts and removes equal pairs: a pixel toggled twice is as it was.
fn cancel_pairs(crossings: &mut Vec<u32>) {
    crossings.sort_unstable();
    let mut kept = 0;
    for i in 0..crossings.len() {
        if kept > 0 && crossings[kept - 1] == crossings[i] {
            kept -= 1;
        } else {
            crossings[kept] = crossings[i];
            kept += 1;
        }
    }
    crossings.truncate(kept);
}

/// Where an edge crosses the centre lines of the picture's columns: (column, fine row).
fn edge_crossings(from: Point, to: Point, width: u32) -> impl Iterator<Item = (u32, i64)> {
    let [dx, dy] = [(to[0] - from[0]).abs(), (to[1] - from[1]).abs()];
    let flat = dx >= dy;
    // The reference always walks towards the longer side's rising coordinate.
    let falling = if flat {
        from[0] > to[0]
    } else {
        from[1] > to[1]
    };
    let ([xs, ys], [xe, ye]) = if falling { (to, from) } else { (from, to) };
    let slope = if flat {
        (ye - ys) as f64 / dx as f64
    } else {
        (xe - xs) as f64 / dy as f64
    };
    // The shorter side's coordinate after `t` steps, in the reference's arithmetic to the last bit.
    let short = move |start: i64, t: i64| (start as f64 + slope * t as f64 + 0.5) as i64;

    // Columns x with both 5x + 2 and 5x + 3 among the edge's fine columns.
    let first = (xs.min(xe) + 2).div_euclid(5).max(0);
    let last = (xs.max(xe) - 3).div_euclid(5).min(i64::from(width) - 1);
    (first..=last).map(move |x| {
        let left = 5 * x + 2;
        let row = if flat {
            short(ys, left - xs).min(short(ys, left + 1 - xs))
        } else {
            // The fine column changes monotonically with the step: find the first step beyond.
            let (mut before, mut after) = (0, dy);
            while after - before > 1 {
                let t = before + (after - before) / 2;
                let u = short(xs, t);
                let beyond = if xs < xe { u > left } else { u <= left };
                if beyond {
                    after = t;
                } else {
                    before = t;
                }
            }
            ys + before
        };
        (x as u32, row)
    })
}
