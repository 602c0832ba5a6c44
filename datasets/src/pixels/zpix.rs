//! `zpix`: the lossless pixel encoding of packed pictures, made to be decoded fast.
//!
//! A picture is cut into strips of [`STRIP_ROWS`] rows. Of each strip three planes are made, G, R-G and
//! B-G (all arithmetic modulo 256; photographs change in brightness more than in colour, so the
//! differences are small, and all zero for a grey picture). Each plane is replaced by its difference
//! along the row and then along the column, counting what lies outside the strip as zero. The planes
//! of a strip, one after the other, are one zstd frame.
//!
//! The planes are made and put together by [`intertwine_kernels::planes`] at several gigabytes a second, so that decoding
//! runs at about the speed of zstd itself.
//! `FORMAT.md` states the bytes.

use std::ops::Range;

use intertwine_kernels::planes;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{compress_bound, CParameter, ParamSwitch};

/// Rows in a strip, except for the last one, which holds the rest. A strip of a picture 400 pixels wide
/// is 77 kB, so that what zstd wrote is still in the second-level cache when the planes are put together.
pub const STRIP_ROWS: usize = 64;

/// What encoding needs besides its arguments: keep it between calls, one for each thread.
#[derive(Default)]
pub struct Encoder {
    /// For photographs, whose differences hardly ever repeat: each plane a block with a Huffman code of its own and no
    /// search for repetitions. Compared with zstd's level 1 that made photographs 11% smaller, encoded them
    /// in half the time and decoded them in half the time.
    noisy: Compressor<'static>,
    /// For drawings, whose differences are zero more often than not: zstd's level 1.
    flat: Compressor<'static>,
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
        self.noisy.set_compression_level(FASTEST)?;
        self.noisy
            .set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))?;
        self.flat.set_compression_level(1)?;
        let table = out.len();
        let strips = rgb.chunks(3 * width * STRIP_ROWS);
        out.resize(table + 4 * strips.len(), 0);
        for (entry, strip) in strips.enumerate() {
            self.planes.resize(strip.len(), 0);
            planes::split(strip, width, &mut self.planes);
            // Only ever made longer: zeroing it for each strip would cost as much as copying the frame.
            let bound = compress_bound(strip.len());
            self.frame.resize(bound.max(self.frame.len()), 0);
            let zstd = if is_flat(&self.planes) {
                &mut self.flat
            } else {
                self.noisy
                    .set_parameter(CParameter::MaxBlockSize(block_len(strip.len() / 3)))?;
                &mut self.noisy
            };
            let written = zstd.compress_to_buffer(&self.planes, &mut self.frame[..])?;
            out.extend_from_slice(&self.frame[..written]);
            let length =
                u32::try_from(written).expect("a strip is far below 4 GiB: sides are limited");
            out[table + 4 * entry..][..4].copy_from_slice(&length.to_le_bytes());
        }
        Ok(())
    }
}

/// A level so low that zstd looks for repetitions at one place in a thousand.
const FASTEST: i32 = -1000;

/// The length of blocks that part the planes, as far as zstd has such blocks.
fn block_len(plane: usize) -> u32 {
    const SHORTEST: usize = 1 << 10;
    const LONGEST: usize = 1 << 17;
    plane.div_ceil(plane.div_ceil(LONGEST)).max(SHORTEST) as u32
}

/// Whether more than 5 in 8 values are 0; that is about where the two ways of encoding are equally good.
fn is_flat(planes: &[u8]) -> bool {
    // Counted in bytes, for speed.
    let zeros = |values: &[u8]| values.iter().map(|&v| u8::from(v == 0)).sum::<u8>();
    let zeros: usize = planes.chunks(255).map(|c| usize::from(zeros(c))).sum();
    8 * zeros > 5 * planes.len()
}

/// What decoding needs besides its arguments: keep it between calls, one for each thread.
#[derive(Default)]
pub struct Decoder {
    zstd: Decompressor<'static>,
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
            planes::join(&mut self.planes, width, out);
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
