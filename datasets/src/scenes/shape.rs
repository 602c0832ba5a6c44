//! Shapes as signed distance functions, and their placement on a picture.
//!
//! A shape lives in its own frame, where it is about two units across and centred on the origin.
//! Its distance is negative inside, positive outside and never larger in magnitude than the true
//! distance (it is 1-Lipschitz), which is what lets [`Pose::distance`] skip far pixels.
//!
//! Only `+ - * /` and `sqrt` are used, here and in the whole module: IEEE 754 fixes their results, so
//! that a scene is the same to the last bit on every machine, which sines and powers are not.

/// A point or a vector, `[x, y]`; x to the right, y downwards as in pictures.
pub(super) type Vec2 = [f32; 2];

/// What is drawn: the eight classes of the sample set, then the shapes that only clutter it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    Disc,
    Square,
    Triangle,
    Star,
    Ring,
    Cross,
    Crescent,
    Arrow,
    /// Clutter: a straight line with round ends, of this half width.
    Stroke(f32),
    /// Clutter: a lump of three discs `[x, y, radius]` run together.
    Lump([[f32; 3]; 3]),
}

/// The classes, in the order of [`super::CLASSES`].
pub(super) const CLASS_SHAPES: [Shape; 8] = [
    Shape::Disc,
    Shape::Square,
    Shape::Triangle,
    Shape::Star,
    Shape::Ring,
    Shape::Cross,
    Shape::Crescent,
    Shape::Arrow,
];

/// Corners of the equilateral triangle in a circle of radius 1.15: 1.15 (cos a, sin a) at -90, 30 and
/// 150 degrees.
const TRIANGLE: [Vec2; 3] = [[0.0, -1.15], [0.995_929, 0.575], [-0.995_929, 0.575]];

/// Corners of a five-pointed star: radius 1.1 at -90 + 72 k degrees, 0.5 halfway between.
const STAR: [Vec2; 10] = [
    [0.0, -1.1],
    [0.293_893, -0.404_508],
    [1.046_162, -0.339_919],
    [0.475_528, 0.154_508],
    [0.646_564, 0.889_919],
    [0.0, 0.5],
    [-0.646_564, 0.889_919],
    [-0.475_528, 0.154_508],
    [-1.046_162, -0.339_919],
    [-0.293_893, -0.404_508],
];

/// Corners of an upright cross with arms 0.66 wide.
const CROSS: [Vec2; 12] = [
    [-0.33, -1.0],
    [0.33, -1.0],
    [0.33, -0.33],
    [1.0, -0.33],
    [1.0, 0.33],
    [0.33, 0.33],
    [0.33, 1.0],
    [-0.33, 1.0],
    [-0.33, 0.33],
    [-1.0, 0.33],
    [-1.0, -0.33],
    [-0.33, -0.33],
];

/// Corners of an arrow that points to the right.
const ARROW: [Vec2; 7] = [
    [1.1, 0.0],
    [0.15, -0.85],
    [0.15, -0.33],
    [-1.05, -0.33],
    [-1.05, 0.33],
    [0.15, 0.33],
    [0.15, 0.85],
];

/// Half the side of the square.
const SQUARE: f32 = 0.82;
/// Radius of the middle of the ring's band, and half the band's width.
const RING: (f32, f32) = (0.74, 0.26);
/// The disc that is taken out of the unit disc to leave a crescent: x of its centre, and its radius.
const BITE: (f32, f32) = (0.52, 0.80);

impl Shape {
    /// Signed distance of `p` from the outline in the shape's own frame.
    pub(super) fn distance(&self, p: Vec2) -> f32 {
        match self {
            Shape::Disc => length(p) - 1.0,
            Shape::Square => {
                let q = [p[0].abs() - SQUARE, p[1].abs() - SQUARE];
                length([q[0].max(0.0), q[1].max(0.0)]) + q[0].max(q[1]).min(0.0)
            }
            Shape::Triangle => polygon_distance(&TRIANGLE, p),
            Shape::Star => polygon_distance(&STAR, p),
            Shape::Ring => (length(p) - RING.0).abs() - RING.1,
            Shape::Cross => polygon_distance(&CROSS, p),
            // Moved by half the width of what was bitten off, so that the crescent is centred.
            Shape::Crescent => {
                let p = [p[0] - 0.3, p[1]];
                (length(p) - 1.0).max(BITE.1 - length([p[0] - BITE.0, p[1]]))
            }
            Shape::Arrow => polygon_distance(&ARROW, p),
            Shape::Stroke(half_width) => {
                length([p[0] - p[0].clamp(half_width - 1.0, 1.0 - half_width), p[1]]) - half_width
            }
            Shape::Lump(discs) => discs
                .iter()
                .map(|[x, y, radius]| length([p[0] - x, p[1] - y]) - radius)
                .fold(f32::INFINITY, f32::min),
        }
    }

    /// Half the size of an upright box around the shape in its own frame.
    fn half_extent(&self) -> Vec2 {
        match self {
            Shape::Stroke(half_width) => [1.0, *half_width],
            Shape::Lump(_) => [1.4, 1.4],
            _ => [1.2, 1.2],
        }
    }
}

/// Where a shape lies on the picture: turned, stretched along its own axes, then moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pose {
    /// Where the shape's origin lies, in pixels.
    pub(super) centre: Vec2,
    /// Unit vector along the shape's own x axis.
    pub(super) axis: Vec2,
    /// Pixels per unit of the shape's own x and y.
    pub(super) scale: Vec2,
}

impl Pose {
    /// A picture's point in the shape's own frame.
    pub(super) fn to_local(self, p: Vec2) -> Vec2 {
        let d = [p[0] - self.centre[0], p[1] - self.centre[1]];
        let [c, s] = self.axis;
        [
            (c * d[0] + s * d[1]) / self.scale[0],
            (c * d[1] - s * d[0]) / self.scale[1],
        ]
    }

    /// Signed distance of a picture's point from the shape's outline, in pixels.
    ///
    /// Stretching does not keep distances. Near the outline the distance is therefore divided by the
    /// length of its gradient on the picture (first order, exact for straight edges); farther than
    /// `reach` pixels it is only a lower bound of the right sign, and much cheaper.
    pub(super) fn distance(self, shape: &Shape, p: Vec2, reach: f32) -> f32 {
        const STEP: f32 = 1.0 / 256.0;
        let q = self.to_local(p);
        let d = shape.distance(q);
        let bound = d * self.scale[0].min(self.scale[1]);
        if bound.abs() > reach {
            return bound;
        }
        let gradient = [
            (shape.distance([q[0] + STEP, q[1]]) - d) / (STEP * self.scale[0]),
            (shape.distance([q[0], q[1] + STEP]) - d) / (STEP * self.scale[1]),
        ];
        // On a ridge of the distance (a corner's bisector) the differences may vanish: keep the bound.
        let slope = length(gradient).max(1.0 / self.scale[0].max(self.scale[1]));
        // Capped, so that whatever is beyond `reach` is a bound that may be leapt by.
        (d / slope).clamp(-reach, reach)
    }

    /// Pixels `[x0, y0, x1, y1]` (ends excluded) that hold the shape and a border of `margin` pixels.
    pub(super) fn pixel_box(self, shape: &Shape, margin: f32) -> [i32; 4] {
        let [ex, ey] = shape.half_extent();
        let [c, s] = self.axis;
        let (a, b) = (ex * self.scale[0], ey * self.scale[1]);
        let half = [
            (c * a).abs() + (s * b).abs() + margin,
            (s * a).abs() + (c * b).abs() + margin,
        ];
        let [x, y] = self.centre;
        [
            (x - half[0]).floor() as i32,
            (y - half[1]).floor() as i32,
            (x + half[0]).ceil() as i32,
            (y + half[1]).ceil() as i32,
        ]
    }
}

/// Visits every pixel of a row with its signed distance, without computing each: where a distance is
/// beyond `reach`, that many further pixels must be on the same side, and get a bound that is still
/// beyond `reach`.
pub(super) fn walk_row(
    pixels: std::ops::Range<i32>,
    reach: f32,
    distance: impl Fn(i32) -> f32,
    mut visit: impl FnMut(i32, f32),
) {
    let mut x = pixels.start;
    while x < pixels.end {
        let d = distance(x);
        visit(x, d);
        x += 1;
        let (mut bound, step) = (d, d.signum());
        while bound.abs() - 1.0 > reach && x < pixels.end {
            bound -= step;
            visit(x, bound);
            x += 1;
        }
    }
}

/// Euclidean length.
pub(super) fn length([x, y]: Vec2) -> f32 {
    (x * x + y * y).sqrt()
}

/// Exact signed distance from a simple polygon: the nearest edge's distance, negative where a ray to
/// the right crosses the outline an odd number of times.
///
/// Generic over the number of corners and inlined, so that each constant outline becomes its own
/// straight-line code, with the divisions done by the compiler.
#[inline(always)]
fn polygon_distance<const N: usize>(corners: &[Vec2; N], p: Vec2) -> f32 {
    let mut nearest = f32::INFINITY;
    let mut inside = false;
    let mut a = corners[N - 1];
    for &b in corners {
        let edge = [b[0] - a[0], b[1] - a[1]];
        let to_p = [p[0] - a[0], p[1] - a[1]];
        let inverse = 1.0 / (edge[0] * edge[0] + edge[1] * edge[1]);
        let along = ((to_p[0] * edge[0] + to_p[1] * edge[1]) * inverse).clamp(0.0, 1.0);
        let off = [to_p[0] - along * edge[0], to_p[1] - along * edge[1]];
        nearest = nearest.min(off[0] * off[0] + off[1] * off[1]);
        if (a[1] > p[1]) != (b[1] > p[1]) && p[0] < a[0] + (p[1] - a[1]) * (edge[0] / edge[1]) {
            inside = !inside;
        }
        a = b;
    }
    let distance = nearest.sqrt();
    if inside {
        -distance
    } else {
        distance
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_shape() -> impl Strategy<Value = Shape> {
        prop_oneof![
            (0..CLASS_SHAPES.len()).prop_map(|i| CLASS_SHAPES[i]),
            (0.02f32..0.3).prop_map(Shape::Stroke),
            Just(Shape::Lump([
                [0.0, 0.0, 0.6],
                [0.6, 0.2, 0.4],
                [-0.5, -0.4, 0.5]
            ])),
        ]
    }

    #[test]
    fn distances_worked_by_hand() {
        let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-5, "{a} is not {b}");
        close(Shape::Disc.distance([3.0, 4.0]), 4.0);
        close(Shape::Square.distance([SQUARE + 3.0, SQUARE + 4.0]), 5.0);
        close(Shape::Square.distance([0.0, 0.5]), 0.5 - SQUARE);
        close(Shape::Ring.distance([0.0, 0.0]), RING.0 - RING.1);
        close(Shape::Cross.distance([0.0, 0.0]), -0.33 * 2f32.sqrt());
        close(Shape::Cross.distance([1.0, 1.0]), 0.67);
        close(Shape::Arrow.distance([2.1, 0.0]), 1.0);
        close(Shape::Triangle.distance([0.0, 0.575 + 0.25]), 0.25);
        close(Shape::Stroke(0.1).distance([0.0, 0.5]), 0.4);
        // The middle of the unit disc is bitten out of the crescent.
        assert!(Shape::Crescent.distance([0.3 + BITE.0, 0.0]) > 0.0);
    }

    proptest! {
        #[test]
        fn a_distance_never_changes_faster_than_the_point_moves(
            shape in any_shape(), x in -2f32..2.0, y in -2f32..2.0, dx in -0.5f32..0.5, dy in -0.5f32..0.5,
        ) {
            let change = shape.distance([x + dx, y + dy]) - shape.distance([x, y]);
            prop_assert!(change.abs() <= length([dx, dy]) + 1e-5);
        }

        #[test]
        fn the_pixel_box_holds_the_shape(
            shape in any_shape(), angle in 0f32..6.3, sx in 3f32..30.0, sy in 3f32..30.0,
            x in -2f32..2.0, y in -2f32..2.0,
        ) {
            let pose = Pose { centre: [40.0, 30.0], axis: [angle.cos(), angle.sin()], scale: [sx, sy] };
            if shape.distance([x, y]) <= 0.0 {
                let (c, s) = (pose.axis[0], pose.axis[1]);
                let p = [40.0 + c * x * sx - s * y * sy, 30.0 + s * x * sx + c * y * sy];
                let [x0, y0, x1, y1] = pose.pixel_box(&shape, 0.0).map(|v| v as f32);
                prop_assert!(x0 <= p[0] && p[0] <= x1 && y0 <= p[1] && p[1] <= y1, "{:?}", p);
            }
        }

        #[test]
        fn a_row_walked_in_leaps_is_the_row_computed(
            shape in any_shape(), angle in 0f32..6.3, sx in 3f32..30.0, sy in 3f32..30.0, y in 0f32..60.0,
        ) {
            let pose = Pose { centre: [40.0, 30.0], axis: [angle.cos(), angle.sin()], scale: [sx, sy] };
            let distance = |x: i32| pose.distance(&shape, [x as f32, y], 2.0);
            let mut next = 0;
            walk_row(0..80, 2.0, distance, |x, d| {
                assert_eq!(x, next);
                next += 1;
                let exact = distance(x);
                if exact.abs() <= 1.9 {
                    assert_eq!(d, exact);
                } else {
                    // Rounding may carry a distance of 2.0 over the border, but never to the other side.
                    assert!(d.abs() > 1.9 && d.signum() == exact.signum(), "{d} is not {exact} at {x}");
                }
            });
            prop_assert_eq!(next, 80);
        }

        #[test]
        fn a_straight_edge_keeps_its_distance_when_stretched(
            angle in 0f32..6.3, sx in 8f32..30.0, sy in 8f32..30.0, off in -0.9f32..0.9,
        ) {
            // The right edge of a square, stretched to half width 0.82 sx: a point `off` pixels beyond it.
            let pose = Pose { centre: [0.0, 0.0], axis: [angle.cos(), angle.sin()], scale: [sx, sy] };
            let x = SQUARE * sx + off;
            let d = pose.distance(&Shape::Square, [pose.axis[0] * x, pose.axis[1] * x], 4.0);
            prop_assert!((d - off).abs() < 0.02, "{} is not {}", d, off);
        }
    }
}
