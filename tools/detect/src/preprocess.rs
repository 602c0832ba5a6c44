//! From a picture to the network's input: resize, pad, normalise.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use crate::card::ModelCard;
use crate::error::PictureError;
use crate::letterbox::Letterbox;

/// Turns pictures into input tensors, keeping its buffers from one picture to the next.
///
/// The resize is bilinear with antialiasing (the filter widens with the reduction, as PIL's does), on
/// 8-bit values. A picture that already is `size` x `size` is not touched. A resize allocates the filter's weights anew
/// (`fast_image_resize` keeps none); nothing else is allocated for a picture no larger than one before.
pub struct Preprocessor {
    size: u32,
    pad_value: [u8; 3],
    /// `(value / 255 - mean) / std` of every value of each channel: exact, and faster than computing it.
    normalized: [[f32; 256]; 3],
    resizer: Resizer,
    content: RgbImage,
}

impl Preprocessor {
    /// For the input that `card` describes.
    pub fn new(card: &ModelCard) -> Self {
        let normalized = std::array::from_fn(|channel| {
            std::array::from_fn(|value| {
                (value as f32 / 255.0 - card.mean[channel]) / card.std[channel]
            })
        });
        Self {
            size: card.input_size,
            pad_value: card.pad_value,
            normalized,
            resizer: Resizer::new(),
            content: RgbImage::new(0, 0),
        }
    }

    /// Number of values of the input tensor, `3 * size * size`.
    pub fn input_len(&self) -> usize {
        3 * (self.size as usize).pow(2)
    }

    /// Writes the input tensor of a picture: planes red, green, blue, each `size` x `size` row-major,
    /// normalised. Returns where the picture lies in it.
    ///
    /// # Errors
    /// A picture without pixels.
    ///
    /// # Panics
    /// If `input` does not have [`input_len`](Self::input_len) values.
    pub fn apply(
        &mut self,
        picture: &RgbImage,
        input: &mut [f32],
    ) -> Result<Letterbox, PictureError> {
        assert_eq!(
            input.len(),
            self.input_len(),
            "the input tensor has another size"
        );
        let letterbox = Letterbox::new(picture.width(), picture.height(), self.size)?;
        let content = match letterbox.is_identity() {
            true => picture,
            false => {
                self.resize(picture, &letterbox);
                &self.content
            }
        };
        normalize(
            content,
            self.size as usize,
            &self.normalized,
            self.pad_value,
            input,
        );
        Ok(letterbox)
    }

    /// The same resize and padding as an 8-bit picture of `size` x `size`: what training augments
    /// further and what people look at.
    ///
    /// # Errors
    /// A picture without pixels.
    pub fn picture(&mut self, picture: &RgbImage) -> Result<(RgbImage, Letterbox), PictureError> {
        let letterbox = Letterbox::new(picture.width(), picture.height(), self.size)?;
        if letterbox.is_identity() {
            return Ok((picture.clone(), letterbox));
        }
        self.resize(picture, &letterbox);
        let mut canvas = RgbImage::from_pixel(self.size, self.size, image::Rgb(self.pad_value));
        image::imageops::replace(&mut canvas, &self.content, 0, 0);
        Ok((canvas, letterbox))
    }

    /// Resizes into `self.content`, which keeps its allocation.
    fn resize(&mut self, picture: &RgbImage, letterbox: &Letterbox) {
        let (width, height) = letterbox.content();
        if self.content.dimensions() != (width, height) {
            let mut pixels = std::mem::take(&mut self.content).into_raw();
            pixels.resize(3 * width as usize * height as usize, 0);
            self.content = RgbImage::from_raw(width, height, pixels).expect("sized just above");
        }
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        // The typed form: the dynamic one compiles its kernels for fifteen pixel types.
        let source =
            TypedImageRef::<U8x3>::from_buffer(picture.width(), picture.height(), picture.as_raw());
        let target = TypedImage::<U8x3>::from_buffer(width, height, &mut self.content);
        let (source, mut target) = source
            .and_then(|s| Ok((s, target?)))
            .expect("the buffers have these sizes");
        self.resizer
            .resize_typed(&source, &mut target, &options)
            .expect("without a crop, no error applies");
    }
}

/// Deinterleaves, normalises and pads in one pass over the output.
fn normalize(
    content: &RgbImage,
    size: usize,
    normalized: &[[f32; 256]; 3],
    pad_value: [u8; 3],
    input: &mut [f32],
) {
    let (width, height) = (content.width() as usize, content.height() as usize);
    let pad: [f32; 3] = std::array::from_fn(|c| normalized[c][pad_value[c] as usize]);
    let (red, rest) = input.split_at_mut(size * size);
    let (green, blue) = rest.split_at_mut(size * size);
    let rows = content.as_raw().chunks_exact(3 * width);
    for (((row, red), green), blue) in rows
        .zip(red.chunks_exact_mut(size))
        .zip(green.chunks_exact_mut(size))
        .zip(blue.chunks_exact_mut(size))
    {
        for (((pixel, r), g), b) in row
            .chunks_exact(3)
            .zip(red.iter_mut())
            .zip(green.iter_mut())
            .zip(blue.iter_mut())
        {
            *r = normalized[0][pixel[0] as usize];
            *g = normalized[1][pixel[1] as usize];
            *b = normalized[2][pixel[2] as usize];
        }
        red[width..].fill(pad[0]);
        green[width..].fill(pad[1]);
        blue[width..].fill(pad[2]);
    }
    for (plane, pad) in [red, green, blue].into_iter().zip(pad) {
        plane[height * size..].fill(pad);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Class;

    fn card(size: u32) -> ModelCard {
        let mut card = ModelCard::new(
            size,
            vec![Class {
                id: 0,
                name: "thing".into(),
            }],
        );
        card.mean = [0.5, 0.25, 0.0];
        card.std = [0.5, 0.25, 1.0];
        card.pad_value = [0, 255, 51];
        card
    }

    #[test]
    fn a_picture_of_the_right_size_is_normalised_and_nothing_else() {
        let size = 16;
        let picture = RgbImage::from_fn(size, size, |x, y| {
            image::Rgb([(x * 16) as u8, (y * 16) as u8, 255])
        });
        let mut preprocessor = Preprocessor::new(&card(size));
        let mut input = vec![f32::NAN; preprocessor.input_len()];
        preprocessor.apply(&picture, &mut input).unwrap();
        for (x, y, pixel) in picture.enumerate_pixels() {
            let at = (y * size + x) as usize;
            let plane = (size * size) as usize;
            assert_eq!(input[at], (pixel[0] as f32 / 255.0 - 0.5) / 0.5);
            assert_eq!(input[plane + at], (pixel[1] as f32 / 255.0 - 0.25) / 0.25);
            assert_eq!(input[2 * plane + at], 1.0);
        }
        assert_eq!(preprocessor.picture(&picture).unwrap().0, picture);
    }

    #[test]
    fn halving_averages_and_padding_lies_right_and_below() {
        // Antialiased bilinear at factor 2 is the tent 1 3 3 1 over 4 pixels: between columns of 0 and
        // 200 in pairs, every inner output pixel mixes both. A plain average of 2 x 2 would not.
        let mut wide = RgbImage::new(32, 16);
        for (x, _, pixel) in wide.enumerate_pixels_mut() {
            *pixel = image::Rgb([if x % 4 < 2 { 0 } else { 200 }; 3]);
        }
        let mut preprocessor = Preprocessor::new(&card(16));
        let (canvas, letterbox) = preprocessor.picture(&wide).unwrap();
        assert_eq!(letterbox.content(), (16, 8));
        // Weights 1/8 3/8 3/8 1/8 around a pair of zeros between 200s: 200 * 2/8 = 50.
        assert_eq!(canvas.get_pixel(4, 3), &image::Rgb([50; 3]));
        assert_eq!(canvas.get_pixel(5, 3), &image::Rgb([150; 3]));
        assert_eq!(canvas.get_pixel(4, 8), &image::Rgb([0, 255, 51]));

        let tall = RgbImage::from_pixel(8, 16, image::Rgb([255; 3]));
        let mut input = vec![f32::NAN; preprocessor.input_len()];
        // A tall picture after a wide one: nothing of the first may stay in the recycled buffers.
        preprocessor.apply(&tall, &mut input).unwrap();
        for (at, &value) in input.iter().enumerate() {
            let (channel, x) = (at / 256, at % 16);
            let inside = [1.0, 3.0, 1.0][channel];
            let outside = [-1.0, 3.0, 0.2][channel];
            let expected: f32 = if x < 8 { inside } else { outside };
            assert!(
                (value - expected).abs() < 1e-6,
                "at {at}: {value}, expected {expected}"
            );
        }
    }

    #[test]
    fn both_forms_hold_the_same_picture() {
        let picture = RgbImage::from_fn(37, 21, |x, y| {
            image::Rgb([(x * 7) as u8, (y * 11) as u8, (x * y) as u8])
        });
        let card = card(24);
        let mut preprocessor = Preprocessor::new(&card);
        let mut input = vec![0.0; preprocessor.input_len()];
        preprocessor.apply(&picture, &mut input).unwrap();
        let (canvas, _) = preprocessor.picture(&picture).unwrap();
        let mut again = vec![0.0; preprocessor.input_len()];
        preprocessor.apply(&canvas, &mut again).unwrap();
        assert_eq!(input, again);
    }
}
