//! What the student does not see of a view: the content of some patches, or the position of some.
//!
//! The paper's two corruptions are exclusive: a view loses content or position, not both ([`ViewMask`]). That all
//! masked views of a picture lose the same is a key, and so is that a view loses both. How much each view of a batch
//! loses is planned for the batch as a whole ([`MaskPlan`]), stratified as DINOv2 does, so that the batch always
//! holds light and heavy masks. The mask itself is drawn view by view.
//!
//! Every shape covers exactly the number of patches nearest to the ratio.

mod shapes;

use super::check::{expect, probability, range};
use super::ConfigError;
use crate::field::Grid;
use intertwine_flow::random::{stream, ChaCha8Rng, Purpose};
use rand::seq::SliceRandom;
use rand::RngExt;
use serde::{Deserialize, Serialize};

pub use shapes::MaskShape;

/// What stands in the place of a position that is masked (METHOD section 2: the paper's summary does not say).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PositionToken {
    /// A vector that is learned.
    Learned,
    /// Nothing: the patch's content alone.
    Zero,
}

/// Of what content and position are masked exclusively (METHOD section 2: "per image", which is a crop for the masks of iBOT
/// and DINOv2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exclusive {
    /// Of two views of a picture one may lose content and the other positions.
    View,
    /// All masked views of a picture lose the same.
    Picture,
}

/// How masks are drawn. Defaults: the paper's, DINOv2's where it is silent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskConfig {
    /// Share of the views that are masked.
    pub probability: f64,
    /// Range of the share of a masked view's patches whose content is masked, stratified over the batch.
    pub ratio: [f64; 2],
    /// That of those whose position is; `None`, written as `[]`, for the same.
    #[serde(with = "maybe_range")]
    pub position_ratio: Option<[f64; 2]>,
    /// Share of the masked views, or of the pictures if masks are exclusive to these, that lose positions; the others lose
    /// content.
    pub position_share: f64,
    /// Whether a view has its own choice of the two, or a picture. Not used with `both`.
    pub exclusive: Exclusive,
    /// Whether each masked view loses the content of some patches and the position of others, instead
    /// of one of the two. `position_share` is not used then, and both ratios end at 0.5 or below.
    pub both: bool,
    /// Shape of content masks.
    pub content_shape: MaskShape,
    /// Shape of position masks.
    pub position_shape: MaskShape,
    /// What stands in the place of a masked position.
    pub position_token: PositionToken,
}

impl Default for MaskConfig {
    fn default() -> Self {
        MaskConfig {
            probability: 0.5,
            ratio: [0.1, 0.5],
            position_ratio: None,
            position_share: 0.5,
            exclusive: Exclusive::View,
            both: false,
            content_shape: MaskShape::Blocks,
            position_shape: MaskShape::Cross,
            position_token: PositionToken::Learned,
        }
    }
}

impl MaskConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// Names the first key whose value cannot be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        probability("probability", self.probability)?;
        let most = if self.both { 0.5 } else { 1.0 };
        range("ratio", self.ratio, 0.0, most)?;
        if let Some(ratio) = self.position_ratio {
            range("position_ratio", ratio, 0.0, most)?;
        }
        expect(
            (0.0..=1.0).contains(&self.position_share),
            "position_share",
            self.position_share,
            "a share from 0 (content only) to 1 (position only)",
        )
    }
}

/// A range as two numbers, none as an empty list.
mod maybe_range {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(range: &Option<[f64; 2]>, to: S) -> Result<S::Ok, S::Error> {
        range.as_ref().map_or(&[][..], |range| range).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<[f64; 2]>, D::Error> {
        let ends = Vec::<f64>::deserialize(from)?;
        match ends[..] {
            [] => Ok(None),
            [low, high] => Ok(Some([low, high])),
            _ => Err(D::Error::invalid_length(ends.len(), &"two numbers or none")),
        }
    }
}

/// The patches of a view whose content or position the student does not see: indices in raster order,
/// ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ViewMask {
    /// It sees all.
    #[default]
    None,
    /// The content of these patches is hidden, never of none.
    Content(Vec<u32>),
    /// The position of these patches is hidden, never of none.
    Position(Vec<u32>),
    /// Both, of different patches.
    Both {
        /// Patches without content.
        content: Vec<u32>,
        /// Patches without position.
        position: Vec<u32>,
    },
}

impl ViewMask {
    /// The patches without content.
    pub fn content(&self) -> &[u32] {
        match self {
            ViewMask::Content(patches)
            | ViewMask::Both {
                content: patches, ..
            } => patches,
            ViewMask::None | ViewMask::Position(_) => &[],
        }
    }

    /// The patches without position.
    pub fn position(&self) -> &[u32] {
        match self {
            ViewMask::Position(patches)
            | ViewMask::Both {
                position: patches, ..
            } => patches,
            ViewMask::None | ViewMask::Content(_) => &[],
        }
    }
}

/// What one view of a batch is to lose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Corruption {
    /// Nothing.
    None,
    /// The content of this share of its patches.
    Content(f64),
    /// The position of this share of its patches.
    Position(f64),
    /// The content of this share of its patches, and the position of that share.
    Both(f64, f64),
}

/// What each view of one batch is to lose.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskPlan {
    config: MaskConfig,
    views: Vec<Corruption>,
    seed: u64,
    epoch: u64,
    batch: u64,
}

impl MaskPlan {
    /// Plans the `batch`-th batch of an epoch: the first views of all its `pictures`, then their second, and so on to the last
    /// of `views_each`.
    ///
    /// Of the views `probability` are masked, the i-th of n masked ones by a ratio uniform in the i-th of n equal parts of the
    /// range, and `position_share` of them (of the pictures, if masks are exclusive to these) lose positions; shares that are
    /// not whole are rounded up or down at random so that they hold on average. Which view gets which is a random
    /// permutation. The plan depends on nothing but the arguments.
    pub fn new(
        config: &MaskConfig,
        (pictures, views_each): (usize, usize),
        seed: u64,
        epoch: u64,
        batch: u64,
    ) -> Self {
        let mut rng = stream(seed, Purpose::Mask, epoch, batch << VIEW_BITS);
        let count = pictures * views_each;
        let masked = round_at_random(count as f64 * config.probability, &mut rng).min(count);
        let lose_position = lots(masked, config.position_share, &mut rng);
        let mut drawn = vec![None; count];
        for (i, (slot, &position)) in drawn.iter_mut().zip(&lose_position).enumerate() {
            let place = (i as f64 + rng.random::<f64>()) / masked as f64;
            *slot = Some((place, position));
        }
        drawn.shuffle(&mut rng);
        if config.exclusive == Exclusive::Picture {
            let lose_position = lots(pictures, config.position_share, &mut rng);
            for (slot, &of_picture) in drawn.iter_mut().zip(lose_position.iter().cycle()) {
                *slot = slot.map(|(place, _)| (place, of_picture));
            }
        }
        let corruption = |(place, position)| {
            let of = |[low, high]: [f64; 2]| low + (high - low) * place;
            let content = of(config.ratio);
            let hidden = config.position_ratio.map_or(content, of);
            match (config.both, position) {
                (true, _) => Corruption::Both(content, hidden),
                (false, true) => Corruption::Position(hidden),
                (false, false) => Corruption::Content(content),
            }
        };
        MaskPlan {
            config: config.clone(),
            views: Vec::from_iter(
                drawn
                    .into_iter()
                    .map(|slot| slot.map_or(Corruption::None, corruption)),
            ),
            seed,
            epoch,
            batch,
        }
    }

    /// What each view is to lose.
    pub fn views(&self) -> &[Corruption] {
        &self.views
    }

    /// Draws the mask of the `view`-th view, whose patches form `grid`. It may be drawn on any thread,
    /// in any order, any number of times. A view with too few patches for its ratio stays unmasked.
    ///
    /// # Panics
    /// If the batch has no such view.
    pub fn mask(&self, view: usize, grid: Grid) -> ViewMask {
        let index = (self.batch << VIEW_BITS) + view as u64 + 1;
        let mut rng = stream(self.seed, Purpose::Mask, self.epoch, index);
        let count = |ratio: f64| (ratio * grid.len() as f64).round() as usize;
        let mut hidden = vec![false; grid.len()];
        let config = &self.config;
        match self.views[view] {
            Corruption::None => ViewMask::None,
            Corruption::Content(ratio) => {
                let patches = config
                    .content_shape
                    .draw(grid, count(ratio), &mut hidden, &mut rng);
                if patches.is_empty() {
                    ViewMask::None
                } else {
                    ViewMask::Content(patches)
                }
            }
            Corruption::Position(ratio) => {
                let patches = config
                    .position_shape
                    .draw(grid, count(ratio), &mut hidden, &mut rng);
                if patches.is_empty() {
                    ViewMask::None
                } else {
                    ViewMask::Position(patches)
                }
            }
            Corruption::Both(content, position) => {
                let position =
                    config
                        .position_shape
                        .draw(grid, count(position), &mut hidden, &mut rng);
                let content =
                    config
                        .content_shape
                        .draw(grid, count(content), &mut hidden, &mut rng);
                match (content.is_empty(), position.is_empty()) {
                    (true, true) => ViewMask::None,
                    (false, true) => ViewMask::Content(content),
                    (true, false) => ViewMask::Position(position),
                    (false, false) => ViewMask::Both { content, position },
                }
            }
        }
    }
}

/// Bits of a stream's index that number the views of a batch; 0 is the plan's own stream.
const VIEW_BITS: u32 = 20;

/// That share of `count` lots, rounded at random, drawn in random order.
fn lots(count: usize, share: f64, rng: &mut ChaCha8Rng) -> Vec<bool> {
    let drawn = round_at_random(count as f64 * share, rng).min(count);
    let mut lots: Vec<bool> = (0..count).map(|i| i < drawn).collect();
    lots.shuffle(rng);
    lots
}

/// Rounds up with the probability of the fraction.
fn round_at_random(x: f64, rng: &mut ChaCha8Rng) -> usize {
    (x + rng.random::<f64>()).floor() as usize
}

#[cfg(test)]
mod tests;
