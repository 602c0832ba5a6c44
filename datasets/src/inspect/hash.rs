//! Two numbers that stand for a picture: one for its exact pixels, one for what it looks like.

use image::RgbImage;

/// Side of the small grey picture that is looked at.
const SMALL: usize = 32;
/// Frequencies that are kept of each direction.
const FREQUENCIES: usize = 8;
/// A small grey picture whose standard deviation is below this (of 255) has nothing to be told by.
const FLAT: f64 = 2.;

/// The first 128 bits of the BLAKE3 of width, height and pixels: equal for equal pictures, and only for them.
pub(super) fn exact(image: &RgbImage) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&image.width().to_le_bytes());
    hasher.update(&image.height().to_le_bytes());
    hasher.update(image.as_raw());
    let mut bits = [0; 16];
    hasher.finalize_xof().fill(&mut bits);
    u128::from_le_bytes(bits)
}

/// The DCT hash of pHash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010,
/// section 3.2.1), in 64 bits that differ little between pictures that look alike.
///
/// The picture's luma (0.299 R + 0.587 G + 0.114 B) is averaged over 32 x 32 equal cells, whatever its
/// shape, and the two-dimensional DCT-II of these is taken. Of the coefficients with frequencies 1 to 8 both
/// ways, row by row from the highest bit, a bit is set where the coefficient is above the median of the 64
/// (the mean of the middle two). None for a picture that is nearly of one colour.
pub(super) fn perceptual(image: &RgbImage) -> Option<u64> {
    let small = cells(image);
    let mean = small.iter().flatten().sum::<f64>() / (SMALL * SMALL) as f64;
    let square = |value: &f64| (value - mean).powi(2);
    let variance = small.iter().flatten().map(square).sum::<f64>() / (SMALL * SMALL) as f64;
    if variance.sqrt() < FLAT {
        return None;
    }
    let waves: [[f64; SMALL]; FREQUENCIES] = std::array::from_fn(|u| {
        let angle = std::f64::consts::PI * (u + 1) as f64 / (2 * SMALL) as f64;
        std::array::from_fn(|x| (angle * (2 * x + 1) as f64).cos())
    });
    let dot =
        |a: &[f64; SMALL], b: &[f64; SMALL]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let mut coefficients = [0.; FREQUENCIES * FREQUENCIES];
    for (u, wave) in waves.iter().enumerate() {
        let column: [f64; SMALL] = std::array::from_fn(|y| dot(&small[y], wave));
        for (v, wave) in waves.iter().enumerate() {
            coefficients[v * FREQUENCIES + u] = dot(&column, wave);
        }
    }
    let mut sorted = coefficients;
    sorted.sort_by(f64::total_cmp);
    let median = (sorted[31] + sorted[32]) / 2.;
    let bit = |bits: u64, &c: &f64| bits << 1 | u64::from(c > median);
    Some(coefficients.iter().fold(0, bit))
}

/// The picture's luma, averaged over 32 x 32 cells; pixels on a border count for both sides by their share.
fn cells(image: &RgbImage) -> [[f64; SMALL]; SMALL] {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (columns, rows) = (shares(width), shares(height));
    let mut small = [[0.; SMALL]; SMALL];
    let mut luma = vec![0.; width];
    for (y, row) in image.as_raw().chunks_exact(3 * width).enumerate() {
        for (luma, [r, g, b]) in luma.iter_mut().zip(row.as_chunks().0) {
            let sum = 299 * u32::from(*r) + 587 * u32::from(*g) + 114 * u32::from(*b);
            *luma = f64::from(sum) / 1000.;
        }
        let mut averages = [0.; SMALL];
        for (average, cell) in averages.iter_mut().zip(&columns) {
            *average = cell.iter().map(|&(x, share)| luma[x] * share).sum();
        }
        for (small, cell) in small.iter_mut().zip(&rows) {
            let Some(&(_, share)) = cell.iter().find(|(at, _)| *at == y) else {
                continue;
            };
            small
                .iter_mut()
                .zip(&averages)
                .for_each(|(small, average)| *small += average * share);
        }
    }
    small
}

/// For each of 32 equal cells of a line the pixels it covers, with the share of the cell that each makes up.
fn shares(pixels: usize) -> Vec<Vec<(usize, f64)>> {
    let cell = pixels as f64 / SMALL as f64;
    let shares = |i: usize| {
        let (from, to) = (i as f64 * cell, (i + 1) as f64 * cell);
        let last = (to.ceil() as usize).min(pixels);
        let share = |x: usize| (to.min(x as f64 + 1.) - from.max(x as f64)) / cell;
        (from as usize..last).map(|x| (x, share(x))).collect()
    };
    (0..SMALL).map(shares).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: [(u32, u32, u32, u64); 4] = [
        (64, 48, 1, 0x3264_50f5_ae89_2e77),
        (120, 90, 3, 0x0001_3f4e_7e55_d5d7),
        (33, 100, 5, 0x0419_f30e_fae1_6f4a),
        (20, 17, 9, 0x25cb_65a9_55ac_55aa),
    ];

    /// The pictures of `tests/peers/perceptual_hash.py`, which made the expected values with NumPy and SciPy.
    fn drawn(width: u32, height: u32, k: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([
                ((x * x * k / 7 + y * 3) % 256) as u8,
                ((x * 2 + y * y / (k + 1)) % 256) as u8,
                ((x * y / 5 + 40 * k) % 256) as u8,
            ])
        })
    }

    #[test]
    fn the_hash_is_that_of_scipy() {
        for (width, height, k, expected) in EXPECTED {
            let found = perceptual(&drawn(width, height, k)).unwrap();
            assert_eq!(found, expected, "{width} x {height}, {k}: {found:#018x}");
        }
    }

    #[test]
    fn it_stays_close_under_small_changes_and_no_others() {
        let picture = drawn(120, 90, 3);
        let hash = perceptual(&picture).unwrap();
        let bits = |other: &RgbImage| (perceptual(other).unwrap() ^ hash).count_ones();
        let half = image::imageops::thumbnail(&picture, 60, 45);
        let brighter = |value: u8| (u32::from(value) * 3 / 4 + 20) as u8;
        let bright = RgbImage::from_fn(120, 90, |x, y| image::Rgb(picture[(x, y)].0.map(brighter)));
        assert!(
            bits(&half) <= 4 && bits(&bright) <= 4,
            "{} {}",
            bits(&half),
            bits(&bright)
        );
        assert!(bits(&drawn(120, 90, 5)) > 12);
        assert_eq!(perceptual(&RgbImage::new(50, 50)), None);
        assert_ne!(exact(&RgbImage::new(20, 30)), exact(&RgbImage::new(30, 20)));
    }
}
