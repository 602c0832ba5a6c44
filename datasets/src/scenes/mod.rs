//! A sample set drawn by our own code: pictures of simple shapes in a world that is a toy, but has what
//! makes detection hard: textures, light, shadows, occlusion, clutter, blur and noise.
//!
//! The eight classes differ by *shape* alone; colours and textures are drawn from the same family for
//! objects and backgrounds. Half of the scenes have a floor, on which near things stand lower and are
//! larger, so that position carries meaning as it does in photographs.
//!
//! A scene depends on (configuration, seed, index) only and is the same to the last bit on every machine.
//!
//! # Layout
//! - `shape`: signed distance functions, and how a shape lies on the picture
//! - `texture`: colours, noise, procedural textures
//! - `layout`: what lies where, occlusion, masks
//! - `paint`: from layout to pixels
//! - `coco`: a set on disk, as a user's own data would come: pictures and a COCO label file
//!
//! ```
//! use intertwine_datasets::scenes::{draw_scene, SceneConfig, CLASSES};
//! let scene = draw_scene(&SceneConfig::default(), 7, 0);
//! assert_eq!(scene.image.dimensions(), (96, 96));
//! for object in &scene.objects {
//!     println!("{} at {:?}", CLASSES[object.class], object.bbox);
//! }
//! ```

mod coco;
mod layout;
mod paint;
mod shape;
mod texture;

pub use coco::{write_coco, write_pictures, SceneError, WrittenSet};

use image::RgbImage;
use intertwine_flow::random::{stream, Purpose};
use serde::{Deserialize, Serialize};

/// The names of the classes, in the order of [`SceneObject::class`].
pub const CLASSES: [&str; 8] = [
    "disc", "square", "triangle", "star", "ring", "cross", "crescent", "arrow",
];

/// An object of which a smaller share is visible is not drawn at all: everything drawn is labelled.
pub const MIN_VISIBLE: f32 = 0.35;

/// What scenes to draw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SceneConfig {
    /// Side of the square pictures in pixels, 32 to 1024. Default 96.
    pub size: u32,
    /// The fewest objects that are tried, at least 1. Where no room is found a scene has fewer, rarely none.
    pub min_objects: u32,
    /// The most objects in a scene, at most 32. Default 5.
    pub max_objects: u32,
    /// How many of [`CLASSES`] appear, the first ones, 1 to 8. Default 8.
    pub classes: usize,
    /// How hard the objects are to find, 0 to 1. Default 0.3. It lowers the contrast between objects
    /// and what is behind them, shrinks the smallest objects, and adds clutter, noise and blur.
    pub difficulty: f32,
}

impl Default for SceneConfig {
    fn default() -> Self {
        SceneConfig {
            size: 96,
            min_objects: 1,
            max_objects: 5,
            classes: CLASSES.len(),
            difficulty: 0.3,
        }
    }
}

impl SceneConfig {
    /// Whether scenes can be drawn; an error names the key, its value and the valid range.
    pub fn check(&self) -> Result<(), SceneError> {
        let fail = |key, found: String, expected| {
            Err(SceneError::Config {
                key,
                found,
                expected,
            })
        };
        if !(32..=1024).contains(&self.size) {
            return fail("size", self.size.to_string(), "32 to 1024 pixels");
        }
        if !(1..=32).contains(&self.max_objects) {
            return fail("max_objects", self.max_objects.to_string(), "1 to 32");
        }
        if !(1..=self.max_objects).contains(&self.min_objects) {
            return fail(
                "min_objects",
                self.min_objects.to_string(),
                "1 to max_objects",
            );
        }
        if !(1..=CLASSES.len()).contains(&self.classes) {
            return fail("classes", self.classes.to_string(), "1 to 8");
        }
        if !(0.0..=1.0).contains(&self.difficulty) {
            return fail("difficulty", self.difficulty.to_string(), "0 to 1");
        }
        Ok(())
    }
}

/// One drawn picture and what is on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// `size` x `size` pixels.
    pub image: RgbImage,
    /// The objects from back to front. Everything of a class that is on the picture is here.
    pub objects: Vec<SceneObject>,
}

/// An object on a [`Scene`].
#[derive(Clone, Debug, PartialEq)]
pub struct SceneObject {
    /// Index into [`CLASSES`].
    pub class: usize,
    /// The visible pixels as zeros and ones, row by row, of the whole picture. A pixel is the object's
    /// where the object covers at least half of it as seen, so masks never overlap.
    pub mask: Vec<u8>,
    /// Upright box `[x, y, w, h]` around the visible pixels, in pixels.
    pub bbox: [f32; 4],
}

/// What [`SceneConfig::difficulty`] stands for.
struct Knobs {
    /// Smallest and largest object, in sides of the picture.
    extent: (f32, f32),
    /// Wanted difference between an object's main colour and what is behind it, 0 to 1.
    contrast: f32,
    /// How far an object's other colours may be from its main one, 0 to 1.
    variety: f32,
    /// Chance of an outline.
    outline: f64,
    /// Most pieces of clutter.
    clutter: u32,
    /// Chance that the picture is blurred.
    blur: f64,
    /// Largest standard deviation of the sensor noise, 0 to 1.
    grain: f32,
}

impl Knobs {
    fn at(difficulty: f32) -> Self {
        let between = |easy: f32, hard: f32| easy + (hard - easy) * difficulty;
        Knobs {
            extent: (between(0.22, 0.12), 0.52),
            contrast: between(0.40, 0.10),
            variety: between(0.3, 0.8),
            outline: f64::from(between(0.5, 0.1)),
            clutter: between(0.0, 10.0) as u32,
            blur: f64::from(between(0.1, 0.5)),
            grain: between(0.01, 0.07),
        }
    }
}

/// Draws scene `index` of the set that `seed` names.
///
/// # Panics
/// If the configuration does not pass [`SceneConfig::check`].
pub fn draw_scene(config: &SceneConfig, seed: u64, index: u64) -> Scene {
    if let Err(error) = config.check() {
        panic!("{error}");
    }
    let rng = &mut stream(seed, Purpose::Scene, 0, index);
    let knobs = Knobs::at(config.difficulty);
    let noise = texture::Noise::new(rng);
    let backdrop = paint::Backdrop::random(config.size, rng);
    let layout = layout::Layout::random(config, &knobs, backdrop.horizon(), rng);
    let image = paint::paint(config.size, &layout, &backdrop, &noise, &knobs, rng);
    let objects = layout
        .layers
        .iter()
        .enumerate()
        .filter_map(|(index, layer)| {
            let mask = layout.mask(index);
            let bbox = bounding_box(&mask, config.size as usize);
            layer.class.map(|class| SceneObject { class, mask, bbox })
        });
    Scene {
        image,
        objects: objects.collect(),
    }
}

/// `[x, y, w, h]` around the ones of a mask; zeros when it is empty.
fn bounding_box(mask: &[u8], width: usize) -> [f32; 4] {
    let (mut x0, mut y0, mut x1, mut y1) = (usize::MAX, usize::MAX, 0, 0);
    for (i, _) in mask.iter().enumerate().filter(|(_, &m)| m != 0) {
        let (x, y) = (i % width, i / width);
        (x0, y0, x1, y1) = (x0.min(x), y0.min(y), x1.max(x + 1), y1.max(y + 1));
    }
    if x1 == 0 {
        return [0.0; 4];
    }
    [x0 as f32, y0 as f32, (x1 - x0) as f32, (y1 - y0) as f32]
}
