use super::{backward, forward, pixel_shuffle, pixel_unshuffle_add, reference, Shape};
use crate::gemm::reference::nearest_bf16;
use crate::gemm::Precision;
use crate::testing::{assert_close, assert_gradient, inner, same_on_any_pool, values, wide};

fn shape(batch: usize, height: usize, width: usize, inp: usize, out: usize) -> Shape {
    Shape {
        batch,
        height,
        width,
        inp,
        out,
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
    [s.rows() * s.inp, s.out * 9 * s.inp, s.out, s.rows() * s.out].map(|n| values(n, n as u64))
}

#[test]
fn agrees_with_the_reference() {
    for s in [
        shape(1, 1, 1, 1, 1),
        shape(1, 1, 1, 3, 2),
        shape(2, 3, 5, 5, 3),
        shape(1, 2, 1, 1, 7),
        shape(3, 8, 6, 16, 31),
        shape(2, 17, 9, 31, 24),
        shape(3, 40, 36, 16, 17),
        shape(1, 41, 37, 33, 17),
        shape(4, 61, 50, 24, 3),
        shape(1, 1, 1, 32, 1),
        shape(2, 3, 5, 32, 7),
        shape(2, 12, 13, 48, 80),
        shape(5, 7, 2, 64, 33),
        shape(1, 26, 31, 96, 32),
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
fn in_bf16_only_the_inputs_are_rounded() {
    let rounded = |x: &[f32]| {
        x.iter()
            .map(|v| f64::from(nearest_bf16(*v)))
            .collect::<Vec<_>>()
    };
    for s in [
        shape(1, 1, 1, 1, 1),
        shape(2, 3, 5, 5, 3),
        shape(2, 16, 16, 24, 50),
        shape(1, 12, 13, 33, 17),
    ] {
        let [x, w, b, dy] = inputs(&s);
        let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![1.0; x.len()]);
        let (mut dw, precision) = (vec![0.0; w.len()], Precision::Bf16);
        forward(&x, &w, Some(&b), &mut y, &s, precision);
        backward(&x, &w, &dy, Some(&mut dx), &mut dw, None, &s, precision);
        let (x, w, dy) = (rounded(&x), rounded(&w), rounded(&dy));
        assert_close("y", &y, &reference::forward(&x, &w, &wide(&b), &s), 3e-5);
        let g = reference::backward(&x, &w, &dy, &s);
        let plus_one: Vec<f64> = g.dx.iter().map(|v| v + 1.0).collect();
        assert_close("dx", &dx, &plus_one, 3e-5);
        assert_close("dw", &dw, &g.dw, 1e-4);
    }
}

/// What is rounded are transformed maps and filters, sums of up to 16 values. That is less exact than to round the values
/// themselves, by a factor below 2.
#[test]
fn in_bf16_transforms_cost_little_precision() {
    let s = shape(2, 12, 13, 64, 48);
    let [x, w, b, dy] = inputs(&s);
    let all = |x: &[f64], w: &[f64], dy: &[f64]| {
        let g = reference::backward(x, w, dy, &s);
        [reference::forward(x, w, &wide(&b), &s), g.dx, g.dw]
    };
    let exact = all(&wide(&x), &wide(&w), &wide(&dy));
    let rounded = |x: &[f32]| -> Vec<f64> {
        let round = |v: &f32| f64::from(nearest_bf16(*v));
        x.iter().map(round).collect()
    };
    let direct = all(&rounded(&x), &rounded(&w), &rounded(&dy));
    let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
    let precision = Precision::Bf16;
    forward(&x, &w, Some(&b), &mut y, &s, precision);
    backward(&x, &w, &dy, Some(&mut dx), &mut dw, None, &s, precision);
    for (i, found) in [y, dx, dw].iter().enumerate() {
        let error = |found: &[f64]| {
            let squares = found.iter().zip(&exact[i]).map(|(a, b)| (a - b) * (a - b));
            (squares.sum::<f64>() / exact[i].iter().map(|v| v * v).sum::<f64>()).sqrt()
        };
        let (direct, transformed) = (error(&direct[i]), error(&wide(found)));
        assert!(
            transformed < 2.0 * direct && direct < transformed,
            "{}: relative error {transformed:e}, {direct:e} without transforms",
            ["y", "dx", "dw"][i]
        );
    }
}

#[test]
fn the_reference_gradient_is_the_slope() {
    let s = shape(1, 3, 4, 2, 2);
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
        &shape(1, 3, 3, 1, 1),
        Precision::F32,
    );
    assert_eq!(y, [12., 21., 16., 27., 45., 33., 24., 39., 28.]);
    let mut with_bias = [0.0; 9];
    forward(
        &x,
        &[1.0; 9],
        Some(&[0.5]),
        &mut with_bias,
        &shape(1, 3, 3, 1, 1),
        Precision::F32,
    );
    assert_eq!(with_bias, y.map(|v| v + 0.5));
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
    for channels in [24, 23] {
        let s = shape(3, 28, 30, channels, 40);
        let [x, w, b, dy] = inputs(&s);
        same_on_any_pool(|| {
            let r = run(&x, &w, &b, &dy, &s, 0.0);
            [r.y, r.dx, r.dw, r.db].concat()
        });
    }
}

#[test]
fn an_empty_batch() {
    let r = run(&[], &[0.5; 18], &[0.0], &[], &shape(0, 4, 4, 2, 1), 2.0);
    assert_eq!((r.dw, r.db), (vec![2.0; 18], vec![2.0]));
}
