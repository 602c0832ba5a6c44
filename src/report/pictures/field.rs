//! A crop beside the place it takes in the position field: the picture of what "aligned" means.

use super::canvas::{arrow, blend, line};
use super::factor_to;
use image::{imageops, Rgb, RgbImage};

/// The drawn crop's larger side is at least this many pixels.
const SHOWN_SIDE: u32 = 320;

/// Draws a crop with an arrow on each patch that points from the field's centre to the place where that
/// patch reads the field, and beside it the field itself with the patches' reading points.
///
/// - `crop`: the view as the network gets it, after flip and resize (before normalisation).
/// - `grid`: (rows, columns) of patches.
/// - `positions`: for each patch in row order, the `[x, y]` in the field's `[0, 1]^2` at which it reads;
///   METHOD section 1. Values outside are drawn at the edge.
///
/// A place has one colour, the same in both halves: hue turns with the direction from the field's
/// centre, and the colour pales towards it. A flipped crop shows mirrored arrows; a small window in the
/// virtual picture shows short steps from arrow to arrow. The ring marks the first patch of the crop.
///
/// # Panics
/// If there are not rows x columns positions, or the crop has no pixels.
pub fn field_arrows(crop: &RgbImage, grid: (usize, usize), positions: &[[f32; 2]]) -> RgbImage {
    let (rows, columns) = grid;
    assert_eq!(
        positions.len(),
        rows * columns,
        "positions of a grid of {rows} x {columns} patches"
    );
    let factor = factor_to(crop.width().max(crop.height()), SHOWN_SIDE);
    let (width, height) = (crop.width() * factor, crop.height() * factor);
    let large = imageops::resize(crop, width, height, imageops::FilterType::Triangle);

    let gap = 12;
    let side = height;
    let mut picture = RgbImage::from_pixel(width + gap + side, height, Rgb([24; 3]));
    imageops::replace(&mut picture, &large, 0, 0);
    let cell = [
        width as f32 / columns.max(1) as f32,
        height as f32 / rows.max(1) as f32,
    ];
    let patch = cell[0].min(cell[1]);
    for (i, &position) in positions.iter().enumerate() {
        let (row, column) = (i / columns, i % columns);
        let centre = [
            (column as f32 + 0.5) * cell[0],
            (row as f32 + 0.5) * cell[1],
        ];
        let [dx, dy] = from_centre(position);
        // The field's corner (distance 0.71) gives an arrow of one patch's length.
        let half = [dx * patch * 0.7, dy * patch * 0.7];
        let (from, to) = (
            [centre[0] - half[0], centre[1] - half[1]],
            [centre[0] + half[0], centre[1] + half[1]],
        );
        arrow(
            &mut picture,
            from,
            to,
            (patch / 12.0).clamp(1.0, 4.0),
            place_colour(position),
        );
    }
    draw_field(&mut picture, (width + gap, 0), side, positions);
    picture
}

/// The field as a coloured square, with a point where each patch reads it.
fn draw_field(picture: &mut RgbImage, (left, top): (u32, u32), side: u32, positions: &[[f32; 2]]) {
    let unit = side as f32;
    for y in 0..side {
        for x in 0..side {
            let place = [(x as f32 + 0.5) / unit, (y as f32 + 0.5) / unit];
            let pixel = picture.get_pixel_mut(left + x, top + y);
            *pixel = place_colour(place);
            blend(pixel, Rgb([0; 3]), 0.45);
        }
    }
    let at = |[x, y]: [f32; 2]| {
        [
            left as f32 + x.clamp(0.0, 1.0) * unit,
            top as f32 + y.clamp(0.0, 1.0) * unit,
        ]
    };
    // Thin axes through the field's centre, from which the arrows are measured.
    let rule = Rgb([90; 3]);
    line(picture, at([0.5, 0.0]), at([0.5, 1.0]), 1.0, rule);
    line(picture, at([0.0, 0.5]), at([1.0, 0.5]), 1.0, rule);
    for &position in positions {
        line(picture, at(position), at(position), 3.0, Rgb([255; 3]));
    }
    if let Some(&first) = positions.first() {
        ring(picture, at(first), 6.0, Rgb([255; 3]));
    }
}

/// A circle of straight pieces.
fn ring(picture: &mut RgbImage, [x, y]: [f32; 2], radius: f32, colour: Rgb<u8>) {
    let point = |k: u32| {
        let (sin, cos) = (k as f32 * std::f32::consts::TAU / 16.0).sin_cos();
        [x + radius * cos, y + radius * sin]
    };
    for k in 0..16 {
        line(picture, point(k), point(k + 1), 1.5, colour);
    }
}

/// A place relative to the field's centre, cut to the field; not a number counts as the centre.
fn from_centre(position: [f32; 2]) -> [f32; 2] {
    position.map(|v| {
        if v.is_nan() {
            0.0
        } else {
            v.clamp(0.0, 1.0) - 0.5
        }
    })
}

/// The colour of a place in the field: hue by direction from the centre, paler towards it.
fn place_colour(position: [f32; 2]) -> Rgb<u8> {
    let [dx, dy] = from_centre(position);
    let hue = dy.atan2(dx) / std::f32::consts::TAU * 6.0 + 6.0;
    let saturation = (dx.hypot(dy) / 0.5).min(1.0);
    Rgb([0.0, 4.0, 2.0].map(|offset: f32| {
        // The hexagonal HSV model at full value: each channel is a trapezoid over the hue.
        let k = (hue + offset) % 6.0;
        let full = (k - 3.0).abs() - 1.0;
        let value = 1.0 - saturation * (1.0 - full.clamp(0.0, 1.0));
        (value * 255.0).round() as u8
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid_positions(window: [f32; 4], flip: bool) -> Vec<[f32; 2]> {
        let [x, y, w, h] = window;
        (0..36)
            .map(|i| {
                let column = if flip { 5 - i % 6 } else { i % 6 };
                [
                    x + (column as f32 + 0.5) / 6.0 * w,
                    y + ((i / 6) as f32 + 0.5) / 6.0 * h,
                ]
            })
            .collect()
    }

    #[test]
    fn directions_have_their_hues() {
        assert_eq!(place_colour([0.5, 0.5]).0, [255, 255, 255]);
        assert_eq!(place_colour([1.0, 0.5]).0, [255, 0, 0]);
        assert_eq!(place_colour([0.0, 0.5]).0, [0, 255, 255]);
        assert_eq!(place_colour([f32::NAN, 7.0]).0, place_colour([0.5, 1.0]).0);
    }

    #[test]
    fn a_flip_mirrors_the_arrows() {
        let crop = RgbImage::from_pixel(96, 96, Rgb([60; 3]));
        let plain = field_arrows(
            &crop,
            (6, 6),
            &grid_positions([0.25, 0.25, 0.5, 0.5], false),
        );
        let flipped = field_arrows(&crop, (6, 6), &grid_positions([0.25, 0.25, 0.5, 0.5], true));
        assert_ne!(plain, flipped);
        // The window is centred, so the flip swaps what the first and the last patch of a row read.
        let large = plain.height();
        let patch = large / 6;
        let middle = |image: &RgbImage, column: u32| {
            image.get_pixel(column * patch + patch / 2, patch / 2).0
        };
        assert_eq!(middle(&plain, 0), middle(&flipped, 5));
        assert_eq!(middle(&plain, 5), middle(&flipped, 0));
        assert_ne!(middle(&plain, 0), middle(&plain, 5));
    }

    #[test]
    fn places_off_the_field_are_drawn_at_its_edge() {
        let crop = RgbImage::from_pixel(40, 30, Rgb([60; 3]));
        field_arrows(
            &crop,
            (1, 3),
            &[[-1e30, f32::NAN], [2.0, f32::INFINITY], [0.5, 0.5]],
        );
    }
}
