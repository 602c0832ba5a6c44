use super::{backward_input, backward_params, forward, reference};
use crate::gemm::Precision;
use crate::testing::{
    assert_close, assert_gradient, inner, odd_shapes, same_on_any_pool, values, wide,
};

#[test]
fn agrees_with_the_reference() {
    for (rows, inp) in odd_shapes() {
        for out in [1, 7, 64] {
            let (x, w, b) = (values(rows * inp, 1), values(out * inp, 2), values(out, 3));
            let dy = values(rows * out, 4);
            let mut y = vec![f32::NAN; rows * out];
            forward(&x, &w, Some(&b), &mut y, inp, out, Precision::F32);
            assert_close(
                "y",
                &y,
                &reference::forward(&wide(&x), &wide(&w), &wide(&b), inp),
                2e-5,
            );
            forward(&x, &w, None, &mut y, inp, out, Precision::F32);
            assert_close(
                "y",
                &y,
                &reference::forward(&wide(&x), &wide(&w), &vec![0.0; out], inp),
                2e-5,
            );

            let g = reference::backward(&wide(&dy), &wide(&x), &wide(&w), inp, out);
            let plus_one = |g: &[f64]| g.iter().map(|v| v + 1.0).collect::<Vec<_>>();
            let (mut dx, mut dw, mut db) = (vec![1.0; x.len()], vec![1.0; w.len()], vec![1.0; out]);
            backward_input(&dy, &w, &mut dx, inp, out, Precision::F32);
            backward_params(&dy, &x, &mut dw, Some(&mut db), inp, out, Precision::F32);
            assert_close("dx", &dx, &plus_one(&g.dx), 2e-5);
            assert_close("dw", &dw, &plus_one(&g.dw), 2e-5);
            assert_close("db", &db, &plus_one(&g.db), 2e-5);
        }
    }
}

#[test]
fn the_reference_gradient_is_the_slope() {
    let (inp, out) = (3, 2);
    let [x, w, b, dy] = [12, 6, 2, 8].map(|n| wide(&values(n, n as u64)));
    let g = reference::backward(&dy, &x, &w, inp, out);
    assert_gradient("x", &x, &g.dx, |x| {
        inner(&dy, &reference::forward(x, &w, &b, inp))
    });
    assert_gradient("w", &w, &g.dw, |w| {
        inner(&dy, &reference::forward(&x, w, &b, inp))
    });
    assert_gradient("b", &b, &g.db, |b| {
        inner(&dy, &reference::forward(&x, &w, b, inp))
    });
}

#[test]
fn threads_do_not_change_the_result() {
    let (rows, inp, out) = (591, 192, 130);
    let (x, w, dy) = (
        values(rows * inp, 1),
        values(out * inp, 2),
        values(rows * out, 3),
    );
    same_on_any_pool(|| {
        let (mut y, mut dx) = (vec![0.0; rows * out], vec![0.0; rows * inp]);
        let (mut dw, mut db) = (vec![0.0; out * inp], vec![0.0; out]);
        forward(&x, &w, Some(&db), &mut y, inp, out, Precision::F32);
        backward_input(&dy, &w, &mut dx, inp, out, Precision::F32);
        backward_params(&dy, &x, &mut dw, Some(&mut db), inp, out, Precision::F32);
        [y, dx, dw, db].concat()
    });
}

#[test]
fn no_rows_leave_gradients_alone() {
    let (mut dw, mut db) = ([1.0; 6], [2.0; 2]);
    forward(
        &[],
        &[0.0; 6],
        Some(&[0.0; 2]),
        &mut [],
        3,
        2,
        Precision::F32,
    );
    backward_params(&[], &[], &mut dw, Some(&mut db), 3, 2, Precision::F32);
    assert_eq!((dw, db), ([1.0; 6], [2.0; 2]));
}
