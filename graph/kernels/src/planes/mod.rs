//! A picture as planes of small numbers, which compress, and back: lossless, all arithmetic modulo 256.
//!
//! The planes are G, R - G and B - G, since photographs change in brightness more than in colour. In each, a value is
//! replaced by itself minus its left neighbour, and what results by itself minus the one above; what would lie outside
//! counts as 0. Everything is linear, so the differences can be taken and summed in any order.
//!
//! Sixteen pixels at a time: differences are taken before colours are parted, and running sums along a row are four
//! shifted additions and the last sum of the sixteen pixels before.

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::cpu;
use crate::lanes::{Bytes, Pixels, LANES};

/// Splits interleaved RGB of `width` pixels a row into the three planes, one after the other.
///
/// # Panics
/// If `rgb` is not a whole number of rows, or `planes` is not as long.
pub fn split(rgb: &[u8], width: usize, planes: &mut [u8]) {
    crate::rows_of("planes", "rgb", rgb, 3 * width);
    crate::check_len("planes", "planes", planes, rgb.len());
    split_rows(cpu::path(), rgb, width, planes);
}

/// Puts a picture together from planes of `width` pixels a row. The planes are used up.
///
/// # Panics
/// If `rgb` is not a whole number of rows, or `planes` is not as long.
pub fn join(planes: &mut [u8], width: usize, rgb: &mut [u8]) {
    crate::rows_of("planes", "rgb", rgb, 3 * width);
    crate::check_len("planes", "planes", planes, rgb.len());
    join_rows(cpu::path(), planes, width, rgb);
}

on_lanes! {
    fn split_rows<V>(rgb: &[u8], width: usize, planes: &mut [u8]) {
        let plane = planes.len() / 3;
        let (green, rest) = planes.split_at_mut(plane);
        let (red, blue) = rest.split_at_mut(plane);
        let rows = green
            .chunks_exact_mut(width)
            .zip(red.chunks_exact_mut(width))
            .zip(blue.chunks_exact_mut(width));
        for (rgb, ((green, red), blue)) in rgb.chunks_exact(3 * width).zip(rows) {
            let here = rgb.as_chunks::<3>().0;
            [green[0], red[0], blue[0]] = parted(here[0]);
            let (lefts, left_rest) = here[..width - 1].as_chunks::<LANES>();
            let (heres, here_rest) = here[1..].as_chunks::<LANES>();
            let (greens, green_rest) = green[1..].as_chunks_mut::<LANES>();
            let (reds, red_rest) = red[1..].as_chunks_mut::<LANES>();
            let (blues, blue_rest) = blue[1..].as_chunks_mut::<LANES>();
            let outs = greens.iter_mut().zip(reds).zip(blues);
            for ((here, left), ((green, red), blue)) in heres.iter().zip(lefts).zip(outs) {
                let [r, g, b] = V::part(&minus(here, left));
                *green = g;
                *red = each(&r, &g, u8::wrapping_sub);
                *blue = each(&b, &g, u8::wrapping_sub);
            }
            for (i, (here, left)) in here_rest.iter().zip(left_rest).enumerate() {
                let difference = std::array::from_fn(|c| here[c].wrapping_sub(left[c]));
                [green_rest[i], red_rest[i], blue_rest[i]] = parted(difference);
            }
        }
        for plane in planes.chunks_exact_mut(plane) {
            for row in (1..plane.len() / width).rev() {
                let (above, here) = plane.split_at_mut(row * width);
                for (here, above) in here[..width].iter_mut().zip(&above[(row - 1) * width..]) {
                    *here = here.wrapping_sub(*above);
                }
            }
        }
    }

    fn join_rows<V>(planes: &mut [u8], width: usize, rgb: &mut [u8]) {
        let plane = planes.len() / 3;
        for plane in planes.chunks_exact_mut(plane) {
            for row in 1..plane.len() / width {
                let (above, here) = plane.split_at_mut(row * width);
                for (here, above) in here[..width].iter_mut().zip(&above[(row - 1) * width..]) {
                    *here = here.wrapping_add(*above);
                }
            }
        }
        let (green, rest) = planes.split_at(plane);
        let (red, blue) = rest.split_at(plane);
        let rows = green
            .chunks_exact(width)
            .zip(red.chunks_exact(width))
            .zip(blue.chunks_exact(width));
        for (rgb, ((green, red), blue)) in rgb.chunks_exact_mut(3 * width).zip(rows) {
            let (pixels, pixels_rest) = rgb.as_chunks_mut::<3>().0.as_chunks_mut::<LANES>();
            let (greens, green_rest) = green.as_chunks::<LANES>();
            let (reds, red_rest) = red.as_chunks::<LANES>();
            let (blues, blue_rest) = blue.as_chunks::<LANES>();
            let [mut r, mut g, mut b] = [0; 3];
            let ins = greens.iter().zip(reds).zip(blues);
            for (pixels, ((green, red), blue)) in pixels.iter_mut().zip(ins) {
                let green = V::running_sum(green, g);
                let red = V::running_sum(red, r);
                let blue = V::running_sum(blue, b);
                [r, g, b] = [red, green, blue].map(|sums| sums[LANES - 1]);
                let red = each(&red, &green, u8::wrapping_add);
                let blue = each(&blue, &green, u8::wrapping_add);
                *pixels = V::interleave([&red, &green, &blue]);
            }
            for (i, pixel) in pixels_rest.iter_mut().enumerate() {
                g = g.wrapping_add(green_rest[i]);
                r = r.wrapping_add(red_rest[i]);
                b = b.wrapping_add(blue_rest[i]);
                *pixel = [r.wrapping_add(g), g, b.wrapping_add(g)];
            }
        }
    }
}

#[inline(always)]
fn minus(a: &Pixels, b: &Pixels) -> Pixels {
    let (a, b) = (a.as_flattened(), b.as_flattened());
    let mut out = [[0; 3]; LANES];
    for (out, (a, b)) in out.as_flattened_mut().iter_mut().zip(a.iter().zip(b)) {
        *out = a.wrapping_sub(*b);
    }
    out
}

#[inline(always)]
fn each(a: &Bytes, b: &Bytes, f: impl Fn(u8, u8) -> u8) -> Bytes {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// G, R - G, B - G of a pixel.
#[inline(always)]
fn parted([r, g, b]: [u8; 3]) -> [u8; 3] {
    [g, r.wrapping_sub(g), b.wrapping_sub(g)]
}
