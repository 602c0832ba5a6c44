//! The obvious form, pixel by pixel in `f64`.

use super::{Filter, Part};

/// As [`super::Resizer::resize`], before the rounding of the pass down: [height, 3, width] values, unpadded.
pub(crate) fn resize(rgb: &[u8], width: usize, part: Part, filter: Filter) -> Vec<f64> {
    let (w, h) = part.to;
    let picture = |x: usize, y: usize, c: usize| {
        let x = if part.flip { part.width - 1 - x } else { x };
        f64::from(rgb[3 * ((part.y + y) * width + part.x + x) + c])
    };
    let mut out = Vec::new();
    for y in 0..h {
        for c in 0..3 {
            for x in 0..w {
                out.push(line(part.height, h, y, filter, |y| {
                    line(part.width, w, x, filter, |x| picture(x, y, c))
                        .clamp(0.0, 255.0)
                        .round()
                }));
            }
        }
    }
    out
}

/// Output `at` of a line of `from` pixels resized to `to`.
fn line(from: usize, to: usize, at: usize, filter: Filter, pixel: impl Fn(usize) -> f64) -> f64 {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let centre = (at as f64 + 0.5) * scale;
    let (mut sum, mut total) = (0.0, 0.0);
    for i in 0..from {
        let x = (i as f64 + 0.5 - centre).abs() / stretch;
        let weight = match filter {
            Filter::Bilinear => (1.0 - x).max(0.0),
            Filter::Bicubic if x < 1.0 => 1.5 * x.powi(3) - 2.5 * x.powi(2) + 1.0,
            Filter::Bicubic if x < 2.0 => -0.5 * x.powi(3) + 2.5 * x.powi(2) - 4.0 * x + 2.0,
            Filter::Bicubic => 0.0,
        };
        sum += weight * pixel(i);
        total += weight;
    }
    sum / total
}
