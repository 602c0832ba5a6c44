//! What training and the edge must read alike in a picture file: [`over_black`], the colours of what is transparent, and
//! [`damage`], what `image`'s decoders must not be given.

mod damage;

pub use damage::damage;

use image::{DynamicImage, RgbImage};

/// To 8-bit RGB, transparent pixels over black: the colour behind full transparency is arbitrary.
pub fn over_black(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    let mut rgb = RgbImage::new(rgba.width(), rgba.height());
    for (to, from) in rgb.pixels_mut().zip(rgba.pixels()) {
        let [r, g, b, alpha] = from.0.map(u16::from);
        to.0 = [r, g, b].map(|value| ((value * alpha + 127) / 255) as u8);
    }
    rgb
}

#[cfg(test)]
mod tests {
    use image::{GrayAlphaImage, GrayImage, Luma, LumaA, Rgb, Rgba, RgbaImage};

    use super::*;

    #[test]
    fn transparency_is_laid_over_black() {
        let alpha = [0, 51, 128, 255];
        let picture = RgbaImage::from_fn(4, 1, |x, _| Rgba([200, 100, 50, alpha[x as usize]]));
        let black: Vec<_> = over_black(picture.into()).pixels().map(|p| p.0).collect();
        assert_eq!(black, [[0; 3], [40, 20, 10], [100, 50, 25], [200, 100, 50]]);
        let grey = GrayAlphaImage::from_pixel(2, 2, LumaA([90, 0]));
        assert_eq!(over_black(grey.into()), RgbImage::new(2, 2));
    }

    #[test]
    fn what_is_not_transparent_keeps_its_colours() {
        let grey = GrayImage::from_pixel(3, 2, Luma([9]));
        let colour = RgbImage::from_pixel(3, 2, Rgb([9; 3]));
        assert_eq!(over_black(grey.into()), colour);
    }
}
