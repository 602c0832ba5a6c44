use super::{backward, forward, reference};
use crate::testing::{
    assert_close, assert_gradient, inner, odd_shapes, same_on_any_pool, values, wide,
};

fn run(x: &[f32], dy: &[f32], eps: f32, d: usize, start: f32) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let (mut y, mut norm) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len() / d]);
    let mut dx = vec![start; x.len()];
    forward(x, eps, d, &mut y, &mut norm);
    backward(&y, &norm, dy, eps, d, &mut dx);
    (y, norm, dx)
}

#[test]
fn agrees_with_the_reference() {
    for (rows, d) in odd_shapes() {
        let (x, dy) = (values(rows * d, 1), values(rows * d, 2));
        let (y, norm, dx) = run(&x, &dy, 0.125, d, 1.0);
        assert_close("y", &y, &reference::forward(&wide(&x), 0.125, d), 1e-5);
        assert_close(
            "norm",
            &norm,
            &wide(&x).chunks(d).map(reference::norm).collect::<Vec<_>>(),
            1e-5,
        );
        let expected: Vec<f64> = reference::backward(&wide(&x), &wide(&dy), 0.125, d)
            .iter()
            .map(|g| g + 1.0)
            .collect();
        assert_close("dx", &dx, &expected, 3e-5);
    }
}

#[test]
fn the_reference_gradient_is_the_slope() {
    // The first row is longer than eps, the second shorter.
    let x = [0.6, -0.3, 0.2, 0.01, 0.02, -0.01];
    let dy = [0.3, -0.7, 0.5, 0.2, 0.9, -0.4];
    let g = reference::backward(&x, &dy, 0.1, 3);
    assert_gradient("x", &x, &g, |x| inner(&dy, &reference::forward(x, 0.1, 3)));
}

#[test]
fn a_row_by_hand_and_a_zero_row() {
    let (y, norm, dx) = run(&[3.0, 4.0, 0.0, 0.0], &[1.0, 0.0, 1.0, 2.0], 1e-6, 2, 0.0);
    assert_close("y", &y, &[0.6, 0.8, 0.0, 0.0], 1e-6);
    assert_eq!(norm, [5.0, 0.0]);
    // (dy - y (y . dy)) / 5 = ((1, 0) - 0.6 (0.6, 0.8)) / 5.
    assert_close("dx", &dx, &[0.128, -0.096, 1e6, 2e6], 1e-6);
}

#[test]
fn threads_do_not_change_the_result() {
    let (x, dy) = (values(600 * 64, 1), values(600 * 64, 2));
    same_on_any_pool(|| {
        let (y, norm, dx) = run(&x, &dy, 1e-6, 64, 0.0);
        [y, norm, dx].concat()
    });
}
