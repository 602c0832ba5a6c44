//! Resizing a part of a mask, with whatever lies around it left out.

use super::overlap::Overlap;
use super::PixelBox;
use fast_image_resize as fir;
use fir::images::{TypedCroppedImage, TypedCroppedImageMut, TypedImage, TypedImageRef};
use fir::pixels::U8;

/// Resizes the part of `mask` inside `area` to `width` x `height` pixels, into `out`, bilinearly. Where `area` reaches
/// beyond the mask, `out` gets 0. Pictures go the same way, in `Canvas::draw`.
pub(crate) fn resample_mask(
    (mask, mask_w, mask_h): (&[u8], u32, u32),
    area: PixelBox,
    (out, width, height): (&mut [u8], u32, u32),
    resizer: &mut fir::Resizer,
) {
    let across = Overlap::new(area.x, area.w, mask_w, width);
    let down = Overlap::new(area.y, area.h, mask_h, height);
    // None of these fails: the buffers hold their pixels, the overlaps lie in their images, and the
    // pixel types are equal. A panic here would be an error of this file.
    let source =
        TypedImageRef::<U8>::from_buffer(mask_w, mask_h, mask).expect("the mask holds its pixels");
    if (across.to.1, down.to.1) != (width as usize, height as usize) {
        out.fill(0);
    }
    if across.is_empty() || down.is_empty() {
        return;
    }
    let out =
        TypedImage::<U8>::from_buffer(width, height, out).expect("the output holds its pixels");
    let sides = |(x, w): (usize, usize), (y, h): (usize, usize)| {
        [x, y, w, h].map(|side| u32::try_from(side).expect("sides were given as u32"))
    };
    let [x, y, w, h] = sides(across.from, down.from);
    let from =
        TypedCroppedImage::from_ref(&source, x, y, w, h).expect("the overlap lies in the source");
    let [x, y, w, h] = sides(across.to, down.to);
    let mut to =
        TypedCroppedImageMut::new(out, x, y, w, h).expect("the overlap lies in the output");
    let options = fir::ResizeOptions::new()
        .resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Bilinear))
        .use_alpha(false);
    resizer
        .resize_typed(&from, &mut to, &options)
        .expect("no side is zero");
}
