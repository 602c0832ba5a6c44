//! What is done to the colours of a view, drawn at random. `intertwine_kernels::photometric` does it.

use super::JitterConfig;
use intertwine_flow::random::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::RngExt;

pub use intertwine_kernels::photometric::Adjustment;

/// What is done to the colours of a view, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ColourPlan {
    /// The order of the jitter, if it takes place.
    pub jitter: Option<[Adjustment; 4]>,
    /// Whether the view becomes grey in the end.
    pub grey: bool,
}

/// Each adjustment once, and grey.
const MAX_ADJUSTMENTS: usize = 5;

impl ColourPlan {
    /// Draws factors and order as torchvision's `ColorJitter` and `RandomGrayscale` do.
    pub(crate) fn draw(jitter: &JitterConfig, grey: f64, rng: &mut ChaCha8Rng) -> Self {
        let adjustments = rng.random_bool(jitter.probability).then(|| {
            let mut factor =
                |strength: f64| rng.random_range((1.0 - strength).max(0.0)..=1.0 + strength) as f32;
            let (brightness, contrast) = (factor(jitter.brightness), factor(jitter.contrast));
            let saturation = factor(jitter.saturation);
            let hue = rng.random_range(-jitter.hue..=jitter.hue) as f32;
            let mut order = [
                Adjustment::Brightness(brightness),
                Adjustment::Contrast(contrast),
                Adjustment::Saturation(saturation),
                Adjustment::Hue(hue),
            ];
            order.shuffle(rng);
            order
        });
        ColourPlan {
            jitter: adjustments,
            grey: rng.random_bool(grey),
        }
    }

    /// The plan as a list, in order, written to `list`.
    pub(crate) fn adjustments<'a>(
        &self,
        list: &'a mut [Adjustment; MAX_ADJUSTMENTS],
    ) -> &'a [Adjustment] {
        let jitter = self.jitter.as_ref().map_or(&[][..], |order| &order[..]);
        let grey = self.grey.then_some(Adjustment::Saturation(0.0));
        let mut len = 0;
        for (slot, adjustment) in list.iter_mut().zip(jitter.iter().copied().chain(grey)) {
            *slot = adjustment;
            len += 1;
        }
        &list[..len]
    }

    /// Room for [`Self::adjustments`].
    pub(crate) const LIST: [Adjustment; MAX_ADJUSTMENTS] =
        [Adjustment::Saturation(1.0); MAX_ADJUSTMENTS];
}
