//! `zpix`: the lossless pixel encoding of packed pictures, made to be decoded fast.
//!
//! A picture is cut into strips of [`STRIP_ROWS`] rows. Of each strip three planes are made, G, R-G and
//! B-G (all arithmetic modulo 256; photographs change in brightness more than in colour, so the
//! differences are small, and all zero for a grey picture). Each plane is replaced by its difference
//! along the row and then along the column, counting what lies outside the strip as zero. The planes
//! of a strip, one after the other, are one zstd frame.
//!
//! Undoing the column difference is an addition of whole rows, undoing the row difference a running sum
//! of three independent chains, so decoding runs at about the speed of zstd itself.
//! `FORMAT.md` states the bytes.

use std::ops::Range;

/// Rows in a strip, except for the last one, which holds the rest. A strip of a picture 400 pixels wide
/// is 77 kB, so that what zstd wrote is still in the second-level cache when the planes are put together.
pub const STRIP_ROWS: usize = 64;

/// Higher levels were measured to gain less than they cost, decoding does not get faster with them.
const ZSTD_LEVEL: i32 = 1;

/// What encoding needs besides its arguments: keep it between calls, one for each thread.
#[derive(Default)]
pub struct Encoder {
    zstd: zstd::bulk::Compressor<'static>,
    planes: Vec<u8>,
    /// Room for the frame of a strip that does not compress.
    frame: Vec<u8>,
}

impl Encoder {
    /// Encodes interleaved RGB of `width` pixels a row, appending to `out`.
    ///
    /// # Panics
    /// If `rgb` is not a whole number of rows, at least one.
    pub fn encode(&mut self, rgb: &[u8], width: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
        assert!(
            width > 0 && !rgb.is_empty() && rgb.len().is_multiple_of(3 * width),
            "whole rows of RGB"
        );
        self.zstd.set_compression_level(ZSTD_LEVEL)?;
        let table = out.len();
        let strips = rgb.chunks(3 * width * STRIP_ROWS);
        out.resize(table + 4 * strips.len(), 0);
        for (entry, strip) in strips.enumerate() {
            self.planes.resize(strip.len(), 0);
            split_planes(strip, width, &mut self.planes);
            // Only ever made longer: zeroing it for each strip would cost as much as copying the frame.
            let bound = zstd::zstd_safe::compress_bound(strip.len());
            self.frame.resize(bound.max(self.frame.len()), 0);
            let written = self
                .zstd
                .compress_to_buffer(&self.planes, &mut self.frame[..])?;
            out.extend_from_slice(&self.frame[..written]);
            let length =
                u32::try_from(written).expect("a strip is far below 4 GiB: sides are limited");
            out[table + 4 * entry..][..4].copy_from_slice(&length.to_le_bytes());
        }
        Ok(())
    }
}

/// What decoding needs besides its arguments: keep it between calls, one for each thread.
#[derive(Default)]
pub struct Decoder {
    zstd: zstd::bulk::Decompressor<'static>,
    planes: Vec<u8>,
}

impl Decoder {
    /// Decodes a whole picture of `width` pixels a row into `rgb`, whose length says the height.
    ///
    /// # Errors
    /// Says in words what is wrong with `bytes`; `rgb` is then partly written.
    pub fn decode(&mut self, bytes: &[u8], width: usize, rgb: &mut [u8]) -> Result<(), String> {
        let strip_len = 3 * width * STRIP_ROWS;
        let frames = frames(bytes, rgb.len().div_ceil(strip_len))?;
        for (strip, (frame, out)) in frames
            .into_iter()
            .zip(rgb.chunks_mut(strip_len))
            .enumerate()
        {
            self.planes.resize(out.len(), 0);
            let written = self
                .zstd
                .decompress_to_buffer(&bytes[frame], &mut self.planes[..])
                .map_err(|e| {
                    format!("strip {strip} is no zstd frame of {} bytes: {e}", out.len())
                })?;
            if written != out.len() {
                return Err(format!(
                    "strip {strip} holds {written} bytes, expected {}",
                    out.len()
                ));
            }
            join_planes(&mut self.planes, width, out);
        }
        Ok(())
    }
}

/// Where each strip's frame lies in `bytes`; they must fill it exactly.
fn frames(bytes: &[u8], strips: usize) -> Result<Vec<Range<usize>>, String> {
    let mut start = 4 * strips;
    let table = bytes.get(..start).ok_or_else(|| {
        format!(
            "{} bytes are too few for a table of {strips} strips",
            bytes.len()
        )
    })?;
    let mut frames = Vec::with_capacity(strips);
    for entry in table.as_chunks::<4>().0 {
        let end = start + u32::from_le_bytes(*entry) as usize;
        if end > bytes.len() {
            return Err(format!(
                "strip {} ends at byte {end} of {}",
                frames.len(),
                bytes.len()
            ));
        }
        frames.push(start..end);
        start = end;
    }
    if start != bytes.len() {
        return Err(format!("the strips end at byte {start} of {}", bytes.len()));
    }
    Ok(frames)
}

fn split_planes(rgb: &[u8], width: usize, planes: &mut [u8]) {
    let plane_len = rgb.len() / 3;
    let (green, rest) = planes.split_at_mut(plane_len);
    let (red, blue) = rest.split_at_mut(plane_len);
    let rows = green
        .chunks_exact_mut(width)
        .zip(red.chunks_exact_mut(width))
        .zip(blue.chunks_exact_mut(width));
    for (rgb, ((green, red), blue)) in rgb.chunks_exact(3 * width).zip(rows) {
        let mut left = [0u8; 3];
        for (pixel, ((g, r), b)) in rgb
            .as_chunks::<3>()
            .0
            .iter()
            .zip(green.iter_mut().zip(red).zip(blue))
        {
            let here = [
                pixel[1],
                pixel[0].wrapping_sub(pixel[1]),
                pixel[2].wrapping_sub(pixel[1]),
            ];
            *g = here[0].wrapping_sub(left[0]);
            *r = here[1].wrapping_sub(left[1]);
            *b = here[2].wrapping_sub(left[2]);
            left = here;
        }
    }
    for plane in planes.chunks_exact_mut(plane_len) {
        for row in (1..plane_len / width).rev() {
            let (above, here) = plane.split_at_mut(row * width);
            for (here, above) in here[..width].iter_mut().zip(&above[(row - 1) * width..]) {
                *here = here.wrapping_sub(*above);
            }
        }
    }
}

fn join_planes(planes: &mut [u8], width: usize, rgb: &mut [u8]) {
    let plane_len = rgb.len() / 3;
    for plane in planes.chunks_exact_mut(plane_len) {
        for row in 1..plane_len / width {
            let (above, here) = plane.split_at_mut(row * width);
            for (here, above) in here[..width].iter_mut().zip(&above[(row - 1) * width..]) {
                *here = here.wrapping_add(*above);
            }
        }
    }
    let (green, rest) = planes.split_at(plane_len);
    let (red, blue) = rest.split_at(plane_len);
    let rows = green
        .chunks_exact(width)
        .zip(red.chunks_exact(width))
        .zip(blue.chunks_exact(width));
    for (rgb, ((green, red), blue)) in rgb.chunks_exact_mut(3 * width).zip(rows) {
        let (mut g, mut r, mut b) = (0u8, 0u8, 0u8);
        for (pixel, ((dg, dr), db)) in rgb
            .as_chunks_mut::<3>()
            .0
            .iter_mut()
            .zip(green.iter().zip(red).zip(blue))
        {
            g = g.wrapping_add(*dg);
            r = r.wrapping_add(*dr);
            b = b.wrapping_add(*db);
            *pixel = [g.wrapping_add(r), g, g.wrapping_add(b)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(rgb: &[u8], width: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        Encoder::default().encode(rgb, width, &mut bytes).unwrap();
        let mut back = vec![1; rgb.len()];
        Decoder::default().decode(&bytes, width, &mut back).unwrap();
        assert_eq!(back, rgb);
        bytes
    }

    #[test]
    fn differences_are_those_the_format_states() {
        // Two rows of two pixels; G: 10 12 / 11 20 -> left: 10 2 / 11 9 -> up: 10 2 / 1 7.
        let rgb = [13, 10, 10, 12, 12, 9, 11, 11, 11, 19, 20, 20];
        let mut planes = [0; 12];
        split_planes(&rgb, 2, &mut planes);
        assert_eq!(planes[..4], [10, 2, 1, 7]);
        // R-G: 3 0 / 0 -1 -> 3 -3 / 0 -1 -> 3 -3 / -3 2.
        assert_eq!(planes[4..8], [3, 253, 253, 2]);
        // B-G: 0 -3 / 0 0 -> 0 -3 / 0 0 -> 0 -3 / 0 3.
        assert_eq!(planes[8..], [0, 253, 0, 3]);
    }

    #[test]
    fn a_smooth_picture_shrinks() {
        let (width, height) = (200, 150);
        let rgb: Vec<u8> = (0..height)
            .flat_map(|y| {
                (0..width).flat_map(move |x| [(x + y) as u8, (2 * x) as u8, (x / 2 + y) as u8])
            })
            .collect();
        assert!(round_trip(&rgb, width).len() < rgb.len() / 20);
    }

    #[test]
    fn damage_is_an_error() {
        let rgb: Vec<u8> = (0..3 * 5 * 70).map(|i| (i * 7 % 251) as u8).collect();
        let bytes = round_trip(&rgb, 5);
        let mut out = vec![0; rgb.len()];
        let mut decoder = Decoder::default();
        for cut in 0..bytes.len() {
            assert!(
                decoder.decode(&bytes[..cut], 5, &mut out).is_err(),
                "cut at {cut}"
            );
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(decoder
            .decode(&longer, 5, &mut out)
            .unwrap_err()
            .contains("end at byte"));
        assert!(decoder
            .decode(&bytes, 5, &mut out[..rgb.len() - 15])
            .is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn lossless(width in 1usize..70, height in 1usize..140, seed: u64) {
            let mut state = seed | 1;
            let rgb: Vec<u8> = (0..3 * width * height).map(|_| {
                state ^= state << 13; state ^= state >> 7; state ^= state << 17;
                state as u8
            }).collect();
            round_trip(&rgb, width);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), width in 1usize..20, height in 1usize..100) {
            let _ = Decoder::default().decode(&bytes, width, &mut vec![0; 3 * width * height]);
        }
    }
}
