//! Boxes, masks and labels on a picture.

use super::canvas::{blend, fill, outline, palette};
use super::{enlarge, factor_to};
use font8x8::UnicodeFonts;
use image::{Rgb, RgbImage};

/// The drawn picture's smaller side is at least this many pixels, so that labels can be read.
const SHOWN_SIDE: u32 = 320;

/// Side of a character's cell in the font.
const GLYPH: i32 = 8;

/// One object to draw: a detection, or a ground truth where there is no score.
#[derive(Clone, Copy, Debug)]
pub struct Drawn<'a> {
    /// Box `[x0, y0, x1, y1]` in pixels of the picture. May reach off it; not drawn if not finite.
    pub bbox: [f32; 4],
    /// Index of the class, which chooses the colour.
    pub class: usize,
    /// The name to write.
    pub label: &'a str,
    /// Confidence, 0 to 1.
    pub score: Option<f32>,
    /// Pixels of the object, width x height bytes of the picture, row by row, non-zero meaning inside.
    pub mask: Option<&'a [u8]>,
}

/// Draws objects over a picture, which is enlarged by a whole factor first if it is small: masks
/// translucent with their contours, then boxes, then labels on top of all.
///
/// # Panics
/// If a mask is not of the picture's size.
pub fn draw_detections(image: &RgbImage, objects: &[Drawn]) -> RgbImage {
    let factor = factor_to(image.width().min(image.height()), SHOWN_SIDE);
    let mut picture = enlarge(image, factor);
    let scale = (picture.width().min(picture.height()) as i32 / 450).max(1);
    for object in objects {
        if let Some(mask) = object.mask {
            let expected = image.width() as usize * image.height() as usize;
            assert_eq!(
                mask.len(),
                expected,
                "pixels of a mask of a {:?} picture",
                image.dimensions()
            );
            draw_mask(
                &mut picture,
                mask,
                image.width(),
                factor,
                palette(object.class),
            );
        }
    }
    // Saturating casts cut boxes that are far off the picture.
    let bounds = |object: &Drawn| {
        object
            .bbox
            .map(|v| (v * factor as f32).round().clamp(-1e6, 1e6) as i32)
    };
    let shown = || {
        objects
            .iter()
            .filter(|o| o.bbox.iter().all(|v| v.is_finite()))
    };
    for object in shown() {
        outline(
            &mut picture,
            bounds(object),
            scale + 1,
            palette(object.class),
        );
    }
    for object in shown() {
        let text = match object.score {
            Some(score) => format!("{} {score:.2}", object.label),
            None => object.label.to_owned(),
        };
        draw_label(
            &mut picture,
            bounds(object),
            &text,
            scale,
            palette(object.class),
        );
    }
    picture
}

fn draw_mask(picture: &mut RgbImage, mask: &[u8], width: u32, factor: u32, colour: Rgb<u8>) {
    let (large_width, large_height) = picture.dimensions();
    let inside = |x: u32, y: u32| {
        x < large_width
            && y < large_height
            && mask[((y / factor) * width + x / factor) as usize] != 0
    };
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        if inside(x, y) {
            let neighbours = [
                (x.wrapping_sub(1), y),
                (x + 1, y),
                (x, y.wrapping_sub(1)),
                (x, y + 1),
            ];
            let edge = neighbours.iter().any(|&(x, y)| !inside(x, y));
            blend(pixel, colour, if edge { 1.0 } else { 0.4 });
        }
    }
}

/// A label on a plate of `colour`: above its box, or inside it where there is no room above; moved to
/// stay on the picture.
fn draw_label(
    picture: &mut RgbImage,
    [x0, y0, ..]: [i32; 4],
    text: &str,
    scale: i32,
    colour: Rgb<u8>,
) {
    let (width, height) = (
        GLYPH * scale * text.chars().count() as i32 + 2 * scale,
        (GLYPH + 2) * scale,
    );
    let x = x0.min(picture.width() as i32 - width).max(0);
    let y = if y0 >= height { y0 - height } else { y0 }
        .min(picture.height() as i32 - height)
        .max(0);
    fill(picture, [x, y, x + width, y + height], colour, 1.0);
    draw_text(picture, [x + scale, y + scale], text, scale);
}

/// Black text, its top left corner at `[x, y]`. Characters the font lacks become question marks.
fn draw_text(picture: &mut RgbImage, [x, y]: [i32; 2], text: &str, scale: i32) {
    for (i, character) in (0..).zip(text.chars()) {
        let left = x + i * GLYPH * scale;
        if left >= picture.width() as i32 {
            break;
        }
        // One bit a pixel, the lowest bit to the left.
        let glyph = [
            font8x8::BASIC_FONTS.get(character),
            font8x8::LATIN_FONTS.get(character),
        ]
        .into_iter()
        .chain([font8x8::BASIC_FONTS.get('?')])
        .flatten()
        .next()
        .unwrap_or_default();
        for (row, bits) in (0..).zip(glyph) {
            for column in (0..GLYPH).filter(|column| bits >> column & 1 == 1) {
                let (left, top) = (left + column * scale, y + row * scale);
                fill(
                    picture,
                    [left, top, left + scale, top + scale],
                    Rgb([0; 3]),
                    1.0,
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(bbox: [f32; 4]) -> Drawn<'static> {
        Drawn {
            bbox,
            class: 1,
            label: "star",
            score: Some(0.5),
            mask: None,
        }
    }

    #[test]
    fn a_box_and_a_mask_are_drawn_where_they_are() {
        let image = RgbImage::from_pixel(96, 96, Rgb([100; 3]));
        let mut mask = vec![0; 96 * 96];
        for y in 60..80 {
            mask[y * 96 + 50..y * 96 + 70].fill(1);
        }
        let drawn = draw_detections(
            &image,
            &[Drawn {
                mask: Some(&mask),
                ..object([48.0, 58.0, 72.0, 82.0])
            }],
        );
        assert_eq!(drawn.dimensions(), (384, 384));
        let at = |x: u32, y: u32| drawn.get_pixel(x, y).0;
        assert_eq!(at(4 * 48, 4 * 70), palette(1).0, "the box's left edge");
        assert_eq!(at(4 * 72 - 1, 4 * 70), palette(1).0, "its right edge");
        assert_eq!(at(4 * 50, 4 * 70), palette(1).0, "the mask's contour");
        assert_eq!(at(4 * 49, 4 * 70), [100; 3], "between box and mask");
        assert_ne!(at(4 * 60, 4 * 70), [100; 3], "inside the mask");
        assert_eq!(at(10, 10), [100; 3], "elsewhere");
    }

    #[test]
    fn labels_differ_by_their_text_and_stay_on_the_picture() {
        let image = RgbImage::from_pixel(96, 96, Rgb([100; 3]));
        let named = |label: &'static str, bbox| {
            draw_detections(
                &image,
                &[Drawn {
                    label,
                    ..object(bbox)
                }],
            )
        };
        let corner = [90.0, 0.0, 96.0, 5.0];
        assert_ne!(named("star", corner), named("ring", corner));
        assert_eq!(named("☃", corner), named("?", corner));
        assert_ne!(named("é", corner), named("?", corner));
        // At the corner the plate is moved inwards: its text is whole, so black is found left of the box.
        let drawn = named("star", corner);
        assert!((0..40).any(|y| (280..350).any(|x| drawn.get_pixel(x, y).0 == [0; 3])));
    }

    #[test]
    fn hostile_boxes_do_not_panic() {
        let image = RgbImage::new(20, 10);
        for v in [f32::NAN, f32::INFINITY, 1e30, -1e30, 0.0] {
            let objects = [
                object([v, v, v, v]),
                object([5.0, 5.0, v, 2.0]),
                object([v, -v, -v, v]),
            ];
            draw_detections(&image, &objects);
        }
        draw_detections(&RgbImage::new(1, 1), &[object([0.0, 0.0, 1.0, 1.0])]);
    }
}
