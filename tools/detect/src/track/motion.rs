//! Where a thing will be in the next frame: a constant-velocity Kalman filter on its box.

/// Standard deviation of a position and of a velocity in units of the box's height, and of aspect ratios: those of
/// DeepSORT (Wojke, Bewley and Paulus 2017; `kalman_filter.py` of its program).
const POSITION: f64 = 1.0 / 20.0;
const VELOCITY: f64 = 1.0 / 160.0;
const ASPECT: f64 = 1e-2;
const ASPECT_VELOCITY: f64 = 1e-5;
const ASPECT_MEASURED: f64 = 1e-1;

/// The state (centre x, centre y, aspect ratio w / h, height) and its velocities a frame.
///
/// DeepSORT's filter has eight dimensions, but every noise of it is diagonal and every coordinate depends on its own
/// velocity alone, so its covariance never couples two coordinates: it is four filters of two dimensions, exactly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Motion {
    x: Axis,
    y: Axis,
    aspect: Axis,
    height: Axis,
}

impl Motion {
    /// At rest, where the box `[x0, y0, x1, y1]` is.
    pub(crate) fn new(bbox: [f32; 4]) -> Self {
        let [x, y, aspect, height] = measure(bbox);
        let scale = scale(height);
        let axis = |value| Axis::new(value, 2.0 * POSITION * scale, 10.0 * VELOCITY * scale);
        Self {
            x: axis(x),
            y: axis(y),
            aspect: Axis::new(aspect, ASPECT, ASPECT_VELOCITY),
            height: axis(height),
        }
    }

    /// One frame on.
    pub(crate) fn predict(&mut self) {
        let scale = scale(self.height.value);
        for axis in [&mut self.x, &mut self.y, &mut self.height] {
            axis.predict(POSITION * scale, VELOCITY * scale);
        }
        self.aspect.predict(ASPECT, ASPECT_VELOCITY);
    }

    /// The thing was seen in the box `[x0, y0, x1, y1]`.
    pub(crate) fn correct(&mut self, bbox: [f32; 4]) {
        let deviation = POSITION * scale(self.height.value);
        let [x, y, aspect, height] = measure(bbox);
        self.x.correct(x, deviation);
        self.y.correct(y, deviation);
        self.aspect.correct(aspect, ASPECT_MEASURED);
        self.height.correct(height, deviation);
    }

    /// A thing out of sight neither grows nor shrinks, as in ByteTrack's program: the last change of height is
    /// mostly its disappearing.
    pub(crate) fn keep_height(&mut self) {
        self.height.velocity = 0.0;
    }

    /// `[x0, y0, x1, y1]`; without area where the height has shrunk to nothing.
    pub(crate) fn bbox(&self) -> [f32; 4] {
        let height = self.height.value.max(0.0);
        let (half_width, half_height) = (0.5 * self.aspect.value.max(0.0) * height, 0.5 * height);
        let (x, y) = (self.x.value, self.y.value);
        [
            x - half_width,
            y - half_height,
            x + half_width,
            y + half_height,
        ]
        .map(|value| value as f32)
    }
}

fn measure(bbox: [f32; 4]) -> [f64; 4] {
    let [x0, y0, x1, y1] = bbox.map(f64::from);
    let (width, height) = (x1 - x0, y1 - y0);
    [0.5 * (x0 + x1), 0.5 * (y0 + y1), width / height, height]
}

/// What deviations are measured by. No box is known better than a box of a pixel is.
fn scale(height: f64) -> f64 {
    height.max(1.0)
}

/// One coordinate: value `p` and velocity `v`, with their covariance.
#[derive(Clone, Copy, Debug)]
struct Axis {
    value: f64,
    velocity: f64,
    /// Variance of the value, of the velocity, and the covariance of both.
    pp: f64,
    vv: f64,
    pv: f64,
}

impl Axis {
    fn new(value: f64, deviation: f64, velocity_deviation: f64) -> Self {
        Self {
            value,
            velocity: 0.0,
            pp: deviation.powi(2),
            vv: velocity_deviation.powi(2),
            pv: 0.0,
        }
    }

    /// `x <- F x`, `P <- F P F' + Q` with `F = [1 1; 0 1]`.
    fn predict(&mut self, deviation: f64, velocity_deviation: f64) {
        self.value += self.velocity;
        self.pp += 2.0 * self.pv + self.vv + deviation.powi(2);
        self.pv += self.vv;
        self.vv += velocity_deviation.powi(2);
    }

    /// `K = P H' / (H P H' + R)`, `x <- x + K (z - H x)`, `P <- (1 - K H) P` with `H = [1 0]`.
    fn correct(&mut self, measured: f64, deviation: f64) {
        let total = self.pp + deviation.powi(2);
        let (gain, velocity_gain) = (self.pp / total, self.pv / total);
        let difference = measured - self.value;
        self.value += gain * difference;
        self.velocity += velocity_gain * difference;
        self.vv -= velocity_gain * self.pv;
        self.pv -= gain * self.pv;
        self.pp -= gain * self.pp;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out with the textbook's matrices in eight dimensions: `tests/peers/kalman.py`.
    #[test]
    fn equals_the_filter_in_eight_dimensions() {
        let mut motion = Motion::new([10.0, 20.0, 30.0, 60.0]);
        for measured in [
            [12.0, 21.0, 32.0, 61.0],
            [15.0, 22.0, 35.0, 63.0],
            [17.0, 24.0, 38.0, 65.0],
        ] {
            motion.predict();
            motion.correct(measured);
        }
        motion.predict();
        let expected = [18.527, 24.531, 39.1922, 65.8517];
        for (found, expected) in motion.bbox().into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-3, "{found}, not {expected}");
        }
    }

    #[test]
    fn a_steady_velocity_is_learnt() {
        let mut motion = Motion::new([0.0, 0.0, 10.0, 20.0]);
        for frame in 1..60 {
            motion.predict();
            let shift = 3.0 * frame as f32;
            motion.correct([shift, 0.0, 10.0 + shift, 20.0]);
        }
        motion.predict();
        assert!((motion.bbox()[0] - 180.0).abs() < 0.1, "{motion:?}");
        assert!((motion.x.velocity - 3.0).abs() < 0.01, "{motion:?}");
    }
}
