use super::{backward, forward, reference};
use crate::testing::{
    assert_close, assert_gradient, inner, odd_shapes, same_on_any_pool, values, wide,
};

#[test]
fn agrees_with_the_reference_with_and_without_each_factor() {
    for (rows, d) in odd_shapes() {
        let [x, f, dy] = [1, 2, 3].map(|seed| values(rows * d, seed));
        let (gamma, scale) = (values(d, 4), values(rows, 5));
        for (gamma, scale) in [
            (None, None),
            (Some(&gamma), None),
            (None, Some(&scale)),
            (Some(&gamma), Some(&scale)),
        ] {
            let (gamma, scale) = (gamma.map(Vec::as_slice), scale.map(Vec::as_slice));
            let gamma_wide = gamma.map_or(vec![1.0; d], wide);
            let scale_wide = scale.map_or(vec![1.0; rows], wide);
            let mut y = vec![f32::NAN; x.len()];
            forward(&x, &f, gamma, scale, d, &mut y);
            assert_close(
                "y",
                &y,
                &reference::forward(&wide(&x), &wide(&f), &gamma_wide, &scale_wide),
                1e-6,
            );
            let (mut df, mut dgamma) = (vec![1.0; f.len()], vec![-1.0; d]);
            backward(&f, gamma, scale, &dy, d, &mut df, Some(&mut dgamma));
            let (df_wide, dgamma_wide) =
                reference::backward(&wide(&f), &gamma_wide, &scale_wide, &wide(&dy));
            assert_close(
                "df",
                &df,
                &df_wide.iter().map(|v| v + 1.0).collect::<Vec<_>>(),
                1e-5,
            );
            assert_close(
                "dgamma",
                &dgamma,
                &dgamma_wide.iter().map(|v| v - 1.0).collect::<Vec<_>>(),
                1e-5,
            );
        }
    }
}

#[test]
fn the_reference_gradient_is_the_slope() {
    let [x, f, gamma, scale, dy] = [12, 12, 4, 3, 12].map(|n| wide(&values(n, n as u64)));
    let (df, dgamma) = reference::backward(&f, &gamma, &scale, &dy);
    assert_gradient("f", &f, &df, |f| {
        inner(&dy, &reference::forward(&x, f, &gamma, &scale))
    });
    assert_gradient("gamma", &gamma, &dgamma, |g| {
        inner(&dy, &reference::forward(&x, &f, g, &scale))
    });
}

#[test]
fn a_dropped_row_passes_through() {
    let mut y = [0.0; 4];
    forward(
        &[1.0, 2.0, 3.0, 4.0],
        &[8.0; 4],
        Some(&[0.5, 0.25]),
        Some(&[0.0, 2.0]),
        2,
        &mut y,
    );
    assert_eq!(y, [1.0, 2.0, 11.0, 8.0]);
}

#[test]
fn threads_do_not_change_the_result() {
    let (rows, d) = (500, 192);
    let [x, f, dy] = [1, 2, 3].map(|seed| values(rows * d, seed));
    let (gamma, scale) = (values(d, 4), values(rows, 5));
    same_on_any_pool(|| {
        let (mut y, mut df, mut dgamma) = (vec![0.0; x.len()], vec![0.0; x.len()], vec![0.0; d]);
        forward(&x, &f, Some(&gamma), Some(&scale), d, &mut y);
        backward(
            &f,
            Some(&gamma),
            Some(&scale),
            &dy,
            d,
            &mut df,
            Some(&mut dgamma),
        );
        [y, df, dgamma].concat()
    });
}
