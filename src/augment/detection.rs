//! Labelled pictures for fine-tuning: scale jitter, crop, flip and colour, boxes and masks following.
//!
//! This is large-scale jitter (Ghiasi et al., 2021) as ViTDet uses it, on a square: the picture is
//! scaled as if to fill the square, times a random factor; what sticks out is cropped at a random
//! place, what is missing is padded on the right and at the bottom, where the edge runtime pads too.
//!
//! Positions: the square that results, padding included, is what lies in the field, whatever part of the picture it
//! shows, because it is for that square that the exported network's positions are baked. Pictures may be composed of several
//! before (`compose`); what is composed is a picture like any other.

mod compose;
mod config;

use super::colour::ColourPlan;
use super::{check_size, AugmentError, ConfigError};
use crate::field::{resample_mask, Canvas, Filter, Located, PixelBox, Resampler, View, Window};
use image::RgbImage;
use intertwine_flow::random::ChaCha8Rng;
use intertwine_kernels::photometric::{Buffers, Chain, Colour};
use intertwine_rle::Rle;
use rand::RngExt;

pub use compose::Labelled;
use compose::Place;
pub use config::DetectionAugmentConfig;

/// An object of a labelled picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// `[x0, y0, x1, y1]` in pixels of the picture.
    pub bbox: [f32; 4],
    /// Index of the category, from 0.
    pub class: u32,
    /// The mask, of the picture's size.
    pub mask: Option<Rle>,
}

/// A square view with its labels.
#[derive(Clone, Debug, Default)]
pub struct TrainImage {
    /// The patches, and where they lie.
    pub view: View,
    /// `[x0, y0, x1, y1]` of each object in pixels of the square, inside it.
    pub boxes: Vec<[f32; 4]>,
    /// The category index of each object.
    pub classes: Vec<u32>,
    /// The mask of each object that has one: row-major, `mask_size * mask_size` zeros and ones, one
    /// where at least half of the mask pixel is covered. Thin objects may leave none.
    pub masks: Vec<Option<Vec<u8>>>,
}

/// Buffers of one worker, kept between pictures.
#[derive(Debug, Default)]
pub struct DetectionScratch {
    resampler: Resampler,
    canvas: Canvas,
    buffers: Buffers,
    mask_resizer: fast_image_resize::Resizer,
    /// How much of each pixel of the view a mask covers, 0 to 255.
    coverage: Vec<u8>,
}

/// Everything random about one picture.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// In pixels of the picture, before the flip; may reach beyond it.
    crop: PixelBox,
    flip: bool,
    colour: ColourPlan,
}

/// Turns labelled pictures into what a detector is trained on.
#[derive(Clone, Debug)]
pub struct DetectionAugment {
    config: DetectionAugmentConfig,
}

impl DetectionAugment {
    /// Checks the configuration.
    ///
    /// # Errors
    /// Names the first key whose value cannot be.
    pub fn new(config: DetectionAugmentConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(DetectionAugment { config })
    }

    /// The configuration.
    pub fn config(&self) -> &DetectionAugmentConfig {
        &self.config
    }

    /// The picture that is to be augmented in the place of `picture`, if it is to be composed of several. `other`
    /// gives another labelled picture at random.
    ///
    /// # Errors
    /// What `other` runs into, and masks that have not their picture's size.
    pub fn compose<E: From<AugmentError>>(
        &self,
        picture: &RgbImage,
        objects: &[Object],
        rng: &mut ChaCha8Rng,
        mut other: impl FnMut(&mut ChaCha8Rng) -> Result<Labelled, E>,
    ) -> Result<Option<Labelled>, E> {
        // A probability of 0 draws nothing, so that these keys leave the other draws as they are.
        let mut draw = |p: f64| p > 0.0 && rng.random_bool(p);
        let (mosaic, paste) = (draw(self.config.mosaic), draw(self.config.copy_paste));
        if !(mosaic || paste) {
            return Ok(None);
        }
        let mut checked = |rng: &mut ChaCha8Rng| {
            let labelled = other(rng)?;
            check_masks(&labelled)?;
            Ok::<_, E>(labelled)
        };
        let mut composed = Labelled {
            image: picture.clone(),
            objects: objects.to_vec(),
        };
        check_masks(&composed)?;
        if mosaic {
            let [b, c, d] = [checked(rng)?, checked(rng)?, checked(rng)?];
            composed = Labelled::mosaic([&composed, &b, &c, &d], self.config.padding);
        }
        if paste {
            let from = checked(rng)?;
            let place = Place::draw(composed.image.dimensions(), from.image.dimensions(), rng);
            let chosen = from.objects.iter().filter(|_| rng.random_bool(0.5));
            composed.paste(&from.image, chosen, place);
        }
        Ok(Some(composed))
    }

    /// Augments `picture`, writing over `out`. Objects of which too little remains are left out, and so
    /// are those whose box is empty or not finite. Crowds and other regions to be ignored are the
    /// caller's to leave out.
    ///
    /// # Errors
    /// If the picture is empty or longer than 65,535 pixels, or a mask has not the picture's size; `out`
    /// is not to be used then.
    pub fn apply(
        &self,
        picture: &RgbImage,
        objects: &[Object],
        rng: &mut ChaCha8Rng,
        scratch: &mut DetectionScratch,
        out: &mut TrainImage,
    ) -> Result<(), AugmentError> {
        let size = check_size(picture)?;
        let plan = self.draw(size, rng);
        self.render(picture, &plan, scratch, &mut out.view);
        out.boxes.clear();
        out.classes.clear();
        out.masks.clear();
        for object in objects {
            let Some(bbox) =
                plan.follow(object.bbox, size, self.config.size, self.config.min_visible)
            else {
                continue;
            };
            let mask = object
                .mask
                .as_ref()
                .map(|mask| self.mask(mask, size, &plan, scratch))
                .transpose()?;
            out.boxes.push(bbox);
            out.classes.push(object.class);
            out.masks.push(mask);
        }
        Ok(())
    }

    fn draw(&self, (width, height): (u32, u32), rng: &mut ChaCha8Rng) -> Plan {
        let config = &self.config;
        let long = f64::from(width.max(height));
        let scale = rng.random_range(config.scale[0]..=config.scale[1]);
        let stretch = (rng.random_range(-config.aspect..=config.aspect) / 2.0).exp();
        let w = (long / (scale * stretch)).round().max(1.0) as u32;
        let h = (long * stretch / scale).round().max(1.0) as u32;
        let x = rng.random_range(0..=width.saturating_sub(w)) as i32;
        let y = rng.random_range(0..=height.saturating_sub(h)) as i32;
        let flip = rng.random_bool(config.flip);
        // Padding is on the right after the flip, so before it is on the left.
        let x = if flip { width as i32 - w as i32 - x } else { x };
        let colour = ColourPlan::draw(&config.jitter, config.grey, rng);
        Plan {
            crop: PixelBox { x, y, w, h },
            flip,
            colour,
        }
    }

    fn render(
        &self,
        picture: &RgbImage,
        plan: &Plan,
        scratch: &mut DetectionScratch,
        view: &mut View,
    ) {
        let config = &self.config;
        let region = Located::letterboxed(picture, Window::centred(config.window), config.padding)
            .crop(plan.crop)
            .expect("the box is not empty, and a letterboxed picture may be cropped anywhere");
        let region = if plan.flip { region.flip() } else { region };
        let canvas = std::mem::take(&mut scratch.canvas);
        // Bilinear, as the edge runtime resizes.
        let canvas = region.resize(
            config.size,
            config.size,
            Filter::Bilinear,
            &mut scratch.resampler,
            canvas,
        );
        let mut list = ColourPlan::LIST;
        let chain = Chain {
            adjustments: plan.colour.adjustments(&mut list),
            colour: Colour::Exact,
            blur: None,
            solarise: None,
            mean: config.mean,
            std: config.std,
        };
        canvas.render(&chain, config.patch as usize, &mut scratch.buffers, view);
        scratch.canvas = canvas.into_canvas();
    }

    /// The mask in the view, where at least half of a mask pixel is covered.
    fn mask(
        &self,
        mask: &Rle,
        (width, height): (u32, u32),
        plan: &Plan,
        scratch: &mut DetectionScratch,
    ) -> Result<Vec<u8>, AugmentError> {
        let (mask_h, mask_w) = mask.size();
        if (mask_w, mask_h) != (width, height) {
            return Err(AugmentError::MaskSize {
                found: (mask_w, mask_h),
                expected: (width, height),
            });
        }
        let mut bitmap = mask.decode();
        bitmap.iter_mut().for_each(|v| *v *= 255);
        // First to the pixels of the view, exactly as the picture goes there, then to their means.
        let DetectionAugmentConfig {
            size, mask_stride, ..
        } = self.config;
        let coverage = &mut scratch.coverage;
        coverage.resize(size as usize * size as usize, 0);
        resample_mask(
            (&bitmap, width, height),
            plan.crop,
            (coverage, size, size),
            &mut scratch.mask_resizer,
        );
        let (size, stride) = (size as usize, mask_stride as usize);
        let side = size / stride;
        let half = 255 * (stride * stride) as u32;
        let mut out = Vec::with_capacity(side * side);
        for band in coverage.chunks_exact(stride * size) {
            out.extend((0..side).map(|x| {
                let rows = band
                    .chunks_exact(size)
                    .flat_map(|row| &row[x * stride..][..stride]);
                u8::from(2 * rows.map(|&v| u32::from(v)).sum::<u32>() >= half)
            }));
        }
        if plan.flip {
            out.chunks_exact_mut(side).for_each(<[u8]>::reverse);
        }
        Ok(out)
    }
}

impl Plan {
    /// The box in pixels of a view of `size` x `size`, clipped to what is seen of the picture; none if
    /// less than `min_visible` of its area is left.
    fn follow(
        &self,
        bbox: [f32; 4],
        picture: (u32, u32),
        size: u32,
        min_visible: f64,
    ) -> Option<[f32; 4]> {
        let PixelBox { x, y, w, h } = self.crop;
        let [x0, y0, x1, y1] = bbox.map(f64::from);
        let area = (x1 - x0) * (y1 - y0);
        if !(x1 > x0 && y1 > y0 && area.is_finite()) {
            return None;
        }
        let (left, top) = (f64::from(x), f64::from(y));
        let (right, bottom) = (left + f64::from(w), top + f64::from(h));
        let (cx0, cx1) = (
            x0.max(left).max(0.0),
            x1.min(right).min(f64::from(picture.0)),
        );
        let (cy0, cy1) = (
            y0.max(top).max(0.0),
            y1.min(bottom).min(f64::from(picture.1)),
        );
        if !(cx1 > cx0 && cy1 > cy0 && (cx1 - cx0) * (cy1 - cy0) >= min_visible * area) {
            return None;
        }
        let size = f64::from(size);
        let across = |x: f64| (x - left) / f64::from(w) * size;
        let down = |y: f64| (y - top) / f64::from(h) * size;
        let (vx0, vx1) = if self.flip {
            (size - across(cx1), size - across(cx0))
        } else {
            (across(cx0), across(cx1))
        };
        Some([vx0, down(cy0), vx1, down(cy1)].map(|v| v as f32))
    }
}

/// Refuses masks that have not their picture's size.
fn check_masks(labelled: &Labelled) -> Result<(), AugmentError> {
    let expected = check_size(&labelled.image)?;
    let masks = labelled.objects.iter().filter_map(|o| o.mask.as_ref());
    for (height, width) in masks.map(Rle::size) {
        if (width, height) != expected {
            let found = (width, height);
            return Err(AugmentError::MaskSize { found, expected });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
