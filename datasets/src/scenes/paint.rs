//! Paints a layout: background, shadows, fillings, light, blur and sensor noise.

use super::layout::{coverage, Layer, Layout};
use super::shape::{walk_row, Pose, Vec2};
use super::texture::{
    contrast, mix, random_colour, random_direction, smoothstep, Colour, Noise, Texture,
};
use super::Knobs;
use image::{Rgb, RgbImage};
use intertwine_flow::random::ChaCha8Rng;
use rand::RngExt;

/// How many fillings are tried to reach the wanted contrast with what lies behind.
const COLOUR_ATTEMPTS: usize = 10;

/// What is behind everything: one texture, or a wall above and a floor below a horizon.
pub(super) struct Backdrop {
    wall: Texture,
    /// The horizon as a share of the side from the top, and the floor's texture.
    floor: Option<(f32, Texture)>,
}

impl Backdrop {
    pub(super) fn random(size: u32, rng: &mut ChaCha8Rng) -> Self {
        let unit = size as f32 / 96.0;
        let mut texture = |periods: std::ops::Range<f32>| {
            let (base, period) = (random_colour(rng), unit * rng.random_range(periods));
            let variety = rng.random_range(0.15..0.6);
            Texture::random(base, variety, 0.05, period, rng)
        };
        let (wall, floor) = (texture(10.0..40.0), texture(12.0..30.0));
        let horizon = rng.random_range(0.2..0.6);
        Backdrop {
            wall,
            floor: rng.random_bool(0.5).then_some((horizon, floor)),
        }
    }

    /// The horizon as a share of the side from the top, if there is a floor.
    pub(super) fn horizon(&self) -> Option<f32> {
        self.floor.map(|(horizon, _)| horizon)
    }

    fn at(&self, p: Vec2, size: f32, noise: &Noise) -> Colour {
        match &self.floor {
            Some((horizon, floor)) if p[1] > horizon * size => {
                // Perspective: a row's distance from the eye goes as one over its depth below the
                // horizon; the added constant keeps far rows coarser than a pixel.
                let depth = 0.4 / (p[1] / size - horizon + 0.16);
                floor.at([(p[0] - 0.5 * size) * depth, size * depth], noise)
            }
            _ => self.wall.at(p, noise),
        }
    }
}

/// Where the light comes from and what it does.
struct Light {
    /// Unit vector on the picture towards the light; mostly upwards.
    towards: Vec2,
    /// Change of brightness across the picture.
    slope: f32,
    tint: Colour,
    /// Shadows: how dark (0 to 1), how long and how soft in pixels.
    shadow: (f32, f32, f32),
}

impl Light {
    fn random(unit: f32, rng: &mut ChaCha8Rng) -> Self {
        let [x, y] = random_direction(rng);
        Light {
            towards: if rng.random_bool(0.85) {
                [x, -y.abs()]
            } else {
                [x, y]
            },
            slope: rng.random_range(0.0..0.5),
            tint: mix([1.0; 3], random_colour(rng), rng.random_range(0.0..0.2)),
            shadow: (
                rng.random_range(0.1..0.65),
                unit * rng.random_range(1.0..5.0),
                unit * rng.random_range(1.5..7.0),
            ),
        }
    }
}

/// Paints `layout` on `backdrop`.
pub(super) fn paint(
    size: u32,
    layout: &Layout,
    backdrop: &Backdrop,
    noise: &Noise,
    knobs: &Knobs,
    rng: &mut ChaCha8Rng,
) -> RgbImage {
    let light = Light::random(size as f32 / 96.0, rng);
    let mut canvas = Canvas {
        size,
        pixels: Vec::with_capacity(size as usize * size as usize),
    };
    for y in 0..size {
        for x in 0..size {
            canvas
                .pixels
                .push(backdrop.at(centre(x, y), size as f32, noise));
        }
    }
    for layer in &layout.layers {
        let filling = Filling::random(layer, &canvas, knobs, rng);
        canvas.cast_shadow(layer, &light);
        canvas.fill(layer, &filling, &light, noise);
    }
    if rng.random_bool(knobs.blur) {
        for _ in 0..rng.random_range(1..=2) {
            canvas.blur();
        }
    }
    let grain = rng.random_range(0.0..=knobs.grain);
    canvas.expose(&light, grain, rng.random())
}

/// The centre of a pixel.
fn centre(x: u32, y: u32) -> Vec2 {
    [x as f32 + 0.5, y as f32 + 0.5]
}

/// How a layer is coloured.
struct Filling {
    texture: Texture,
    /// How strongly the light rounds the surface off; 0 is flat paper.
    relief: f32,
    /// An outline: its width in pixels and its colour.
    outline: Option<(f32, Colour)>,
}

impl Filling {
    fn random(layer: &Layer, canvas: &Canvas, knobs: &Knobs, rng: &mut ChaCha8Rng) -> Self {
        let behind = canvas.mean_behind(layer);
        let mut best = (-1.0, [0.0; 3]);
        for _ in 0..COLOUR_ATTEMPTS {
            let colour = random_colour(rng);
            let distance = contrast(colour, behind);
            if distance > best.0 {
                best = (distance, colour);
            }
            if distance >= knobs.contrast {
                break;
            }
        }
        let unit = canvas.size as f32 / 96.0;
        let period = unit * rng.random_range(4.0..14.0);
        let variety = rng.random_range(0.0..knobs.variety);
        let width = unit * rng.random_range(0.8..1.8);
        Filling {
            texture: Texture::random(best.1, variety, 0.3, period, rng),
            relief: rng.random_range(0.0..0.45),
            outline: rng
                .random_bool(knobs.outline)
                .then(|| (width.min(Layer::REACH), random_colour(rng))),
        }
    }
}

/// The picture in the making: gamma-space colours, row by row.
struct Canvas {
    size: u32,
    pixels: Vec<Colour>,
}

impl Canvas {
    /// Mean colour of the pixels a layer will cover, sampled; grey if it covers none.
    fn mean_behind(&self, layer: &Layer) -> Colour {
        let mut sum = [0.0; 3];
        let mut count = 0.0f32;
        for (x, y, _) in layer
            .pixels(self.size)
            .filter(|&(.., d)| d < 0.0)
            .step_by(7)
        {
            let colour = self.pixels[(y * self.size + x) as usize];
            for (sum, value) in sum.iter_mut().zip(colour) {
                *sum += value;
            }
            count += 1.0;
        }
        if count == 0.0 {
            [0.5; 3]
        } else {
            sum.map(|s| s / count)
        }
    }

    /// Darkens what lies behind a layer, away from the light.
    fn cast_shadow(&mut self, layer: &Layer, light: &Light) {
        let (strength, length, softness) = light.shadow;
        let [x, y] = layer.pose.centre;
        let pose = Pose {
            centre: [x - light.towards[0] * length, y - light.towards[1] * length],
            ..layer.pose
        };
        let scale = pose.scale[0].min(pose.scale[1]);
        let [x0, y0, x1, y1] = pose
            .pixel_box(&layer.shape, softness / 2.0)
            .map(|v| v.clamp(0, self.size as i32));
        for y in y0..y1 {
            let at = |x: i32| {
                layer
                    .shape
                    .distance(pose.to_local(centre(x as u32, y as u32)))
                    * scale
            };
            walk_row(x0..x1, softness / 2.0, at, |x, distance| {
                let dark = strength * smoothstep(0.5 - distance / softness);
                let pixel = &mut self.pixels[y as usize * self.size as usize + x as usize];
                *pixel = pixel.map(|v| v * (1.0 - dark));
            });
        }
    }

    fn fill(&mut self, layer: &Layer, filling: &Filling, light: &Light, noise: &Noise) {
        let [cx, cy] = layer.pose.centre;
        let radius = layer.pose.scale[0].max(layer.pose.scale[1]);
        for (x, y, distance) in layer.pixels(self.size) {
            let alpha = coverage(distance);
            if alpha == 0.0 {
                continue;
            }
            let [px, py] = centre(x, y);
            let p = [px - cx, py - cy];
            let facing = (p[0] * light.towards[0] + p[1] * light.towards[1]) / radius;
            let shade = 1.0 + filling.relief * facing;
            let mut colour = filling.texture.at(p, noise).map(|v| v * shade);
            if let Some((width, line)) = filling.outline {
                colour = mix(colour, line, coverage(-distance - width));
            }
            let pixel = &mut self.pixels[(y * self.size + x) as usize];
            *pixel = mix(*pixel, colour, alpha);
        }
    }

    /// One pass of the binomial filter 1-2-1 in both directions (sigma 0.71 pixels); edges repeat.
    fn blur(&mut self) {
        let size = self.size as usize;
        let weigh = |a: Colour, b: Colour, c: Colour| -> Colour {
            std::array::from_fn(|k| 0.25 * a[k] + 0.5 * b[k] + 0.25 * c[k])
        };
        for row in self.pixels.chunks_exact_mut(size) {
            let mut before = row[0];
            for x in 0..size {
                let (here, after) = (row[x], row[(x + 1).min(size - 1)]);
                row[x] = weigh(before, here, after);
                before = here;
            }
        }
        let mut above = self.pixels[..size].to_vec();
        for y in 0..size {
            let below = (y + 1).min(size - 1) * size;
            for (x, above) in above.iter_mut().enumerate() {
                let here = self.pixels[y * size + x];
                self.pixels[y * size + x] = weigh(*above, here, self.pixels[below + x]);
                *above = here;
            }
        }
    }

    /// Applies the light, adds sensor noise of standard deviation `grain`, and rounds to bytes.
    fn expose(self, light: &Light, grain: f32, key: u64) -> RgbImage {
        let size = self.size as f32;
        RgbImage::from_fn(self.size, self.size, |x, y| {
            let [px, py] = centre(x, y);
            let towards =
                (px / size - 0.5) * light.towards[0] + (py / size - 0.5) * light.towards[1];
            let brightness = 1.0 + light.slope * towards;
            let index = y * self.size + x;
            let bits = split_mix(key.wrapping_add(u64::from(index)));
            let colour = self.pixels[index as usize];
            Rgb(std::array::from_fn(|k| {
                // The sum of two 10-bit uniforms: triangular, standard deviation 1024 / sqrt(6).
                let (a, b) = (bits >> (20 * k) & 1023, bits >> (20 * k + 10) & 1023);
                let noise = (a as f32 + b as f32 - 1023.0) / 418.0;
                let value = colour[k] * light.tint[k] * brightness + grain * noise;
                (value * 255.0 + 0.5).clamp(0.0, 255.0) as u8
            }))
        })
    }
}

/// The SplitMix64 output function (Steele, Lea and Flood 2014) of a counter: noise for a pixel in a
/// nanosecond, where a ChaCha draw for each would cost as much as the rest of the picture.
fn split_mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blur_keeps_flat_pictures_and_spreads_a_point() {
        let mut canvas = Canvas {
            size: 5,
            pixels: vec![[0.5; 3]; 25],
        };
        canvas.blur();
        assert!(canvas.pixels.iter().all(|p| (p[0] - 0.5).abs() < 1e-6));
        canvas.pixels = vec![[0.0; 3]; 25];
        canvas.pixels[12] = [16.0; 3];
        canvas.blur();
        let red: Vec<f32> = canvas.pixels.iter().map(|p| p[0]).collect();
        assert_eq!(&red[5..10], &[0.0, 1.0, 2.0, 1.0, 0.0]);
        assert_eq!(&red[10..15], &[0.0, 2.0, 4.0, 2.0, 0.0]);
        assert_eq!(&red[0..5], &[0.0; 5]);
    }
}
