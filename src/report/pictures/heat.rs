//! Values of patches as a heat map over their picture.

use image::{Rgb, RgbImage};

use super::canvas::blend;

/// From none to the most: dark to light, so that it reads in grey too.
const RAMP: [[f32; 3]; 5] = [
    [0.0, 0.0, 8.0],
    [87.0, 16.0, 110.0],
    [188.0, 55.0, 84.0],
    [249.0, 142.0, 9.0],
    [252.0, 255.0, 164.0],
];
/// Share of the heat in a pixel; the rest is the picture, in grey.
const HEAT: f32 = 0.65;

/// The picture in grey under the colours of its patches' values, which run from 0 to the largest of them. Values that
/// are not finite, and all of them if none is above 0, have the colour of 0.
///
/// # Panics
/// If there are not `grid * grid` values, row by row.
pub fn heat_map(picture: &RgbImage, values: &[f32], grid: usize) -> RgbImage {
    assert_eq!(
        values.len(),
        grid * grid,
        "values of {grid} x {grid} patches"
    );
    let finite = |v: f32| if v.is_finite() { v } else { 0.0 };
    let most = values.iter().copied().map(finite).fold(0.0, f32::max);
    let colours: Vec<_> = values
        .iter()
        .map(|&v| ramp(finite(v) / most.max(f32::MIN_POSITIVE)))
        .collect();
    let mut out = picture.clone();
    let (width, height) = picture.dimensions();
    let cell = |at: u32, length: u32| at as usize * grid / length as usize;
    for (x, y, pixel) in out.enumerate_pixels_mut() {
        let [r, g, b] = pixel.0.map(f32::from);
        // ITU-R BT.601.
        *pixel = Rgb([(0.299 * r + 0.587 * g + 0.114 * b + 0.5) as u8; 3]);
        blend(
            pixel,
            colours[cell(y, height) * grid + cell(x, width)],
            HEAT,
        );
    }
    out
}

/// The colour of a share between 0 and 1.
fn ramp(share: f32) -> Rgb<u8> {
    let last = RAMP.len() - 1;
    let at = share.clamp(0.0, 1.0) * last as f32;
    let lower = (at as usize).min(last - 1);
    let part = at - lower as f32;
    Rgb(std::array::from_fn(|c| {
        let (a, b) = (RAMP[lower][c], RAMP[lower + 1][c]);
        (a + part * (b - a) + 0.5) as u8
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_patch_is_the_lightest_and_keeps_its_place() {
        let grey = RgbImage::from_pixel(8, 8, Rgb([100; 3]));
        let light = |image: &RgbImage, x, y| -> u32 {
            let pixel: &Rgb<u8> = image.get_pixel(x, y);
            pixel.0.iter().map(|&v| u32::from(v)).sum()
        };
        let map = heat_map(&grey, &[0.1, 0.4, f32::NAN, 0.2], 2);
        assert!(light(&map, 7, 3) > light(&map, 4, 4) && light(&map, 4, 4) > light(&map, 0, 0));
        assert_eq!(
            map.get_pixel(0, 4),
            map.get_pixel(3, 7),
            "a patch has one colour"
        );
        // Only the picture shows through where there is no heat: 0.35 of 100, and 0.65 of a dark blue.
        assert_eq!(map.get_pixel(0, 7).0, [35, 35, 40]);
        let none = heat_map(&grey, &[0.0; 4], 2);
        assert!(none.pixels().all(|p| p.0 == [35, 35, 40]));
    }
}
