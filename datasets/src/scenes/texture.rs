//! Colours and procedural textures. A texture maps a point, in pixels, to a colour; backgrounds and
//! objects draw theirs from the same family, so that no class can be told by its filling.

use super::shape::{length, Vec2};
use intertwine_flow::random::ChaCha8Rng;
use rand::RngExt;

/// Red, green and blue, 0 to 1, in the picture's own (gamma) space.
pub(super) type Colour = [f32; 3];

/// `a` at `t` = 0, `b` at 1.
pub(super) fn mix(a: Colour, b: Colour, t: f32) -> Colour {
    [
        a[0] + (b[0] - a[0]) * t,
        a[1] + (b[1] - a[1]) * t,
        a[2] + (b[2] - a[2]) * t,
    ]
}

/// How different two colours look, 0 to 1: the distance in RGB, the channels weighted roughly as the
/// eye does, but blue more than it has in luminance, since hue tells things apart as well.
pub(super) fn contrast(a: Colour, b: Colour) -> f32 {
    let d = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    (0.35 * d[0] * d[0] + 0.45 * d[1] * d[1] + 0.20 * d[2] * d[2]).sqrt()
}

/// The colour of a hue (in turns), saturation and value, each 0 to 1: the hexagonal HSV model.
fn hsv(hue: f32, saturation: f32, value: f32) -> Colour {
    let channel = |offset: f32| {
        let k = (hue * 6.0 + offset) % 6.0;
        value * (1.0 - saturation * k.min(4.0 - k).clamp(0.0, 1.0))
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

/// A colour of any hue; pale, dark and grey ones are as common as vivid ones.
pub(super) fn random_colour(rng: &mut ChaCha8Rng) -> Colour {
    let (hue, saturation, value) = (
        rng.random(),
        rng.random_range(0.05..0.9),
        rng.random_range(0.15..0.98),
    );
    hsv(hue, saturation, value)
}

/// A unit vector of any direction, drawn by rejection: no sines, so the same on every machine.
pub(super) fn random_direction(rng: &mut ChaCha8Rng) -> Vec2 {
    loop {
        let v = [
            rng.random_range(-1.0f32..1.0),
            rng.random_range(-1.0f32..1.0),
        ];
        let n = length(v);
        if (0.1..=1.0).contains(&n) {
            return [v[0] / n, v[1] / n];
        }
    }
}

/// A Hermite step from 0 at `t` = 0 to 1 at `t` = 1.
pub(super) fn smoothstep(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// The next whole number below. The textures' points are small, so a conversion does, where
/// `f32::floor` is a call into the C library unless the CPU is known to have SSE4.1.
fn floor(t: f32) -> f32 {
    let whole = t as i32 as f32;
    if whole > t {
        whole - 1.0
    } else {
        whole
    }
}

/// `t` without its whole part, 0 to 1, for negative numbers too.
fn fraction(t: f32) -> f32 {
    t - floor(t)
}

const LATTICE_SIDE: usize = 32;

/// Value noise: random numbers on an integer lattice, smoothly interpolated, repeating every 32 units.
/// One lattice serves all the textures of a scene, each at its own offset.
pub(super) struct Noise([f32; LATTICE_SIDE * LATTICE_SIDE]);

impl Noise {
    pub(super) fn new(rng: &mut ChaCha8Rng) -> Self {
        Noise(std::array::from_fn(|_| rng.random()))
    }

    /// One octave, 0 to 1.
    fn value(&self, [x, y]: Vec2) -> f32 {
        let (x0, y0) = (floor(x), floor(y));
        let (tx, ty) = (smoothstep(x - x0), smoothstep(y - y0));
        // The mask makes the index valid for any integer, negative ones included.
        let at = |dx: i32, dy: i32| {
            let (column, row) = ((x0 as i32).wrapping_add(dx), (y0 as i32).wrapping_add(dy));
            let wrap = LATTICE_SIDE as i32 - 1;
            self.0[(row & wrap) as usize * LATTICE_SIDE + (column & wrap) as usize]
        };
        let top = at(0, 0) + (at(1, 0) - at(0, 0)) * tx;
        let bottom = at(0, 1) + (at(1, 1) - at(0, 1)) * tx;
        top + (bottom - top) * ty
    }

    /// Three octaves, each of half the height and twice the frequency of the one before; 0 to 1.
    fn fractal(&self, p: Vec2) -> f32 {
        let [x, y] = p;
        // Octaves are turned against each other (3-4-5 triangle), which hides the lattice.
        let second = [1.6 * x - 1.2 * y + 5.3, 1.2 * x + 1.6 * y + 9.1];
        let third = [1.12 * x - 3.84 * y + 17.7, 3.84 * x + 1.12 * y + 2.9];
        (4.0 * self.value(p) + 2.0 * self.value(second) + self.value(third)) / 7.0
    }
}

/// How the three colours of a texture are laid out; one unit is one period.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    Flat,
    /// From the first to the last colour within this many periods.
    Gradient(f32),
    /// Fractal noise: clouds, rock, cloth.
    Clouds,
    /// Noise cut at levels: camouflage, maps.
    Blobs,
    /// Stripes whose first colour takes this share of a period.
    Stripes(f32),
    /// Stripes bent by noise of this strength: wood, marble, water.
    Veins(f32),
    Checks,
    /// Dots of this radius on a square lattice.
    Dots(f32),
}

/// A pattern, its three colours and where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texture {
    pattern: Pattern,
    colours: [Colour; 3],
    /// Unit vector along the pattern's x axis, divided by the period in pixels.
    axis: Vec2,
    /// Shift, in periods.
    offset: Vec2,
    /// The width of one pixel in periods, for soft edges.
    pixel: f32,
}

impl Texture {
    /// A random texture around the colour `base`.
    ///
    /// `variety` (0 to 1) says how far its other colours are from `base`, `flat` how often it has one
    /// colour only, and `period` its scale in pixels.
    pub(super) fn random(
        base: Colour,
        variety: f32,
        flat: f64,
        period: f32,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let pattern = if rng.random_bool(flat) {
            Pattern::Flat
        } else {
            match rng.random_range(0..8) {
                0 => Pattern::Gradient(rng.random_range(1.5..4.0)),
                1 | 2 => Pattern::Clouds,
                3 => Pattern::Blobs,
                4 => Pattern::Stripes(rng.random_range(0.3..0.7)),
                5 => Pattern::Veins(rng.random_range(0.5..2.5)),
                6 => Pattern::Checks,
                _ => Pattern::Dots(rng.random_range(0.2..0.42)),
            }
        };
        let mut other = || mix(base, random_colour(rng), variety);
        let colours = [base, other(), other()];
        let direction = random_direction(rng);
        Texture {
            pattern,
            colours,
            axis: [direction[0] / period, direction[1] / period],
            offset: [rng.random_range(0.0..32.0), rng.random_range(0.0..32.0)],
            pixel: 1.0 / period,
        }
    }

    /// The colour at `p`, in pixels.
    pub(super) fn at(&self, [x, y]: Vec2, noise: &Noise) -> Colour {
        let [c, s] = self.axis;
        let p = [
            c * x + s * y + self.offset[0],
            c * y - s * x + self.offset[1],
        ];
        let [first, second, third] = self.colours;
        // 1 within `half` of the period's middle, with an edge one pixel wide.
        let band =
            |t: f32, half: f32| smoothstep((half - (fraction(t) - 0.5).abs()) / self.pixel + 0.5);
        match self.pattern {
            Pattern::Flat => first,
            Pattern::Gradient(periods) => {
                // Back and forth, since a ramp that starts again would be an edge.
                let t = 2.0 * (fraction(p[0] / (2.0 * periods)) - 0.5).abs();
                mix(first, second, smoothstep(t))
            }
            Pattern::Clouds => {
                // Interpolated values crowd around the middle: stretch them.
                let t = ((noise.fractal(p) - 0.5) * 1.8 + 0.5).clamp(0.0, 1.0);
                mix(mix(first, second, t), third, (2.0 * t - 1.0).max(0.0))
            }
            Pattern::Blobs => {
                let t = noise.fractal(p);
                let edge = |level: f32| smoothstep((t - level) / (1.5 * self.pixel) + 0.5);
                mix(mix(first, second, edge(0.45)), third, edge(0.6))
            }
            Pattern::Stripes(share) => mix(first, second, band(p[0], share / 2.0)),
            Pattern::Veins(strength) => {
                let t = fraction(p[0] + strength * noise.fractal(p));
                mix(first, second, smoothstep(2.0 * (t - 0.5).abs()))
            }
            Pattern::Checks => {
                let (a, b) = (band(p[0], 0.25), band(p[1], 0.25));
                mix(first, second, a + b - 2.0 * a * b)
            }
            Pattern::Dots(radius) => {
                let d = length([fraction(p[0]) - 0.5, fraction(p[1]) - 0.5]);
                mix(first, second, smoothstep((radius - d) / self.pixel + 0.5))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use intertwine_flow::random::{stream, Purpose};
    use proptest::prelude::*;

    #[test]
    fn hsv_corners_of_the_hexagon() {
        let close = |a: Colour, b: Colour| assert!(contrast(a, b) < 1e-5, "{a:?} is not {b:?}");
        close(hsv(0.0, 1.0, 1.0), [1.0, 0.0, 0.0]);
        close(hsv(1.0 / 3.0, 1.0, 1.0), [0.0, 1.0, 0.0]);
        close(hsv(2.0 / 3.0, 1.0, 0.5), [0.0, 0.0, 0.5]);
        close(hsv(1.0 / 6.0, 1.0, 1.0), [1.0, 1.0, 0.0]);
        close(hsv(0.77, 0.0, 0.25), [0.25, 0.25, 0.25]);
    }

    #[test]
    fn noise_is_continuous_and_repeats() {
        let noise = Noise::new(&mut stream(1, Purpose::Scene, 0, 0));
        for i in 0..400 {
            let p = [i as f32 * 0.13 - 20.0, i as f32 * 0.29 - 50.0];
            let (here, there) = (noise.value(p), noise.value([p[0] + 1e-3, p[1] - 1e-3]));
            assert!(
                (here - there).abs() < 1e-2,
                "a jump at {p:?}: {here} to {there}"
            );
            let period = LATTICE_SIDE as f32;
            assert!((here - noise.value([p[0] + period, p[1] - period])).abs() < 1e-3);
        }
    }

    proptest! {
        #[test]
        fn colours_stay_in_range(seed: u64, x in -500f32..500.0, y in -500f32..500.0) {
            let mut rng = stream(seed, Purpose::Scene, 0, 0);
            let noise = Noise::new(&mut rng);
            let base = random_colour(&mut rng);
            let texture = Texture::random(base, 0.8, 0.1, 9.0, &mut rng);
            let colour = texture.at([x, y], &noise);
            prop_assert!(colour.iter().all(|c| (-1e-5..=1.0 + 1e-5).contains(c)), "{:?}", colour);
        }
    }
}
