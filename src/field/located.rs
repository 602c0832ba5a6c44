//! Pixels that know where they lie: a picture cannot be cropped without its field.
//!
//! [`Located<P>`] holds pixels and their [`Geometry`] in private fields. Its operations change both or
//! neither, its only origin is a whole picture, and nothing puts pixels and a geometry together from
//! outside. The chain is `Located<Region>` (a part of a picture, nothing computed yet), resized to
//! `Located<Canvas>` (bytes), rendered into `Located<Patches>`, which is a [`View`].
//!
//! # Layout
//! - here: regions, cropped and mirrored
//! - `canvas`: resized regions
//! - `view`: patches

mod canvas;
#[cfg(test)]
mod tests;
mod view;

use super::geometry::{Geometry, Rect, Window};
use super::Filter;
use image::RgbImage;

pub use canvas::{Canvas, Resampler};
pub use view::{Normalisation, Patches, View};

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
        canvas.draw(self.pixels, (width, height), filter, resampler);
        Located {
            pixels: canvas,
            geometry: self.geometry,
        }
    }
}
