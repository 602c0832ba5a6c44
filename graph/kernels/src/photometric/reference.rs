//! The obvious form, a picture of `f64` at a time: the formulas of the module's head, one after the other.

use super::Adjustment;

/// Red, green and blue of each pixel, row by row.
pub(crate) type Picture = Vec<[f64; 3]>;

fn grey([r, g, b]: [f64; 3]) -> f64 {
    0.299 * r + 0.587 * g + 0.114 * b
}

pub(crate) fn adjust(picture: &mut Picture, adjustment: Adjustment) {
    let mean = picture.iter().copied().map(grey).sum::<f64>() / picture.len() as f64;
    for pixel in picture {
        let blend = |v: f64, f: f32, with: f64| {
            (f64::from(f) * v + (1.0 - f64::from(f)) * with).clamp(0.0, 255.0)
        };
        *pixel = match adjustment {
            Adjustment::Brightness(f) => pixel.map(|v| blend(v, f, 0.0)),
            Adjustment::Contrast(f) => pixel.map(|v| blend(v, f, mean)),
            Adjustment::Saturation(f) => pixel.map(|v| blend(v, f, grey(*pixel))),
            Adjustment::Hue(turns) => turn(*pixel, f64::from(turns)),
        };
    }
}

/// By way of HSV, the six cases spelt out.
fn turn([r, g, b]: [f64; 3], turns: f64) -> [f64; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let chroma = max - min;
    if chroma == 0.0 {
        return [r, g, b];
    }
    let sixths = if max == r {
        (g - b) / chroma
    } else if max == g {
        2.0 + (b - r) / chroma
    } else {
        4.0 + (r - g) / chroma
    };
    let hue = (sixths + 6.0 * turns).rem_euclid(6.0);
    let between = max - chroma * (1.0 - (1.0 - (hue.rem_euclid(2.0) - 1.0).abs()));
    match hue as u32 {
        0 => [max, between, min],
        1 => [between, max, min],
        2 => [min, max, between],
        3 => [min, between, max],
        4 => [between, min, max],
        _ => [max, min, between],
    }
}

/// The whole kernel of `taps`, in both directions at once.
pub(crate) fn blur(picture: &Picture, width: usize, sigma: f64, taps: usize) -> Picture {
    let height = picture.len() / width;
    let radius = (taps / 2) as isize;
    let weight = |i: isize| (-0.5 * (i as f64 / sigma).powi(2)).exp();
    let total: f64 = (-radius..=radius).map(weight).sum();
    let mirrored = |i: isize, length: usize| {
        let last = length as isize - 1;
        (last - (last - i.abs()).abs()) as usize
    };
    let mut out = Vec::new();
    for y in 0..height as isize {
        for x in 0..width as isize {
            let mut sum = [0.0; 3];
            for dy in -radius..=radius {
                for dx in -radius..=radius {
                    let w = weight(dy) * weight(dx) / (total * total);
                    let pixel = picture[mirrored(y + dy, height) * width + mirrored(x + dx, width)];
                    sum = std::array::from_fn(|c| sum[c] + w * pixel[c]);
                }
            }
            out.push(sum);
        }
    }
    out
}
