//! Which shapes lie where, and which of them owns each pixel.
//!
//! Layers are laid from back to front. Each pixel belongs to the layer that covers more than half of
//! it *as seen from the front*: a layer's coverage times what every layer above leaves free. At most one
//! layer can, so masks are disjoint by construction and equal to what the painter blends.

use super::shape::{walk_row, Pose, Shape, CLASS_SHAPES};
use super::texture::random_direction;
use super::{Knobs, SceneConfig, MIN_VISIBLE};
use intertwine_flow::random::ChaCha8Rng;
use rand::RngExt;

/// How often another place is tried for an object before it is given up.
const ATTEMPTS: usize = 12;

/// A shape in its place.
pub(super) struct Layer {
    pub(super) shape: Shape,
    pub(super) pose: Pose,
    /// The class of an object, `None` for clutter.
    pub(super) class: Option<usize>,
    /// Pixels `[x0, y0, x1, y1]`, ends excluded, that the shape may touch; may reach off the picture.
    bounds: [i32; 4],
    /// Signed distance in pixels of each pixel's centre in `bounds`, row by row.
    distance: Vec<f32>,
    /// Pixels of the whole shape, hidden and off the picture ones included.
    area: u32,
}

impl Layer {
    /// Signed distances are true within this many pixels of the outline (an outline is never wider).
    pub(super) const REACH: f32 = 4.0;

    fn new(shape: Shape, pose: Pose, class: Option<usize>) -> Self {
        let bounds = pose.pixel_box(&shape, 1.0);
        let [x0, y0, x1, y1] = bounds;
        let mut distance = Vec::with_capacity(((x1 - x0) * (y1 - y0)) as usize);
        for y in y0..y1 {
            let at = |x| pose.distance(&shape, [x as f32 + 0.5, y as f32 + 0.5], Self::REACH);
            walk_row(x0..x1, Self::REACH, at, |_, d| distance.push(d));
        }
        let area = distance.iter().filter(|&&d| coverage(d) >= 0.5).count() as u32;
        Layer {
            shape,
            pose,
            class,
            bounds,
            distance,
            area,
        }
    }

    /// The pixels of the layer on a picture of this side: (x, y, signed distance).
    pub(super) fn pixels(&self, size: u32) -> impl Iterator<Item = (u32, u32, f32)> + '_ {
        let [x0, y0, x1, y1] = self.bounds;
        let (left, right) = (x0.max(0), x1.min(size as i32));
        let width = (x1 - x0) as usize;
        (y0.max(0)..y1.min(size as i32)).flat_map(move |y| {
            let row = (y - y0) as usize * width;
            (left..right).map(move |x| (x as u32, y as u32, self.distance[row + (x - x0) as usize]))
        })
    }
}

/// The share of a pixel that a shape covers, from the signed distance of its centre: exact to first
/// order for an outline that is straight within the pixel.
pub(super) fn coverage(distance: f32) -> f32 {
    (0.5 - distance).clamp(0.0, 1.0)
}

/// Layers from back to front with the pixels that each owns.
pub(super) struct Layout {
    size: u32,
    pub(super) layers: Vec<Layer>,
    /// Index of the layer that owns each pixel, [`NOBODY`] where none does.
    owner: Vec<u8>,
    /// How much of the pixel its owner shows, 0.5 to 1.
    share: Vec<f32>,
    /// Pixels owned by each layer.
    visible: Vec<u32>,
}

/// Owners are bytes, which suffices: at most 32 objects, 12 pieces of clutter and 3 lines.
const NOBODY: u8 = u8::MAX;

impl Layout {
    /// Lays clutter, objects and a few lines over them. `horizon` is a share of the side from the top;
    /// with one, things stand lower the nearer, and therefore larger, they are.
    pub(super) fn random(
        config: &SceneConfig,
        knobs: &Knobs,
        horizon: Option<f32>,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let pixels = config.size as usize * config.size as usize;
        let mut layout = Layout {
            size: config.size,
            layers: Vec::new(),
            owner: vec![NOBODY; pixels],
            share: vec![0.0; pixels],
            visible: Vec::new(),
        };
        for _ in 0..rng.random_range(0..=knobs.clutter) {
            let clutter = random_clutter(config.size, rng);
            layout.try_add(clutter);
        }
        layout.add_objects(config, knobs, horizon, rng);
        for _ in 0..rng.random_range(0..=knobs.clutter / 4) {
            let line = random_stroke(config.size, rng);
            layout.try_add(line);
        }
        layout
    }

    fn add_objects(
        &mut self,
        config: &SceneConfig,
        knobs: &Knobs,
        horizon: Option<f32>,
        rng: &mut ChaCha8Rng,
    ) {
        let count = rng.random_range(config.min_objects..=config.max_objects);
        let mut nearness: Vec<f32> = (0..count).map(|_| rng.random()).collect();
        if horizon.is_some() {
            // Far things first: the near ones hide them.
            nearness.sort_unstable_by(f32::total_cmp);
        }
        for near in nearness {
            let class = rng.random_range(0..config.classes);
            for _ in 0..ATTEMPTS {
                let (top, growth) = horizon.map_or((0.0, 1.0), |h| (0.8 * h, 0.65 + 0.6 * near));
                let y = top + (1.0 - top) * near;
                let side = config.size as f32;
                let centre = [rng.random_range(0.0..side), side * y.clamp(0.03, 0.97)];
                let pose = random_pose(
                    centre,
                    side * random_extent(knobs.extent, rng) * growth,
                    rng,
                );
                if self.try_add(Layer::new(CLASS_SHAPES[class], pose, Some(class))) {
                    break;
                }
            }
        }
    }

    /// Lays `layer` over all others, unless an object would then show less than [`MIN_VISIBLE`] of itself.
    fn try_add(&mut self, layer: Layer) -> bool {
        let index = self.layers.len();
        let mut visible = self.visible.clone();
        visible.push(0);
        for (x, y, distance) in layer.pixels(self.size) {
            let pixel = (y * self.size + x) as usize;
            let (owner, share, alpha) = (self.owner[pixel], self.share[pixel], coverage(distance));
            if alpha >= 0.5 {
                visible[index] += 1;
            }
            if owner != NOBODY && (alpha >= 0.5 || share * (1.0 - alpha) < 0.5) {
                visible[usize::from(owner)] -= 1;
            }
        }
        let shown = |layer: &Layer, visible: u32| {
            layer.class.is_none()
                || (visible > 0 && visible as f32 >= MIN_VISIBLE * layer.area as f32)
        };
        let all_shown = self
            .layers
            .iter()
            .chain([&layer])
            .zip(&visible)
            .all(|(layer, &v)| shown(layer, v));
        if !all_shown {
            return false;
        }
        for (x, y, distance) in layer.pixels(self.size) {
            let pixel = (y * self.size + x) as usize;
            let alpha = coverage(distance);
            if alpha >= 0.5 {
                (self.owner[pixel], self.share[pixel]) = (index as u8, alpha);
            } else {
                self.share[pixel] *= 1.0 - alpha;
                if self.share[pixel] < 0.5 {
                    self.owner[pixel] = NOBODY;
                }
            }
        }
        self.visible = visible;
        self.layers.push(layer);
        true
    }

    /// The pixels that a layer owns, as zeros and ones, row by row.
    pub(super) fn mask(&self, layer: usize) -> Vec<u8> {
        self.owner
            .iter()
            .map(|&owner| u8::from(usize::from(owner) == layer))
            .collect()
    }
}

/// A size within the range, the smaller half somewhat more often.
fn random_extent((low, high): (f32, f32), rng: &mut ChaCha8Rng) -> f32 {
    let u: f32 = rng.random();
    low + (high - low) * u * (0.4 + 0.6 * u)
}

/// A shape about `extent` pixels across at `centre`, turned by any angle, one axis up to 0.6 shorter.
fn random_pose(centre: [f32; 2], extent: f32, rng: &mut ChaCha8Rng) -> Pose {
    let long = extent / 2.0;
    let short = long * rng.random_range(0.62..1.0);
    let scale = if rng.random_bool(0.5) {
        [long, short]
    } else {
        [short, long]
    };
    Pose {
        centre,
        axis: random_direction(rng),
        scale,
    }
}

fn random_centre(size: u32, rng: &mut ChaCha8Rng) -> [f32; 2] {
    let side = size as f32;
    [rng.random_range(0.0..side), rng.random_range(0.0..side)]
}

fn random_stroke(size: u32, rng: &mut ChaCha8Rng) -> Layer {
    let side = size as f32;
    let half_length = side * rng.random_range(0.08..0.35);
    let half_width = side * rng.random_range(0.006..0.018);
    let pose = Pose {
        centre: random_centre(size, rng),
        axis: random_direction(rng),
        scale: [half_length; 2],
    };
    Layer::new(Shape::Stroke(half_width / half_length), pose, None)
}

/// A line or a lump of three discs, never one of the classes.
fn random_clutter(size: u32, rng: &mut ChaCha8Rng) -> Layer {
    if rng.random_bool(0.35) {
        return random_stroke(size, rng);
    }
    // The discs stand apart far enough to leave notches, so that a lump is not taken for a disc.
    let mut disc = |x: f32| {
        [
            x,
            rng.random_range(-0.25..0.25),
            rng.random_range(0.3f32..0.5),
        ]
    };
    let shape = Shape::Lump([disc(-0.75), disc(0.0), disc(0.75)]);
    let extent = size as f32 * rng.random_range(0.08..0.3);
    let centre = random_centre(size, rng);
    Layer::new(shape, random_pose(centre, extent, rng), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty(size: u32) -> Layout {
        let pixels = (size * size) as usize;
        Layout {
            size,
            layers: vec![],
            owner: vec![NOBODY; pixels],
            share: vec![0.0; pixels],
            visible: vec![],
        }
    }

    /// An upright square that covers `[x0, x1] x [y0, y1]`.
    fn square([x0, y0, x1, y1]: [f32; 4], class: Option<usize>) -> Layer {
        // The square's half side in its own frame, found from outside: its distance at the origin.
        let half = -Shape::Square.distance([0.0, 0.0]);
        let pose = Pose {
            centre: [(x0 + x1) / 2.0, (y0 + y1) / 2.0],
            axis: [1.0, 0.0],
            scale: [(x1 - x0) / 2.0 / half, (y1 - y0) / 2.0 / half],
        };
        Layer::new(Shape::Square, pose, class)
    }

    #[test]
    fn the_front_layer_owns_the_overlap_and_areas_are_exact() {
        let mut layout = empty(20);
        assert!(layout.try_add(square([2.0, 2.0, 12.0, 12.0], Some(1))));
        assert!(layout.try_add(square([8.0, 8.0, 18.0, 18.0], Some(2))));
        let count = |layer| layout.mask(layer).iter().filter(|&&m| m == 1).count();
        assert_eq!((count(0), count(1)), (84, 100));
        assert_eq!(layout.visible, [84, 100]);
        assert_eq!(layout.mask(0)[9 * 20 + 9], 0);
        assert_eq!(layout.mask(1)[9 * 20 + 9], 1);
    }

    #[test]
    fn nothing_that_hides_an_object_is_laid() {
        let mut layout = empty(20);
        assert!(layout.try_add(square([2.0, 2.0, 12.0, 12.0], Some(1))));
        let before = layout.owner.clone();
        assert!(
            !layout.try_add(square([2.0, 2.0, 12.0, 9.0], Some(2))),
            "70 of 100 pixels hidden"
        );
        assert!(
            !layout.try_add(square([2.0, 2.0, 12.0, 9.0], None)),
            "clutter must not hide it either"
        );
        assert!(
            !layout.try_add(square([-8.0, 14.0, 3.0, 20.0], Some(3))),
            "mostly off the picture"
        );
        assert_eq!(layout.owner, before, "a refused layer leaves no trace");
        assert!(
            layout.try_add(square([2.0, 2.0, 12.0, 8.0], Some(2))),
            "60 of 100 pixels hidden"
        );
        assert_eq!(layout.visible, [40, 60]);
    }

    #[test]
    fn a_pixel_shared_by_halves_has_one_owner() {
        let mut layout = empty(12);
        assert!(layout.try_add(square([1.0, 1.0, 6.5, 9.0], Some(0))));
        assert!(layout.try_add(square([6.5, 1.0, 11.0, 9.0], Some(1))));
        let (a, b) = (layout.mask(0), layout.mask(1));
        assert!(a.iter().zip(&b).all(|(a, b)| a + b <= 1));
        assert_eq!(layout.visible.iter().sum::<u32>(), 80);
    }
}
