//! Pixels that know where they lie: a picture cannot be cropped without its field.
//!
//! [`Located<P>`] holds pixels and their [`Geometry`] in private fields. Its operations change both or
//! neither, its only origin is a whole picture, and nothing puts pixels and a geometry together from
//! outside. The chain is `Located<Region>` (a part of a picture, nothing computed yet), resized to
//! `Located<Canvas>` (planes of f32), cut into `Located<Patches>`, which is a [`View`].

use super::geometry::{Geometry, Grid, Rect, Window};
use super::resample::{resample, Filter};
use super::taps::Taps;
use super::vectorised::vectorised;
use fast_image_resize::{pixels::U8x3, Resizer};
use image::RgbImage;

/// Pixels and where they lie in the picture and in the field.
///
/// A crop takes the field along:
/// ```
/// use intertwine::field::{Filter, Located, Normalisation, PixelBox, Resampler, View, Window};
///
/// let picture = image::RgbImage::new(64, 64);
/// let crop = PixelBox { x: 8, y: 8, w: 32, h: 32 };
/// let region = Located::whole(&picture, Window::centred(0.35)).crop(crop)?.flip();
/// let canvas = region.resize(16, 16, Filter::Bicubic, &mut Resampler::default(), Default::default());
/// let mut view = View::default();
/// canvas.cut(8, Normalisation::IMAGENET, &mut view);
/// assert!(view.geometry().flip && view.geometry().rect.w == 0.5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
/// No view is made of pixels and whatever geometry is at hand:
/// ```compile_fail,E0451
/// use intertwine::field::{Geometry, Located, Region, Window};
/// fn forge<'a>(pixels: Region<'a>) -> Located<Region<'a>> {
///     Located { pixels, geometry: Geometry::whole(Window::WHOLE) }
/// }
/// ```
/// Pixels are not cropped alone:
/// ```compile_fail,E0616
/// use intertwine::field::{Located, PixelBox, Region};
/// fn crop(mut region: Located<Region>) -> Located<Region> {
///     region.pixels.area = PixelBox { x: 0, y: 0, w: 8, h: 8 };
///     region
/// }
/// ```
/// Nor is a geometry swapped alone:
/// ```compile_fail,E0616
/// use intertwine::field::{Geometry, View, Window};
/// fn swap(view: &mut View) {
///     view.geometry = Geometry::whole(Window::WHOLE);
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Located<P> {
    pixels: P,
    geometry: Geometry,
}

/// What the network takes: the patches of a view, and where it lies.
pub type View = Located<Patches>;

/// A box in pixels. Only a letterboxed picture may be cropped by a box that reaches beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelBox {
    /// Left edge.
    pub x: i32,
    /// Top edge.
    pub y: i32,
    /// Width, positive.
    pub w: u32,
    /// Height, positive.
    pub h: u32,
}

/// Why a crop was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the crop {crop:?} is empty or leaves its region of {width} x {height} pixels")]
pub struct CropError {
    /// The box asked for.
    pub crop: PixelBox,
    /// Width of what was to be cropped, in pixels.
    pub width: u32,
    /// Height of what was to be cropped, in pixels.
    pub height: u32,
}

/// A part of a picture, not yet resized.
#[derive(Clone, Copy, Debug)]
pub struct Region<'a> {
    picture: &'a RgbImage,
    /// In pixels of the picture.
    area: PixelBox,
    flip: bool,
    /// The colour around the picture, where one may be seen.
    padding: Option<[u8; 3]>,
}

/// The buffers of [`Located::resize`], kept between pictures.
#[derive(Debug, Default)]
pub struct Resampler {
    pub(crate) resizer: Resizer,
    /// Interleaved result of the resize.
    resized: Vec<u8>,
}

/// A resized region: red, green and blue planes of f32 in `[0, 1]`.
#[derive(Clone, Debug, Default)]
pub struct Canvas {
    width: usize,
    height: usize,
    planes: [Vec<f32>; 3],
}

/// Affine normalisation of the channels: `(v - mean) / std` of values in `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// Mean of red, green, blue.
    pub mean: [f32; 3],
    /// Standard deviation of red, green, blue, positive.
    pub std: [f32; 3],
}

impl Normalisation {
    /// The statistics of ImageNet's training pictures, as torchvision's and timm's models use them.
    pub const IMAGENET: Normalisation = Normalisation {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };
}

/// The patches of a view, normalised, as the patch embedding takes them: a row per patch in raster
/// order, `3 * patch * patch` columns in (channel, y, x) order, which is that of a `Conv2d` weight
/// flattened.
#[derive(Clone, Debug)]
pub struct Patches {
    values: Vec<f32>,
    grid: Grid,
    patch: usize,
    normalisation: Normalisation,
}

impl Default for View {
    /// A view of no patches, to be overwritten by [`Located::cut`].
    fn default() -> Self {
        let patches = Patches {
            values: Vec::new(),
            grid: Grid::new(0, 0),
            patch: 1,
            normalisation: Normalisation::IMAGENET,
        };
        Located {
            pixels: patches,
            geometry: Geometry::whole(Window::WHOLE),
        }
    }
}

impl<P> Located<P> {
    /// Where the pixels lie.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }
}

impl<'a> Located<Region<'a>> {
    /// The whole of `picture`, lying in `window` of the field.
    pub fn whole(picture: &'a RgbImage, window: Window) -> Self {
        let area = PixelBox {
            x: 0,
            y: 0,
            w: picture.width(),
            h: picture.height(),
        };
        let pixels = Region {
            picture,
            area,
            flip: false,
            padding: None,
        };
        Located {
            pixels,
            geometry: Geometry::whole(window),
        }
    }

    /// `picture` in the top-left corner of the smallest square that holds it, the rest of which, and
    /// whatever a crop shows beyond it, has the colour `padding`. The square is what lies in `window`.
    pub fn letterboxed(picture: &'a RgbImage, window: Window, padding: [u8; 3]) -> Self {
        let side = picture.width().max(picture.height());
        let area = PixelBox {
            x: 0,
            y: 0,
            w: side,
            h: side,
        };
        let pixels = Region {
            picture,
            area,
            flip: false,
            padding: Some(padding),
        };
        Located {
            pixels,
            geometry: Geometry::whole(window),
        }
    }

    /// Width and height in pixels of the picture.
    pub fn size(&self) -> (u32, u32) {
        (self.pixels.area.w, self.pixels.area.h)
    }

    /// The part of this region inside `crop`, in pixels from the region's top-left corner as seen,
    /// that is after a flip.
    ///
    /// # Errors
    /// If the box is empty, or leaves the region and the picture is not letterboxed.
    pub fn crop(self, crop: PixelBox) -> Result<Self, CropError> {
        let Region {
            area,
            flip,
            padding,
            ..
        } = self.pixels;
        let (width, height) = (i64::from(area.w), i64::from(area.h));
        let (x, y) = (i64::from(crop.x), i64::from(crop.y));
        let (w, h) = (i64::from(crop.w), i64::from(crop.h));
        let inside = x >= 0 && y >= 0 && x + w <= width && y + h <= height;
        let error = CropError {
            crop,
            width: area.w,
            height: area.h,
        };
        if w == 0 || h == 0 || !(inside || padding.is_some()) {
            return Err(error);
        }
        let x_in_area = if flip { width - x - w } else { x };
        let place =
            |corner: i32, offset: i64| i32::try_from(i64::from(corner) + offset).map_err(|_| error);
        let area = PixelBox {
            x: place(area.x, x_in_area)?,
            y: place(area.y, y)?,
            ..crop
        };
        let rect = Rect {
            x: x as f64 / width as f64,
            y: y as f64 / height as f64,
            w: w as f64 / width as f64,
            h: h as f64 / height as f64,
        };
        Ok(Located {
            pixels: Region {
                area,
                ..self.pixels
            },
            geometry: self.geometry.crop(rect),
        })
    }

    /// Mirrored left to right.
    #[must_use]
    pub fn flip(self) -> Self {
        let pixels = Region {
            flip: !self.pixels.flip,
            ..self.pixels
        };
        Located {
            pixels,
            geometry: self.geometry.flipped(),
        }
    }

    /// Resized to `width` x `height` pixels. Nothing outside the region is seen, as when a crop is
    /// cut out first and resized then. `canvas` is what an earlier picture left, to be overwritten.
    pub fn resize(
        self,
        width: u32,
        height: u32,
        filter: Filter,
        resampler: &mut Resampler,
        mut canvas: Canvas,
    ) -> Located<Canvas> {
        let Resampler { resizer, resized } = resampler;
        let Region {
            picture,
            area,
            flip,
            padding,
        } = self.pixels;
        resized.resize(width as usize * height as usize * 3, 0);
        resample(
            (picture.as_raw(), picture.width(), picture.height()),
            area,
            filter,
            U8x3::new(padding.unwrap_or_default()),
            (resized, width, height),
            resizer,
        );
        canvas.fill_from(resized, width as usize, height as usize, flip);
        Located {
            pixels: canvas,
            geometry: self.geometry,
        }
    }
}

impl Canvas {
    /// From interleaved bytes.
    fn fill_from(&mut self, interleaved: &[u8], width: usize, height: usize, flip: bool) {
        (self.width, self.height) = (width, height);
        for plane in &mut self.planes {
            plane.resize(width * height, 0.0);
        }
        let [red, green, blue] = self.planes.each_mut().map(Vec::as_mut_slice);
        vectorised(
            #[inline(always)]
            || {
                let (pixels, _) = interleaved.as_chunks::<3>();
                let channels = red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut());
                for (&[r, g, b], ((red, green), blue)) in pixels.iter().zip(channels) {
                    *red = f32::from(r) * (1.0 / 255.0);
                    *green = f32::from(g) * (1.0 / 255.0);
                    *blue = f32::from(b) * (1.0 / 255.0);
                }
            },
        );
        if flip {
            for plane in [red, green, blue] {
                plane.chunks_exact_mut(width).for_each(<[f32]>::reverse);
            }
        }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Red, green and blue, each `height * width` values in `[0, 1]`, row by row.
    pub fn planes(&self) -> [&[f32]; 3] {
        self.planes.each_ref().map(Vec::as_slice)
    }
}

impl Located<Canvas> {
    /// The planes, for operations that leave every pixel where it is: colour, blur, solarisation.
    /// Only augmentation gets at them, so that nobody moves pixels under their geometry.
    pub(crate) fn planes_mut(&mut self) -> [&mut Vec<f32>; 3] {
        self.pixels.planes.each_mut()
    }

    /// The pixels.
    pub fn canvas(&self) -> &Canvas {
        &self.pixels
    }

    /// The pixels alone, as a canvas to draw the next region on.
    pub fn into_canvas(self) -> Canvas {
        self.pixels
    }

    /// Cuts the canvas into patches of `patch` x `patch` pixels, normalised, overwriting `view`.
    ///
    /// # Panics
    /// If a side of the canvas is not a multiple of `patch`.
    pub fn cut(&self, patch: usize, normalisation: Normalisation, view: &mut View) {
        let Canvas {
            width,
            height,
            planes,
        } = &self.pixels;
        assert!(
            patch > 0 && width.is_multiple_of(patch) && height.is_multiple_of(patch),
            "{width} x {height} pixels do not divide into patches of {patch} x {patch}"
        );
        let grid = Grid::new(height / patch, width / patch);
        view.geometry = self.geometry;
        let out = &mut view.pixels;
        (out.grid, out.patch, out.normalisation) = (grid, patch, normalisation);
        out.values.resize(3 * width * height, 0.0);
        let values = out.values.as_mut_slice();
        vectorised(
            #[inline(always)]
            || {
                let area = patch * patch;
                for (channel, plane) in planes.iter().enumerate() {
                    let scale = 1.0 / normalisation.std[channel];
                    let offset = -normalisation.mean[channel] * scale;
                    for (y, row) in plane.chunks_exact(*width).enumerate() {
                        let start =
                            (y / patch * grid.width * 3 + channel) * area + y % patch * patch;
                        let rows = values[start..].chunks_mut(3 * area);
                        for (run, out) in row.chunks_exact(patch).zip(rows) {
                            for (v, o) in run.iter().zip(&mut out[..patch]) {
                                *o = v * scale + offset;
                            }
                        }
                    }
                }
            },
        );
    }
}

impl View {
    /// The patches: `grid().len()` rows of `3 * patch * patch` values.
    pub fn patches(&self) -> &[f32] {
        &self.pixels.values
    }

    /// The patches alone, to move them into a tensor.
    pub fn into_patches(self) -> Vec<f32> {
        self.pixels.values
    }

    /// Rows and columns of patches.
    pub fn grid(&self) -> Grid {
        self.pixels.grid
    }

    /// Side of a patch in pixels.
    pub fn patch(&self) -> usize {
        self.pixels.patch
    }

    /// Appends the taps of the patches in a learned field of `field` cells.
    pub fn taps(&self, field: Grid, taps: &mut Taps) {
        taps.extend(self.geometry.positions(self.pixels.grid), field);
    }

    /// The view as a picture, the normalisation undone, for people to look at.
    pub fn to_rgb(&self) -> RgbImage {
        let Patches {
            values,
            grid,
            patch,
            normalisation,
        } = &self.pixels;
        let (width, height) = (grid.width * patch, grid.height * patch);
        RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let (x, y) = (x as usize, y as usize);
            let row = y / patch * grid.width + x / patch;
            image::Rgb([0, 1, 2].map(|channel| {
                let value = values[((row * 3 + channel) * patch + y % patch) * patch + x % patch];
                ((value * normalisation.std[channel] + normalisation.mean[channel]) * 255.0).round()
                    as u8
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let [red, green, blue] = canvas.canvas().planes();
        assert!(red.iter().all(|&v| v == 1.0) && green.iter().all(|&v| v == 0.0));
        assert!(blue.iter().all(|&v| (v - 0.2).abs() < 1e-6));
    }
}
