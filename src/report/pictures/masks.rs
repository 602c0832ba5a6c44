//! A crop with its masked patches: grey where content is hidden, hatched where position is.

use super::canvas::blend;
use super::{enlarge, factor_to};
use image::{Rgb, RgbImage};

/// The drawn crop's smaller side is at least this many pixels.
const SHOWN_SIDE: u32 = 192;

/// Which of the two embeddings of a patch the student does not see; METHOD section 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskKind {
    /// The content embedding is replaced: the patch is drawn grey.
    Content,
    /// The position embedding is replaced: the patch's pixels stay, hatched.
    Position,
}

/// Draws `crop` with the patches of `mask` marked.
///
/// `grid` is (rows, columns) of patches, `mask` one flag for each in row order.
///
/// # Panics
/// If there are not rows x columns flags.
pub fn mask_overlay(
    crop: &RgbImage,
    grid: (usize, usize),
    mask: &[bool],
    kind: MaskKind,
) -> RgbImage {
    let (rows, columns) = grid;
    assert_eq!(
        mask.len(),
        rows * columns,
        "flags of a grid of {rows} x {columns} patches"
    );
    let mut picture = enlarge(crop, factor_to(crop.width().min(crop.height()), SHOWN_SIDE));
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let (column, row) = (x as usize * columns / width, y as usize * rows / height);
        if !mask[row * columns + column] {
            continue;
        }
        match kind {
            MaskKind::Content => *pixel = Rgb([128; 3]),
            // Stripes of 2 in 8 pixels, light beside dark, so that they show on any ground.
            MaskKind::Position => match (x + y) % 8 {
                0 | 1 => blend(pixel, Rgb([255; 3]), 0.85),
                2 | 3 => blend(pixel, Rgb([0; 3]), 0.55),
                _ => {}
            },
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_masked_patches_change() {
        let crop = RgbImage::from_fn(96, 48, |x, y| Rgb([x as u8, y as u8, 7]));
        let mut mask = vec![false; 8];
        mask[5] = true;
        for kind in [MaskKind::Content, MaskKind::Position] {
            let drawn = mask_overlay(&crop, (2, 4), &mask, kind);
            let plain = enlarge(&crop, 4);
            assert_eq!(drawn.dimensions(), (384, 192));
            let mut changed = 0;
            for ((x, y, a), b) in drawn.enumerate_pixels().zip(plain.pixels()) {
                let inside = (96..192).contains(&x) && (96..192).contains(&y);
                assert!(a == b || inside, "({x}, {y}) changed");
                changed += u32::from(a != b);
            }
            let expected = if kind == MaskKind::Content {
                96 * 96
            } else {
                96 * 96 / 2
            };
            assert_eq!(changed, expected);
        }
    }
}
