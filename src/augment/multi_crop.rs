//! Global and local views of an unlabelled picture (DINO's multi-crop).

use super::colour::ColourPlan;
use super::window::WindowDistribution;
use super::{check_size, AugmentError, ConfigError, CropConfig, MultiCropConfig, RandomCrop};
use crate::field::{Canvas, Filter, Located, PixelBox, Resampler, View, Window};
use image::RgbImage;
use intertwine_flow::random::ChaCha8Rng;
use intertwine_kernels::photometric::{Buffers, Chain, Colour};
use rand::RngExt;

/// The views of one picture.
#[derive(Clone, Debug, Default)]
pub struct Views {
    /// What teacher and student see.
    pub globals: Vec<View>,
    /// What only the student sees.
    pub locals: Vec<View>,
}

/// Everything random about one view.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ViewPlan {
    /// What part of the picture is shown, in its pixels.
    pub crop: PixelBox,
    /// Whether it is mirrored left to right.
    pub flip: bool,
    /// Where the picture lies in the field.
    pub window: Window,
    /// What is done to the colours.
    pub colour: ColourPlan,
    /// Sigma of the blur, in pixels of the view.
    pub blur: Option<f64>,
    /// Whether bright values are inverted.
    pub solarise: bool,
}

/// The kinds of view, which differ in size, extent and the probabilities of blur and solarisation.
#[derive(Clone, Copy, Debug)]
struct Kind {
    size: u32,
    crop: RandomCrop,
    blur: f64,
    solarise: f64,
}

/// Buffers of one worker, kept between pictures.
#[derive(Debug, Default)]
pub struct Scratch {
    resampler: Resampler,
    canvas: Canvas,
    buffers: Buffers,
}

/// The multi-crop augmentation.
///
/// ```
/// use intertwine::augment::{MultiCrop, MultiCropConfig, Scratch};
/// use intertwine_flow::random::{stream, Purpose};
///
/// let multi_crop = MultiCrop::new(MultiCropConfig::default())?;
/// let picture = image::RgbImage::from_fn(320, 240, |x, y| image::Rgb([x as u8, y as u8, 128]));
/// let mut rng = stream(7, Purpose::Augment, 0, 41);
/// let views = multi_crop.apply(&picture, &mut rng, &mut Scratch::default())?;
/// assert_eq!((views.globals.len(), views.locals.len()), (2, 8));
/// assert_eq!(views.globals[0].patches().len(), 14 * 14 * 3 * 16 * 16);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct MultiCrop {
    config: MultiCropConfig,
    first_global: Kind,
    other_globals: Kind,
    locals: Kind,
    window: WindowDistribution,
}

impl MultiCrop {
    /// Checks the configuration.
    ///
    /// # Errors
    /// Names the first key whose value cannot be.
    pub fn new(config: MultiCropConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let kind = |crop: &CropConfig, blur, solarise| {
            let random = RandomCrop::new(crop.area, config.aspect)?;
            Ok(Kind {
                size: crop.size,
                crop: random,
                blur,
                solarise,
            })
        };
        let (blur, solarise) = (&config.blur, &config.solarise);
        Ok(MultiCrop {
            first_global: kind(&config.globals, blur.first_global, solarise.first_global)?,
            other_globals: kind(&config.globals, blur.other_globals, solarise.other_globals)?,
            locals: kind(&config.locals, blur.locals, solarise.locals)?,
            window: config.window.distribution()?,
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &MultiCropConfig {
        &self.config
    }

    /// The views of `picture`.
    ///
    /// # Errors
    /// If the picture is empty or longer than 65,535 pixels.
    pub fn apply(
        &self,
        picture: &RgbImage,
        rng: &mut ChaCha8Rng,
        scratch: &mut Scratch,
    ) -> Result<Views, AugmentError> {
        let mut views = Views::default();
        self.apply_into(picture, rng, scratch, &mut views)?;
        Ok(views)
    }

    /// The views of `picture`, written over `views`, whose memory is used again.
    ///
    /// # Errors
    /// If the picture is empty or longer than 65,535 pixels; `views` is as it was then.
    pub fn apply_into(
        &self,
        picture: &RgbImage,
        rng: &mut ChaCha8Rng,
        scratch: &mut Scratch,
        views: &mut Views,
    ) -> Result<(), AugmentError> {
        let size = check_size(picture)?;
        let shared = self.config.window.shared.then(|| self.window.draw(rng));
        views
            .globals
            .resize_with(self.config.globals.count, View::default);
        views
            .locals
            .resize_with(self.config.locals.count, View::default);
        for (i, view) in views.globals.iter_mut().enumerate() {
            let kind = if i == 0 {
                &self.first_global
            } else {
                &self.other_globals
            };
            let plan = self.draw(kind, size, shared, rng);
            self.render(picture, &plan, kind.size, scratch, view);
        }
        for view in &mut views.locals {
            let plan = self.draw(&self.locals, size, shared, rng);
            self.render(picture, &plan, self.locals.size, scratch, view);
        }
        Ok(())
    }

    /// Draws a view of a picture of `(width, height)` pixels.
    fn draw(
        &self,
        kind: &Kind,
        (width, height): (u32, u32),
        shared: Option<Window>,
        rng: &mut ChaCha8Rng,
    ) -> ViewPlan {
        let [low, high] = self.config.blur.sigma;
        ViewPlan {
            window: shared.unwrap_or_else(|| self.window.draw(rng)),
            crop: kind.crop.draw(width, height, rng),
            flip: rng.random_bool(self.config.flip),
            colour: ColourPlan::draw(&self.config.jitter, self.config.grey, rng),
            blur: rng
                .random_bool(kind.blur)
                .then(|| rng.random_range(low..=high)),
            solarise: rng.random_bool(kind.solarise),
        }
    }

    /// Renders a view of `size` x `size` pixels.
    fn render(
        &self,
        picture: &RgbImage,
        plan: &ViewPlan,
        size: u32,
        scratch: &mut Scratch,
        view: &mut View,
    ) {
        let region = Located::whole(picture, plan.window)
            .crop(plan.crop)
            .expect("boxes are drawn inside the picture");
        let region = if plan.flip { region.flip() } else { region };
        let canvas = std::mem::take(&mut scratch.canvas);
        let canvas = region.resize(size, size, Filter::Bicubic, &mut scratch.resampler, canvas);
        let config = &self.config;
        let mut list = ColourPlan::LIST;
        let chain = Chain {
            adjustments: plan.colour.adjustments(&mut list),
            colour: if config.fast {
                Colour::Folded
            } else {
                Colour::Exact
            },
            blur: plan.blur.map(|sigma| (sigma, config.blur.kernel)),
            solarise: plan.solarise.then_some(config.solarise.threshold as f32),
            mean: config.mean,
            std: config.std,
        };
        canvas.render(&chain, config.patch as usize, &mut scratch.buffers, view);
        scratch.canvas = canvas.into_canvas();
    }
}

#[cfg(test)]
mod tests;
