use super::{backward, forward, reference};
use crate::testing::{
    assert_close, assert_gradient, inner, odd_shapes, same_on_any_pool, values, wide,
};

const EPS: f32 = 1e-6;

struct Run {
    y: Vec<f32>,
    dx: Vec<f32>,
    dgamma: Vec<f32>,
    dbeta: Vec<f32>,
}

/// Forward and backward with gradients that start at `start`.
fn run(x: &[f32], gamma: &[f32], beta: &[f32], dy: &[f32], start: f32) -> Run {
    let d = gamma.len();
    let (mut mean, mut rstd) = (vec![f32::NAN; x.len() / d], vec![f32::NAN; x.len() / d]);
    let mut r = Run {
        y: vec![f32::NAN; x.len()],
        dx: vec![start; x.len()],
        dgamma: vec![start; d],
        dbeta: vec![start; d],
    };
    forward(x, gamma, beta, EPS, &mut r.y, &mut mean, &mut rstd);
    backward(
        x,
        gamma,
        &mean,
        &rstd,
        dy,
        &mut r.dx,
        &mut r.dgamma,
        &mut r.dbeta,
    );
    r
}

#[test]
fn agrees_with_the_reference() {
    for (rows, d) in odd_shapes() {
        let (x, dy) = (values(rows * d, 1), values(rows * d, 2));
        let (gamma, beta) = (values(d, 3), values(d, 4));
        let r = run(&x, &gamma, &beta, &dy, 0.0);
        let eps = f64::from(EPS);
        assert_close(
            "y",
            &r.y,
            &reference::forward(&wide(&x), &wide(&gamma), &wide(&beta), eps),
            1e-5,
        );
        let g = reference::backward(&wide(&x), &wide(&gamma), eps, &wide(&dy));
        assert_close("dx", &r.dx, &g.dx, 3e-5);
        assert_close("dgamma", &r.dgamma, &g.dgamma, 3e-5);
        assert_close("dbeta", &r.dbeta, &g.dbeta, 3e-5);
        let shifted = run(&x, &gamma, &beta, &dy, 2.0);
        let plus_two = |v: &[f32]| v.iter().map(|v| f64::from(*v) + 2.0).collect::<Vec<_>>();
        assert_close("dx added", &shifted.dx, &plus_two(&r.dx), 1e-5);
        assert_close("dgamma added", &shifted.dgamma, &plus_two(&r.dgamma), 1e-5);
        assert_close("dbeta added", &shifted.dbeta, &plus_two(&r.dbeta), 1e-5);
    }
}

#[test]
fn the_reference_gradient_is_the_slope() {
    let [x, gamma, beta, dy] = [15, 5, 5, 15].map(|n| wide(&values(n, n as u64 + 7)));
    let g = reference::backward(&x, &gamma, 1e-3, &dy);
    assert_gradient("x", &x, &g.dx, |x| {
        inner(&dy, &reference::forward(x, &gamma, &beta, 1e-3))
    });
    assert_gradient("gamma", &gamma, &g.dgamma, |v| {
        inner(&dy, &reference::forward(&x, v, &beta, 1e-3))
    });
    assert_gradient("beta", &beta, &g.dbeta, |v| {
        inner(&dy, &reference::forward(&x, &gamma, v, 1e-3))
    });
}

#[test]
fn a_row_by_hand() {
    // Mean 2, variance 2/3: xhat = (-1, 0, 1) * sqrt(3/2).
    let r = run(
        &[1.0, 2.0, 3.0],
        &[1.0, 1.0, 2.0],
        &[0.0, 0.5, 0.0],
        &[0.0; 3],
        0.0,
    );
    assert_close("y", &r.y, &[-1.224_744_9, 0.5, 2.449_489_7], 1e-5);
}

#[test]
fn a_large_offset_does_not_cancel() {
    // E[x^2] - E[x]^2 would lose every digit of the variance here.
    let x: Vec<f32> = (0..64).map(|i| 4096.0 + (i % 4) as f32 * 0.5).collect();
    let r = run(&x, &[1.0; 64], &[0.0; 64], &[0.0; 64], 0.0);
    let expected = reference::forward(&wide(&x), &[1.0; 64], &[0.0; 64], f64::from(EPS));
    assert_close("y", &r.y, &expected, 1e-5);
}

#[test]
fn threads_do_not_change_the_result() {
    let (rows, d) = (700, 192);
    let (x, dy, gamma) = (values(rows * d, 1), values(rows * d, 2), values(d, 3));
    same_on_any_pool(|| {
        let r = run(&x, &gamma, &gamma, &dy, 0.0);
        [r.y, r.dx, r.dgamma, r.dbeta].concat()
    });
}

#[test]
fn no_rows() {
    let r = run(&[], &[1.0; 4], &[0.0; 4], &[], 0.25);
    assert_eq!((r.dgamma, r.dbeta), (vec![0.25; 4], vec![0.25; 4]));
}
