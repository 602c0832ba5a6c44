//! Blending and smooth lines on a picture.

use image::{Rgb, RgbImage};

/// Mixes `colour` into a pixel: 0 leaves it, 1 replaces it.
pub(super) fn blend(pixel: &mut Rgb<u8>, colour: Rgb<u8>, alpha: f32) {
    for (value, new) in pixel.0.iter_mut().zip(colour.0) {
        *value = (f32::from(*value) * (1.0 - alpha) + f32::from(new) * alpha + 0.5) as u8;
    }
}

/// A straight line with round ends, smoothed at its edges. Coordinates are of pixel corners: the first
/// pixel's centre is (0.5, 0.5). What lies off the picture is cut.
pub(super) fn line(
    image: &mut RgbImage,
    from: [f32; 2],
    to: [f32; 2],
    width: f32,
    colour: Rgb<u8>,
) {
    let along = [to[0] - from[0], to[1] - from[1]];
    let length2 = (along[0] * along[0] + along[1] * along[1]).max(f32::MIN_POSITIVE);
    let reach = width / 2.0 + 0.5;
    // `as` saturates, which cuts at the picture's edges whatever the coordinates.
    let start = |a: f32, b: f32| (a.min(b) - reach).floor() as u32;
    let end = |a: f32, b: f32, size: u32| ((a.max(b) + reach).ceil() as u32).min(size);
    for y in start(from[1], to[1])..end(from[1], to[1], image.height()) {
        for x in start(from[0], to[0])..end(from[0], to[0], image.width()) {
            let p = [x as f32 + 0.5 - from[0], y as f32 + 0.5 - from[1]];
            let t = ((p[0] * along[0] + p[1] * along[1]) / length2).clamp(0.0, 1.0);
            let distance = (p[0] - t * along[0]).hypot(p[1] - t * along[1]);
            let alpha = (reach - distance).clamp(0.0, 1.0);
            if alpha > 0.0 {
                blend(image.get_pixel_mut(x, y), colour, alpha);
            }
        }
    }
}

/// A line with a head at `to`, on a dark rim that keeps it visible on any ground.
pub(super) fn arrow(
    image: &mut RgbImage,
    from: [f32; 2],
    to: [f32; 2],
    width: f32,
    colour: Rgb<u8>,
) {
    let d = [to[0] - from[0], to[1] - from[1]];
    let length = d[0].hypot(d[1]);
    let head = (length * 0.45).min(3.5 * width);
    let unit = if length > 0.0 {
        [d[0] / length, d[1] / length]
    } else {
        [0.0; 2]
    };
    let wing = |side: f32| {
        let back = [to[0] - head * unit[0], to[1] - head * unit[1]];
        [
            back[0] - side * 0.6 * head * unit[1],
            back[1] + side * 0.6 * head * unit[0],
        ]
    };
    let strokes = [(from, to), (wing(1.0), to), (wing(-1.0), to)];
    for (a, b) in strokes {
        line(image, a, b, width + 2.0, Rgb([0; 3]));
    }
    for (a, b) in strokes {
        line(image, a, b, width, colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_covers_its_length_times_its_width() {
        let mut image = RgbImage::new(60, 60);
        line(&mut image, [10.0, 12.0], [46.0, 39.0], 3.0, Rgb([255; 3]));
        let covered: f64 = image.pixels().map(|p| f64::from(p.0[0]) / 255.0).sum();
        // A stadium: 45 long (27-36-45), 3 wide, a half disc at each end.
        let expected = 45.0 * 3.0 + std::f64::consts::PI * 1.5 * 1.5;
        assert!(
            (covered - expected).abs() < 3.0,
            "{covered} is not {expected}"
        );
    }

    #[test]
    fn drawing_off_the_picture_is_cut() {
        let mut image = RgbImage::new(8, 8);
        for far in [1e30, -1e30, f32::NAN, f32::INFINITY] {
            line(&mut image, [4.0, 4.0], [far, 4.0], 2.0, Rgb([9; 3]));
            arrow(&mut image, [far, far], [4.0, 4.0], 2.0, Rgb([9; 3]));
        }
        assert_eq!(image.get_pixel(0, 7).0, [0; 3]);
        assert_eq!(image.dimensions(), (8, 8));
    }
}
