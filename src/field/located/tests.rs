//! Pixels lie where their geometry says.

use super::*;
use crate::field::geometry::Grid;
use proptest::prelude::*;

/// Every pixel says where it is.
fn map(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 0]))
}

proptest! {
    /// However a region was cropped and mirrored, each pixel is where its geometry says: the colour
    /// of a pixel is its place in the picture.
    #[test]
    fn geometry_says_where_pixels_are(
        steps in prop::collection::vec((0.0..1.0, 0.0..1.0, 0.0..1.0, 0.0..1.0, any::<bool>()), 1..5),
        (width, height) in (1u32..200, 1u32..200),
    ) {
        let picture = map(width, height);
        let mut region = Located::whole(&picture, Window::WHOLE);
        for (x, y, w, h, flip) in steps {
            let (width, height) = region.size();
            let part = |share: f64, length: u32| ((share * f64::from(length)) as u32).min(length - 1);
            let (x, y) = (part(x, width), part(y, height));
            let crop = PixelBox {
                x: x as i32,
                y: y as i32,
                w: 1 + part(w, width - x),
                h: 1 + part(h, height - y),
            };
            region = region.crop(crop).unwrap();
            if flip {
                region = region.flip();
            }
        }
        let (w, h) = region.size();
        let canvas = region.resize(w, h, Filter::Bicubic, &mut Resampler::default(), Canvas::default());
        let mut view = View::default();
        canvas.cut(1, Normalisation { mean: [0.0; 3], std: [1.0; 3] }, &mut view);
        prop_assert_eq!(view.grid(), Grid::new(h as usize, w as usize));
        for (pixel, [x, y]) in view.patches().chunks_exact(3).zip(view.geometry().positions(view.grid())) {
            prop_assert!((pixel[0] * 255.0 + 0.5 - x * width as f32).abs() < 1e-2);
            prop_assert!((pixel[1] * 255.0 + 0.5 - y * height as f32).abs() < 1e-2);
        }
    }
}

#[test]
fn crops_that_leave_the_picture_are_refused() {
    let picture = map(10, 8);
    let crop = |x, y, w, h| PixelBox { x, y, w, h };
    for bad in [
        crop(-1, 0, 5, 5),
        crop(6, 0, 5, 5),
        crop(0, 4, 5, 5),
        crop(0, 0, 0, 5),
        crop(i32::MAX, 0, u32::MAX, 1),
    ] {
        let error = Located::whole(&picture, Window::WHOLE)
            .crop(bad)
            .unwrap_err();
        assert_eq!((error.crop, error.width, error.height), (bad, 10, 8));
    }
    assert!(Located::letterboxed(&picture, Window::WHOLE, [0; 3])
        .crop(crop(-1, 0, 5, 50))
        .is_ok());
    assert!(Located::letterboxed(&picture, Window::WHOLE, [0; 3])
        .crop(crop(0, 0, 0, 5))
        .is_err());
}

/// A letterboxed crop that shows nothing of the picture shows its padding.
#[test]
fn padding_surrounds_the_picture() {
    let picture = map(10, 8);
    let far = PixelBox {
        x: 500,
        y: -70,
        w: 4,
        h: 4,
    };
    let region = Located::letterboxed(&picture, Window::WHOLE, [255, 0, 51])
        .crop(far)
        .unwrap();
    let canvas = region.resize(
        8,
        8,
        Filter::Bilinear,
        &mut Resampler::default(),
        Canvas::default(),
    );
    let seen = canvas.canvas().to_rgb();
    assert!(seen.pixels().all(|p| p.0 == [255, 0, 51]));
}
