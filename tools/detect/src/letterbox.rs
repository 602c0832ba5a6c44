//! Where a picture lies in the network's square input, and the way back.

use crate::error::PictureError;

/// The fit of one picture into the square input: scaled to touch, aspect kept, top-left aligned, the
/// rest padded at the right or below.
///
/// Pixels are areas: pixel (0, 0) covers 0..1 in both directions, so a box maps by scaling alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letterbox {
    source: (u32, u32),
    content: (u32, u32),
    size: u32,
}

impl Letterbox {
    /// Fits a picture of `width` x `height` pixels into `size` x `size`. The longer side becomes `size`
    /// exactly, enlarging a smaller picture; the shorter is rounded to the nearest pixel, at least 1.
    ///
    /// # Errors
    /// A picture without pixels, or with more than a mask can count.
    ///
    /// # Panics
    /// If `size` is 0.
    ///
    /// ```
    /// use intertwine_detect::Letterbox;
    /// let letterbox = Letterbox::new(640, 480, 320)?;
    /// assert_eq!(letterbox.content(), (320, 240));
    /// assert_eq!(letterbox.to_source([10.0, 20.0, 30.0, 40.0]), [20.0, 40.0, 60.0, 80.0]);
    /// # Ok::<(), intertwine_detect::PictureError>(())
    /// ```
    pub fn new(width: u32, height: u32, size: u32) -> Result<Self, PictureError> {
        assert!(size > 0, "the network's input has no pixels");
        if width == 0 || height == 0 {
            return Err(PictureError::Empty { width, height });
        }
        // Run-length masks count pixels in 32 bits.
        let limit = u64::from(u32::MAX);
        if u64::from(width) * u64::from(height) > limit {
            return Err(PictureError::TooLarge {
                width,
                height,
                limit,
            });
        }
        // In integers, so that no rounding of a scale can make the content larger than the input.
        let long = u64::from(width.max(height));
        let fit = |side: u32| {
            let scaled = (2 * u64::from(side) * u64::from(size) + long) / (2 * long);
            (scaled as u32).max(1)
        };
        Ok(Self {
            source: (width, height),
            content: (fit(width), fit(height)),
            size,
        })
    }

    /// (width, height) of the picture, pixels.
    pub fn source(&self) -> (u32, u32) {
        self.source
    }

    /// (width, height) the picture takes in the input, pixels; the rest is padding.
    pub fn content(&self) -> (u32, u32) {
        self.content
    }

    /// Side of the input, pixels.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Whether the picture already has the input's size, so that no pixel changes.
    pub fn is_identity(&self) -> bool {
        self.source == (self.size, self.size)
    }

    /// Input pixels per source pixel, horizontally and vertically. The two differ a little, since the
    /// shorter side is rounded.
    pub fn scale(&self) -> [f32; 2] {
        let ratio = |content: u32, source: u32| (f64::from(content) / f64::from(source)) as f32;
        [
            ratio(self.content.0, self.source.0),
            ratio(self.content.1, self.source.1),
        ]
    }

    /// Maps a box `[x0, y0, x1, y1]` from input pixels to source pixels and clips it to the picture.
    /// A NaN stays one.
    pub fn to_source(&self, bbox: [f32; 4]) -> [f32; 4] {
        let [sx, sy] = self.scale();
        let (w, h) = (self.source.0 as f32, self.source.1 as f32);
        let [x0, y0, x1, y1] = bbox;
        [
            (x0 / sx).clamp(0.0, w),
            (y0 / sy).clamp(0.0, h),
            (x1 / sx).clamp(0.0, w),
            (y1 / sy).clamp(0.0, h),
        ]
    }

    /// Maps a box `[x0, y0, x1, y1]` from source pixels to input pixels, as training does with the truth.
    pub fn to_input(&self, bbox: [f32; 4]) -> [f32; 4] {
        let [sx, sy] = self.scale();
        [bbox[0] * sx, bbox[1] * sy, bbox[2] * sx, bbox[3] * sy]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_worked_fits() {
        // (picture, input side) -> content. 500 x 375 at 384: 375 * 384 / 500 = 288 exactly;
        // 640 x 427 at 384: 427 * 0.6 = 256.2 -> 256; a sliver keeps one pixel; small ones grow.
        for ((w, h), size, content) in [
            ((500, 375), 384, (384, 288)),
            ((640, 427), 384, (384, 256)),
            ((427, 640), 384, (256, 384)),
            ((4000, 1), 384, (384, 1)),
            ((10, 5), 64, (64, 32)),
            ((3, 2), 4, (4, 3)), // 2.67 rounds up
            ((u32::MAX, 1), 4096, (4096, 1)),
        ] {
            let letterbox = Letterbox::new(w, h, size).unwrap();
            assert_eq!(letterbox.content(), content, "{w} x {h}");
        }
        assert!(Letterbox::new(64, 64, 64).unwrap().is_identity());
        assert!(!Letterbox::new(64, 63, 64).unwrap().is_identity());
    }

    #[test]
    fn boxes_clip_to_the_picture_not_to_the_input() {
        let letterbox = Letterbox::new(200, 100, 100).unwrap();
        // The lower half of the input is padding: a box reaching into it ends at the picture's edge.
        assert_eq!(
            letterbox.to_source([-5.0, 10.0, 300.0, 90.0]),
            [0.0, 20.0, 200.0, 100.0]
        );
    }

    #[test]
    fn a_picture_without_pixels_is_an_error() {
        assert!(matches!(
            Letterbox::new(0, 5, 64),
            Err(PictureError::Empty {
                width: 0,
                height: 5
            })
        ));
    }
}
