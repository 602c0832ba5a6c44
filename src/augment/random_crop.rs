//! The box of torchvision's `RandomResizedCrop`.

use super::ConfigError;
use crate::field::PixelBox;
use intertwine_flow::random::ChaCha8Rng;
use rand::RngExt;

/// Draws boxes of a given share of a picture's area and a given aspect, as torchvision's
/// `RandomResizedCrop.get_params` does: ten tries, then the largest centred box whose aspect is allowed.
#[derive(Clone, Copy, Debug)]
pub struct RandomCrop {
    /// Of the picture's area.
    area: [f64; 2],
    /// Width over height.
    aspect: [f64; 2],
}

impl RandomCrop {
    /// `area` is the range of the box's share of the picture, in `(0, 1]`; `aspect` that of its width
    /// over its height.
    ///
    /// # Errors
    /// If a range is empty or leaves its limits.
    pub fn new(area: [f64; 2], aspect: [f64; 2]) -> Result<Self, ConfigError> {
        super::check::area("area", area)?;
        super::check::range("aspect", aspect, 0.01, 100.0)?;
        Ok(RandomCrop { area, aspect })
    }

    /// Draws a box inside a picture of `width` x `height` pixels.
    pub fn draw(&self, width: u32, height: u32, rng: &mut ChaCha8Rng) -> PixelBox {
        let [low, high] = self.aspect;
        for _ in 0..10 {
            let area = f64::from(width)
                * f64::from(height)
                * rng.random_range(self.area[0]..=self.area[1]);
            let aspect = rng.random_range(low.ln()..=high.ln()).exp();
            // Python rounds halves to even.
            let w = (area * aspect).sqrt().round_ties_even() as u32;
            let h = (area / aspect).sqrt().round_ties_even() as u32;
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let x = rng.random_range(0..=width - w) as i32;
                let y = rng.random_range(0..=height - h) as i32;
                return PixelBox { x, y, w, h };
            }
        }
        let own = f64::from(width) / f64::from(height);
        let (w, h) = if own < low {
            (width, (f64::from(width) / low).round_ties_even() as u32)
        } else if own > high {
            ((f64::from(height) * high).round_ties_even() as u32, height)
        } else {
            (width, height)
        };
        let (w, h) = (w.clamp(1, width), h.clamp(1, height));
        PixelBox {
            x: ((width - w) / 2) as i32,
            y: ((height - h) / 2) as i32,
            w,
            h,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use intertwine_flow::random::{stream, Purpose};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn boxes_lie_in_the_picture(width in 1u32..600, height in 1u32..600, seed: u64) {
            let crop = RandomCrop::new([0.05, 0.32], [0.75, 4.0 / 3.0]).unwrap();
            let b = crop.draw(width, height, &mut stream(seed, Purpose::Augment, 0, 0));
            prop_assert!(b.w >= 1 && b.h >= 1 && b.x >= 0 && b.y >= 0);
            prop_assert!(b.x as u32 + b.w <= width && b.y as u32 + b.h <= height);
        }
    }

    #[test]
    fn falls_back_to_the_largest_centred_box() {
        // A strip cannot hold a box of its whole area and nearly square.
        let crop = RandomCrop::new([1.0, 1.0], [0.75, 4.0 / 3.0]).unwrap();
        let mut rng = stream(3, Purpose::Augment, 0, 0);
        assert_eq!(
            crop.draw(100, 12, &mut rng),
            PixelBox {
                x: 42,
                y: 0,
                w: 16,
                h: 12
            }
        );
        assert_eq!(
            crop.draw(12, 101, &mut rng),
            PixelBox {
                x: 0,
                y: 42,
                w: 12,
                h: 16
            }
        );
    }

    /// Means over 200,000 draws of the published algorithm on 500 x 375 in NumPy
    /// (tests/peers/augment_expected.py), each within five standard errors of ours.
    #[test]
    fn moments_match_torchvision() {
        let (picture_w, picture_h) = (500, 375);
        for (area, expected) in [
            ([0.32, 1.0], crate::augment::expected::GLOBAL_CROP_MOMENTS),
            ([0.05, 0.32], crate::augment::expected::LOCAL_CROP_MOMENTS),
        ] {
            let crop = RandomCrop::new(area, [0.75, 4.0 / 3.0]).unwrap();
            let mut rng = stream(5, Purpose::Augment, 0, 0);
            let n = 40_000;
            let mut sums = [0.0; 6];
            for _ in 0..n {
                let b = crop.draw(picture_w, picture_h, &mut rng);
                let (x, y) = (f64::from(b.x) / 500.0, f64::from(b.y) / 375.0);
                let (w, h) = (f64::from(b.w) / 500.0, f64::from(b.h) / 375.0);
                for (sum, v) in sums.iter_mut().zip([x, y, w, h, w * h, w * w * h * h]) {
                    *sum += v;
                }
            }
            for (sum, (mean, deviation)) in sums.iter().zip(expected) {
                let ours = sum / f64::from(n);
                let tolerance = 5.0 * deviation / f64::from(n).sqrt() * 1.1;
                assert!((ours - mean).abs() < tolerance, "{ours} {mean} {tolerance}");
            }
        }
    }
}
