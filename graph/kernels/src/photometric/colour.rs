//! The adjustments of sixteen pixels in registers, and all of them folded into one matrix.

use crate::lanes::Lanes;

/// One adjustment of colour, with its factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Adjustment {
    /// Multiplies by the factor, not below 0.
    Brightness(f32),
    /// Blends with the mean grey of the picture; 0 is that grey, 1 changes nothing.
    Contrast(f32),
    /// Blends with the pixel's grey; 0 is grey, 1 changes nothing.
    Saturation(f32),
    /// Turns the hue, in full turns, keeping value and saturation of HSV.
    Hue(f32),
}

/// What red, green and blue weigh in grey (ITU-R BT.601).
const GREY: [f32; 3] = [0.299, 0.587, 0.114];

/// What is done to a pixel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// `clamp(factor * v + offset)`.
    Scale { factor: f32, offset: f32 },
    /// `clamp(factor * v + (1 - factor) * grey)`.
    Saturate(f32),
    /// HSV's hue turned by so many turns.
    Turn(f32),
    /// `clamp(A (r, g, b, 1))`.
    Affine([[f32; 4]; 3]),
}

/// The steps of a view.
pub(super) struct Steps {
    steps: [Step; MAX_STEPS],
    len: usize,
}

/// Each adjustment once, and grey.
const MAX_STEPS: usize = 5;

impl Steps {
    const NONE: Steps = Steps {
        steps: [Step::Turn(0.0); MAX_STEPS],
        len: 0,
    };

    pub(super) fn as_slice(&self) -> &[Step] {
        &self.steps[..self.len]
    }

    fn push(&mut self, step: Step) {
        assert!(
            self.len < MAX_STEPS,
            "photometric: more than {MAX_STEPS} adjustments"
        );
        self.steps[self.len] = step;
        self.len += 1;
    }

    /// One step an adjustment; `mean` gives the mean grey after the steps so far. What changes nothing is left out.
    pub(super) fn exact(adjustments: &[Adjustment], mean: impl Fn(&[Step]) -> f32) -> Self {
        let mut steps = Self::NONE;
        for &adjustment in adjustments {
            match adjustment {
                Adjustment::Hue(turns) if turns != 0.0 => steps.push(Step::Turn(turns)),
                Adjustment::Hue(_) => {}
                Adjustment::Brightness(1.0)
                | Adjustment::Contrast(1.0)
                | Adjustment::Saturation(1.0) => {}
                Adjustment::Brightness(factor) => steps.push(Step::Scale {
                    factor,
                    offset: 0.0,
                }),
                Adjustment::Contrast(factor) => {
                    let offset = (1.0 - factor) * mean(steps.as_slice());
                    steps.push(Step::Scale { factor, offset });
                }
                Adjustment::Saturation(factor) => steps.push(Step::Saturate(factor)),
            }
        }
        steps
    }

    /// All adjustments as one affine map, from the means of the channels; nothing is clamped in between.
    pub(super) fn folded(adjustments: &[Adjustment], means: impl Fn() -> [f32; 3]) -> Self {
        let mut steps = Self::NONE;
        if adjustments.is_empty() {
            return steps;
        }
        let mut map = [
            [1.0, 0.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
        ];
        for &adjustment in adjustments {
            match adjustment {
                Adjustment::Brightness(factor) => map = map.map(|row| row.map(|v| factor * v)),
                Adjustment::Contrast(factor) => {
                    let [r, g, b] = means();
                    let [a, b_, c, d] = grey_row(&map);
                    let offset = (1.0 - factor) * (a * r + b_ * g + c * b + d);
                    for row in &mut map {
                        *row = row.map(|v| factor * v);
                        row[3] += offset;
                    }
                }
                Adjustment::Saturation(factor) => {
                    let grey = grey_row(&map);
                    for row in &mut map {
                        *row = std::array::from_fn(|j| factor * row[j] + (1.0 - factor) * grey[j]);
                    }
                }
                Adjustment::Hue(turns) => map = product(&turn_in_yiq(turns), &map),
            }
        }
        steps.push(Step::Affine(map));
        steps
    }
}

/// The grey of what `map` gives, as a row of such a map.
fn grey_row(map: &[[f32; 4]; 3]) -> [f32; 4] {
    std::array::from_fn(|j| (0..3).map(|i| GREY[i] * map[i][j]).sum())
}

/// `a b`, `a` without translation.
fn product(a: &[[f32; 3]; 3], b: &[[f32; 4]; 3]) -> [[f32; 4]; 3] {
    a.map(|row| std::array::from_fn(|j| (0..3).map(|k| row[k] * b[k][j]).sum()))
}

/// The rotation of the chroma plane of NTSC's YIQ (FCC 1953 weights to three places), in red, green and blue.
fn turn_in_yiq(turns: f32) -> [[f32; 3]; 3] {
    const TO_YIQ: [[f64; 3]; 3] = [
        [0.299, 0.587, 0.114],
        [0.596, -0.274, -0.322],
        [0.211, -0.523, 0.312],
    ];
    const TO_RGB: [[f64; 3]; 3] = [
        [1.0, 0.956, 0.621],
        [1.0, -0.272, -0.647],
        [1.0, -1.106, 1.703],
    ];
    // Hue grows from red to green, the angle of (I, Q) from red to blue.
    let (sin, cos) = (-std::f64::consts::TAU * f64::from(turns)).sin_cos();
    let [y, i, q] = TO_YIQ;
    let turned = [
        y,
        std::array::from_fn(|c| cos * i[c] - sin * q[c]),
        std::array::from_fn(|c| sin * i[c] + cos * q[c]),
    ];
    TO_RGB.map(|row| {
        std::array::from_fn(|c| (0..3).map(|k| row[k] * turned[k][c]).sum::<f64>() as f32)
    })
}

/// Applies steps to red, green and blue.
#[inline(always)]
pub(super) fn apply<V: Lanes>(steps: &[Step], mut rgb: [V; 3]) -> [V; 3] {
    for step in steps {
        rgb = match *step {
            Step::Scale { factor, offset } => blend(rgb, factor, V::splat(offset)),
            Step::Saturate(factor) => {
                let offset = grey(rgb).mul(V::splat(1.0 - factor));
                blend(rgb, factor, offset)
            }
            Step::Turn(turns) => turn(rgb, turns),
            Step::Affine([r, g, b]) => [affine(rgb, r), affine(rgb, g), affine(rgb, b)],
        };
    }
    rgb
}

/// `clamp(factor * v + offset)`.
#[inline(always)]
fn blend<V: Lanes>([red, green, blue]: [V; 3], factor: f32, offset: V) -> [V; 3] {
    let factor = V::splat(factor);
    [
        clamp(red.mul_add(factor, offset)),
        clamp(green.mul_add(factor, offset)),
        clamp(blue.mul_add(factor, offset)),
    ]
}

#[inline(always)]
fn affine<V: Lanes>([red, green, blue]: [V; 3], [r, g, b, offset]: [f32; 4]) -> V {
    let sum = V::splat(b).mul_add(blue, V::splat(offset));
    let sum = V::splat(g).mul_add(green, sum);
    clamp(V::splat(r).mul_add(red, sum))
}

#[inline(always)]
fn clamp<V: Lanes>(v: V) -> V {
    v.max(V::splat(0.0)).min(V::splat(255.0))
}

#[inline(always)]
pub(super) fn grey<V: Lanes>([red, green, blue]: [V; 3]) -> V {
    let sum = V::splat(GREY[1]).mul_add(green, V::splat(GREY[2]).mul(blue));
    V::splat(GREY[0]).mul_add(red, sum)
}

/// Turns HSV's hue.
///
/// Hue, in turns, is piecewise linear in the channels, and so is the way back: a channel that peaks at hue `p` is
/// `max - chroma * clamp(6 d - 1, 0, 1)`, where `d` is the distance of the hue from `p` on the circle (the usual six cases
/// in closed form). No branch is left.
#[inline(always)]
fn turn<V: Lanes>([red, green, blue]: [V; 3], turns: f32) -> [V; 3] {
    const THIRD: f32 = 1.0 / 3.0;
    let max = red.max(green).max(blue);
    let min = red.min(green).min(blue);
    let chroma = max.sub(min);
    // Of a grey all differences are 0, whatever the scale.
    let scale = V::splat(1.0 / 6.0).div(chroma.max(V::splat(1e-20)));
    // From red, where that is the largest channel, else from green or blue.
    let of_blue = red.sub(green).mul_add(scale, V::splat(turns + 2.0 * THIRD));
    let of_green = blue.sub(red).mul_add(scale, V::splat(turns + THIRD));
    let of_red = green.sub(blue).mul_add(scale, V::splat(turns));
    let hue = red.less_than(max, green.less_than(max, of_blue, of_green), of_red);
    [
        channel(hue, max, chroma),
        channel(hue.sub(V::splat(THIRD)), max, chroma),
        channel(hue.sub(V::splat(2.0 * THIRD)), max, chroma),
    ]
}

/// A channel from how far, in turns, the hue is beyond its peak.
#[inline(always)]
fn channel<V: Lanes>(beyond: V, max: V, chroma: V) -> V {
    let zero = V::splat(0.0);
    let around = beyond.sub(beyond.add(V::splat(0.5)).floor());
    let distance = around.max(zero.sub(around));
    let fall = distance.mul_add(V::splat(6.0), V::splat(-1.0));
    max.sub(chroma.mul(fall.max(zero).min(V::splat(1.0))))
}
