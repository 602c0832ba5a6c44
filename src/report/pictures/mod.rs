//! The report's pictures: fields, masks, features and attention.
//!
//! Each function takes plain values and gives an `RgbImage`; none touches files. A list that does not
//! have the length its grid or picture says is a bug of the caller, and panics with both numbers.

mod canvas;
mod field;
mod heat;
mod masks;
mod pca;

pub use field::field_arrows;
pub use heat::heat_map;
pub use masks::{mask_overlay, MaskKind};
pub use pca::{pca_rgb, principal_components, FeatureMap, PrincipalComponents};

use std::io::Cursor;

use image::{imageops, ImageFormat, ImageResult, Rgb, RgbImage};

/// The picture `factor` times as large, each pixel a square.
pub fn enlarge(image: &RgbImage, factor: u32) -> RgbImage {
    let (width, height) = image.dimensions();
    RgbImage::from_fn(width * factor, height * factor, |x, y| {
        *image.get_pixel(x / factor, y / factor)
    })
}

/// The picture as a PNG file.
///
/// # Errors
/// If it has no pixels.
pub fn png(image: &RgbImage) -> ImageResult<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png)?;
    Ok(bytes.into_inner())
}

/// The smallest whole factor that makes a side of `length` pixels at least `target` long.
fn factor_to(length: u32, target: u32) -> u32 {
    target.div_ceil(length.max(1)).max(1)
}

/// Pixels between the pictures of a contact sheet.
const GAP: u32 = 4;

/// The first column of a contact sheet of `rows` rows of squares.
pub fn first_column(sheet: &RgbImage, rows: u32) -> RgbImage {
    let side = ((sheet.height() + GAP) / rows.max(1)).saturating_sub(GAP);
    let (width, height) = (side.min(sheet.width()), sheet.height());
    imageops::crop_imm(sheet, 0, 0, width, height).to_image()
}

/// Pictures in rows of `columns` (at least 1), each centred in a cell of the largest width and height,
/// four pixels apart on grey. No pictures give a picture of no pixels.
pub fn contact_sheet(images: &[RgbImage], columns: usize) -> RgbImage {
    let columns = columns.clamp(1, images.len().max(1));
    let cell = images
        .iter()
        .fold((0, 0), |(w, h), i| (w.max(i.width()), h.max(i.height())));
    let side = |count: usize, length: u32| (count as u32 * (length + GAP)).saturating_sub(GAP);
    let rows = images.len().div_ceil(columns);
    let (width, height) = (side(columns.min(images.len()), cell.0), side(rows, cell.1));
    let mut sheet = RgbImage::from_pixel(width, height, Rgb([128; 3]));
    for (i, image) in images.iter().enumerate() {
        let (column, row) = ((i % columns) as u32, (i / columns) as u32);
        let x = column * (cell.0 + GAP) + (cell.0 - image.width()) / 2;
        let y = row * (cell.1 + GAP) + (cell.1 - image.height()) / 2;
        imageops::replace(&mut sheet, image, i64::from(x), i64::from(y));
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_sheet_centres_pictures_of_any_size() {
        let image = |w, h, v| RgbImage::from_pixel(w, h, Rgb([v; 3]));
        let sheet = contact_sheet(&[image(10, 6, 1), image(4, 8, 2), image(10, 2, 3)], 2);
        assert_eq!(sheet.dimensions(), (24, 20));
        assert_eq!(sheet.get_pixel(0, 1).0, [1; 3]);
        assert_eq!(sheet.get_pixel(0, 0).0, [128; 3]);
        assert_eq!(sheet.get_pixel(17, 0).0, [2; 3]);
        assert_eq!(sheet.get_pixel(16, 0).0, [128; 3]);
        assert_eq!(sheet.get_pixel(9, 15).0, [3; 3]);
        assert_eq!(contact_sheet(&[], 3).dimensions(), (0, 0));
        assert_eq!(contact_sheet(&[image(3, 3, 9)], 0), image(3, 3, 9));
    }

    #[test]
    fn the_first_column_is_cut_out_of_a_sheet() {
        let square = |v| RgbImage::from_pixel(10, 10, Rgb([v; 3]));
        let cells: Vec<_> = (1..=6).map(square).collect();
        let column = first_column(&contact_sheet(&cells, 2), 3);
        assert_eq!(column, contact_sheet(&[square(1), square(3), square(5)], 1));
    }

    #[test]
    fn enlarging_makes_squares() {
        let image = RgbImage::from_fn(2, 1, |x, _| Rgb([x as u8; 3]));
        let large = enlarge(&image, 3);
        assert_eq!(large.dimensions(), (6, 3));
        assert!(large
            .enumerate_pixels()
            .all(|(x, _, p)| p.0[0] == u8::from(x >= 3)));
    }
}
