use super::{losses, Targets};
use crate::gemm::Precision;
use crate::linear;
use crate::softmax_ce::soft_cross_entropy;
use crate::testing::{assert_close, same_on_any_pool, values, wide};

/// Losses, dx and dw, started at 1.
fn run(rows: usize, inp: usize, k: usize, precision: Precision) -> (Vec<f64>, Vec<f32>, Vec<f32>) {
    let (x, w) = (values(rows * inp, 1), values(k * inp, 2));
    let (p, row, weight) = targets(rows, k);
    let targets = Targets {
        probabilities: &p,
        row: &row,
        weight: &weight,
    };
    let (mut dx, mut dw) = (vec![1.0; x.len()], vec![1.0; w.len()]);
    let gradients = Some((&mut dx[..], &mut dw[..]));
    let with = losses(&x, &w, targets, 0.1, inp, k, precision, gradients);
    let without = losses(&x, &w, targets, 0.1, inp, k, precision, None);
    assert_eq!(with, without);
    (with, dx, dw)
}

fn targets(rows: usize, k: usize) -> (Vec<f32>, Vec<u32>, Vec<f32>) {
    let p: Vec<f32> = values(5 * k, 3)
        .iter()
        .map(|v| (v + 1.0) / k as f32)
        .collect();
    let row = (0..rows).map(|r| (r * 7 % 5) as u32).collect();
    (p, row, values(rows, 4))
}

#[test]
fn agrees_with_keeping_the_logits() {
    for (rows, inp, k) in [(1, 3, 2), (37, 16, 100), (400, 8, 67)] {
        let (found, dx, dw) = run(rows, inp, k, Precision::F32);
        let (x, w) = (values(rows * inp, 1), values(k * inp, 2));
        let (p, row, weight) = targets(rows, k);
        let (mut z, mut dz) = (vec![0.0; rows * k], vec![0.0; rows * k]);
        linear::forward(&x, &w, None, &mut z, inp, k, Precision::F32);
        let expected = soft_cross_entropy(&z, &p, &row, &weight, 0.1, k, Some(&mut dz));
        let (mut expected_dx, mut expected_dw) = (vec![1.0; x.len()], vec![1.0; w.len()]);
        linear::backward_input(&dz, &w, &mut expected_dx, inp, k, Precision::F32);
        let dw_out = &mut expected_dw;
        linear::backward_params(&dz, &x, dw_out, None, inp, k, Precision::F32);
        let found: Vec<f32> = found.iter().map(|loss| *loss as f32).collect();
        assert_close("losses", &found, &expected, 1e-5);
        assert_close("dx", &dx, &wide(&expected_dx), 1e-5);
        assert_close("dw", &dw, &wide(&expected_dw), 1e-4);
    }
}

#[test]
fn no_rows_cost_nothing() {
    assert!(run(0, 4, 6, Precision::F32).0.is_empty());
}

#[test]
fn threads_do_not_change_the_result() {
    for precision in [Precision::F32, Precision::Bf16] {
        same_on_any_pool(|| {
            let (losses, dx, dw) = run(300, 32, 500, precision);
            let losses = losses.iter().map(|loss| *loss as f32).collect();
            [losses, dx, dw].concat()
        });
    }
}
