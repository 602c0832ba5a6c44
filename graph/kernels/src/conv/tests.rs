use super::{backward, forward, pixel_shuffle, pixel_unshuffle_add, reference, Shape};
use crate::gemm::Precision;
use crate::testing::{assert_close, assert_gradient, inner, same_on_any_pool, values, wide};

fn shape(
    batch: usize,
    height: usize,
    width: usize,
    inp: usize,
    out: usize,
    stride: usize,
) -> Shape {
    Shape {
        batch,
        height,
        width,
        inp,
        out,
        stride,
    }
}

struct Run {
    y: Vec<f32>,
    dx: Vec<f32>,
    dw: Vec<f32>,
    db: Vec<f32>,
}

/// Forward and backward with gradients that start at `start`.
fn run(x: &[f32], w: &[f32], b: &[f32], dy: &[f32], s: &Shape, start: f32) -> Run {
    let mut r = Run {
        y: vec![f32::NAN; dy.len()],
        dx: vec![start; x.len()],
        dw: vec![start; w.len()],
        db: vec![start; b.len()],
    };
    forward(x, w, Some(b), &mut r.y, s, Precision::F32);
    backward(
        x,
        w,
        dy,
        Some(&mut r.dx),
        &mut r.dw,
        Some(&mut r.db),
        s,
        Precision::F32,
    );
    r
}

fn inputs(s: &Shape) -> [Vec<f32>; 4] {
    [
        s.in_rows() * s.inp,
        s.out * 9 * s.inp,
        s.out,
        s.out_rows() * s.out,
    ]
    .map(|n| values(n, n as u64))
}

#[test]
fn agrees_with_the_reference() {
    for s in [
        shape(1, 1, 1, 1, 1, 1),
        shape(1, 1, 1, 3, 2, 2),
        shape(2, 3, 5, 5, 3, 1),
        shape(2, 3, 5, 5, 3, 2),
        shape(1, 2, 1, 1, 7, 2),
        shape(3, 8, 6, 16, 31, 2),
        shape(2, 17, 9, 31, 24, 1),
        shape(3, 40, 36, 16, 17, 1),
        shape(1, 41, 37, 33, 17, 2),
        shape(4, 61, 50, 24, 3, 2),
    ] {
        let [x, w, b, dy] = inputs(&s);
        let r = run(&x, &w, &b, &dy, &s, 1.0);
        assert_close(
            "y",
            &r.y,
            &reference::forward(&wide(&x), &wide(&w), &wide(&b), &s),
            3e-5,
        );
        let g = reference::backward(&wide(&x), &wide(&w), &wide(&dy), &s);
        let plus_one = |g: &[f64]| g.iter().map(|v| v + 1.0).collect::<Vec<_>>();
        assert_close("dx", &r.dx, &plus_one(&g.dx), 3e-5);
        assert_close("dw", &r.dw, &plus_one(&g.dw), 3e-5);
        assert_close("db", &r.db, &plus_one(&g.db), 3e-5);
        let (mut y, mut dw) = (vec![f32::NAN; dy.len()], vec![1.0; w.len()]);
        forward(&x, &w, None, &mut y, &s, Precision::F32);
        assert_close(
            "y",
            &y,
            &reference::forward(&wide(&x), &wide(&w), &vec![0.0; s.out], &s),
            3e-5,
        );
        backward(&x, &w, &dy, None, &mut dw, None, &s, Precision::F32);
        assert_eq!(dw, r.dw, "{s:?}: dw depends on what else is asked for");
    }
}

#[test]
fn the_reference_gradient_is_the_slope() {
    for stride in [1, 2] {
        let s = shape(1, 3, 4, 2, 2, stride);
        let [x, w, b, dy] = inputs(&s).map(|v| wide(&v));
        let g = reference::backward(&x, &w, &dy, &s);
        assert_gradient("x", &x, &g.dx, |x| {
            inner(&dy, &reference::forward(x, &w, &b, &s))
        });
        assert_gradient("w", &w, &g.dw, |w| {
            inner(&dy, &reference::forward(&x, w, &b, &s))
        });
        assert_gradient("b", &b, &g.db, |b| {
            inner(&dy, &reference::forward(&x, &w, b, &s))
        });
    }
}

#[test]
fn a_sum_of_neighbours_by_hand() {
    // The all-ones kernel on 1..=9: the middle sums all, the corner four.
    let x: Vec<f32> = (1..=9).map(|v| v as f32).collect();
    let mut y = [0.0; 9];
    forward(
        &x,
        &[1.0; 9],
        None,
        &mut y,
        &shape(1, 3, 3, 1, 1, 1),
        Precision::F32,
    );
    assert_eq!(y, [12., 21., 16., 27., 45., 33., 24., 39., 28.]);
    let mut y = [0.0; 4];
    forward(
        &x,
        &[1.0; 9],
        Some(&[0.5]),
        &mut y,
        &shape(1, 3, 3, 1, 1, 2),
        Precision::F32,
    );
    assert_eq!(y, [12.5, 16.5, 24.5, 28.5]);
}

#[test]
fn shuffling_follows_its_formula_and_back() {
    let (b, h, w, c) = (2, 3, 5, 7);
    let x = values(b * h * w * 4 * c, 1);
    let mut y = vec![f32::NAN; x.len()];
    pixel_shuffle(&x, &mut y, b, h, w, c);
    for (n, value) in y.iter().enumerate() {
        let (channel, column, line, image) = (
            n % c,
            n / c % (2 * w),
            n / c / (2 * w) % (2 * h),
            n / c / (4 * w * h),
        );
        let cell = (image * h + line / 2) * w + column / 2;
        assert_eq!(
            *value,
            x[(cell * 4 + line % 2 * 2 + column % 2) * c + channel]
        );
    }
    let mut back = vec![1.0; x.len()];
    pixel_unshuffle_add(&y, &mut back, b, h, w, c);
    assert_close(
        "back",
        &back,
        &wide(&x).iter().map(|v| v + 1.0).collect::<Vec<_>>(),
        1e-6,
    );
}

#[test]
fn threads_do_not_change_the_result() {
    for stride in [1, 2] {
        let s = shape(3, 28, 30, 24, 40, stride);
        let [x, w, b, dy] = inputs(&s);
        same_on_any_pool(|| {
            let r = run(&x, &w, &b, &dy, &s, 0.0);
            [r.y, r.dx, r.dw, r.db].concat()
        });
    }
}

#[test]
fn an_empty_batch() {
    let r = run(&[], &[0.5; 18], &[0.0], &[], &shape(0, 4, 4, 2, 1, 1), 2.0);
    assert_eq!((r.dw, r.db), (vec![2.0; 18], vec![2.0]));
}
