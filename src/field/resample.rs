//! Resizing a part of a picture, or of a mask, with whatever lies around it left out.

use super::PixelBox;
use fast_image_resize as fir;
use fir::images::{TypedCroppedImage, TypedCroppedImageMut, TypedImage, TypedImageRef};

/// Resampling filters, antialiased as in Pillow: the kernel widens with the reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Triangle, support 1.
    Bilinear,
    /// Cubic convolution with a = -1/2 (Catmull-Rom), support 2.
    Bicubic,
}

/// Resizes the part of `source` inside `area` to `width` x `height` pixels, into `out`. Where `area`
/// reaches beyond the source, `out` gets `padding`. Nothing of the source outside `area` is seen, as when
/// a crop is cut out first and resized then, which is what torchvision does.
pub(crate) fn resample<P: fir::PixelTrait>(
    (source, source_w, source_h): (&[u8], u32, u32),
    area: PixelBox,
    filter: Filter,
    padding: P,
    (out, width, height): (&mut [u8], u32, u32),
    resizer: &mut fir::Resizer,
) {
    let across = Overlap::new(area.x, area.w, source_w, width);
    let down = Overlap::new(area.y, area.h, source_h, height);
    // None of these fails: the buffers hold their pixels, the overlaps lie in their images, and the
    // pixel types are equal. A panic here would be an error of this file.
    let source = TypedImageRef::<P>::from_buffer(source_w, source_h, source)
        .expect("the source holds its pixels");
    let mut out =
        TypedImage::<P>::from_buffer(width, height, out).expect("the output holds its pixels");
    if (across.to.1, down.to.1) != (width, height) {
        out.pixels_mut().fill(padding);
    }
    if across.is_empty() || down.is_empty() {
        return;
    }
    let from = TypedCroppedImage::from_ref(
        &source,
        across.from.0,
        down.from.0,
        across.from.1,
        down.from.1,
    )
    .expect("the overlap lies in the source");
    let mut to = TypedCroppedImageMut::new(out, across.to.0, down.to.0, across.to.1, down.to.1)
        .expect("the overlap lies in the output");
    let filter = match filter {
        Filter::Bilinear => fir::FilterType::Bilinear,
        Filter::Bicubic => fir::FilterType::CatmullRom,
    };
    let options = fir::ResizeOptions::new()
        .resize_alg(fir::ResizeAlg::Convolution(filter))
        .use_alpha(false);
    resizer
        .resize_typed(&from, &mut to, &options)
        .expect("no side is zero");
}

/// What an area shows of an axis of the source, and where that comes to lie on the output's axis, to
/// the nearest pixel; each as (start, length).
struct Overlap {
    from: (u32, u32),
    to: (u32, u32),
}

impl Overlap {
    fn new(start: i32, length: u32, source: u32, output: u32) -> Self {
        let (start, length) = (i64::from(start), i64::from(length));
        let first = start.clamp(0, i64::from(source));
        let last = (start + length).clamp(first, i64::from(source));
        let scaled = |at: i64| {
            let at = (at - start).clamp(0, length) as f64 / length as f64;
            (at * f64::from(output)).round() as u32
        };
        let (to_first, to_last) = (scaled(first), scaled(last));
        Overlap {
            from: (first as u32, (last - first) as u32),
            to: (to_first, to_last - to_first),
        }
    }

    fn is_empty(&self) -> bool {
        self.from.1 == 0 || self.to.1 == 0
    }
}
