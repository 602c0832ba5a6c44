use super::{reference, rows_backward, rows_forward, taps_backward, taps_forward};
use crate::testing::{
    assert_close, assert_gradient, inner, odd_shapes, same_on_any_pool, values, wide,
};

/// Repeatable indices below `rows`, with many repetitions.
fn indices(n: usize, rows: usize, seed: u64) -> Vec<u32> {
    values(n, seed)
        .iter()
        .map(|v| ((v + 1.0) * 0.5 * rows as f32) as u32)
        .map(|i| i.min(rows as u32 - 1))
        .collect()
}

fn four(index: &[u32]) -> Vec<[u32; 4]> {
    index.as_chunks().0.to_vec()
}

fn reference_taps(index: &[[u32; 4]], weight: &[[f32; 4]]) -> Vec<(usize, usize, f64)> {
    let taps = index.as_flattened().iter().zip(weight.as_flattened());
    taps.enumerate()
        .map(|(n, (i, w))| (n / 4, *i as usize, f64::from(*w)))
        .collect()
}

#[test]
fn taps_agree_with_the_reference() {
    for (outputs, d) in odd_shapes() {
        // Both sides of the size at which scattering turns parallel.
        for rows in [1, 40, 2500] {
            let table = values(rows * d, 1);
            let (index, dy) = (four(&indices(outputs * 4, rows, 2)), values(outputs * d, 3));
            let weight = values(outputs * 4, 4).as_chunks().0.to_vec();
            let taps = reference_taps(&index, &weight);
            let mut y = vec![f32::NAN; outputs * d];
            taps_forward(&table, &index, &weight, d, &mut y);
            assert_close(
                "y",
                &y,
                &reference::forward(&wide(&table), &taps, outputs, d),
                1e-6,
            );
            let mut dtable = vec![1.0; table.len()];
            taps_backward(&dy, &index, &weight, d, &mut dtable);
            let expected = reference::backward(&wide(&dy), &taps, rows, d);
            assert_close(
                "dtable",
                &dtable,
                &expected.iter().map(|v| v + 1.0).collect::<Vec<_>>(),
                2e-5,
            );
        }
    }
}

#[test]
fn rows_agree_with_the_reference() {
    for (outputs, d) in odd_shapes() {
        for rows in [1, 40, 2500] {
            let (x, index, dy) = (
                values(rows * d, 1),
                indices(outputs, rows, 2),
                values(outputs * d, 3),
            );
            let taps: Vec<_> = index
                .iter()
                .enumerate()
                .map(|(n, i)| (n, *i as usize, 1.0))
                .collect();
            let mut y = vec![f32::NAN; outputs * d];
            rows_forward(&x, &index, d, &mut y);
            assert_close(
                "y",
                &y,
                &reference::forward(&wide(&x), &taps, outputs, d),
                0.0,
            );
            let mut dx = vec![1.0; x.len()];
            rows_backward(&dy, &index, d, &mut dx);
            let expected = reference::backward(&wide(&dy), &taps, rows, d);
            assert_close(
                "dx",
                &dx,
                &expected.iter().map(|v| v + 1.0).collect::<Vec<_>>(),
                2e-5,
            );
        }
    }
}

#[test]
fn the_reference_gradient_is_the_slope() {
    let taps = [(0, 1, 0.5), (0, 1, 0.25), (1, 0, -1.0), (1, 2, 0.75)];
    let (table, dy) = (wide(&values(6, 1)), wide(&values(4, 2)));
    let g = reference::backward(&dy, &taps, 3, 2);
    assert_gradient("table", &table, &g, |t| {
        inner(&dy, &reference::forward(t, &taps, 2, 2))
    });
}

#[test]
fn the_middle_of_a_cell_is_the_mean_of_its_corners() {
    let mut y = [0.0; 2];
    taps_forward(
        &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
        &[[0, 1, 2, 3]],
        &[[0.25; 4]],
        2,
        &mut y,
    );
    assert_eq!(y, [3.0, 4.0]);
}

#[test]
fn threads_do_not_change_the_result() {
    let (outputs, rows, d) = (1500, 2500, 48);
    let (table, dy) = (values(rows * d, 1), values(outputs * d, 2));
    let index = indices(outputs * 4, rows, 3);
    let weight = values(outputs * 4, 4).as_chunks().0.to_vec();
    same_on_any_pool(|| {
        let (mut y, mut g, mut z, mut h) = (dy.clone(), table.clone(), dy.clone(), table.clone());
        taps_forward(&table, &four(&index), &weight, d, &mut y);
        taps_backward(&dy, &four(&index), &weight, d, &mut g);
        rows_forward(&table, &index[..outputs], d, &mut z);
        rows_backward(&dy, &index[..outputs], d, &mut h);
        [y, g, z, h].concat()
    });
}

#[test]
#[should_panic(expected = "gather: index 7 is out of range for 2 rows")]
fn an_index_out_of_range_is_named() {
    rows_forward(&[0.0; 6], &[0, 7], 3, &mut [0.0; 6]);
}
