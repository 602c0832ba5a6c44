use super::{loss, reference};
use crate::testing::{assert_close, values, wide};

fn unit_rows(rows: usize, d: usize, seed: u64) -> Vec<f32> {
    let x = values(rows * d, seed);
    let (mut y, mut norm) = (vec![0.0; x.len()], vec![0.0; rows]);
    crate::l2_norm::forward(&x, 1e-12, d, &mut y, &mut norm);
    y
}

#[test]
fn agrees_with_the_reference() {
    for (groups, group, d) in [(1, 2, 3), (2, 17, 64), (3, 5, 31), (2, 65, 192)] {
        let x = unit_rows(groups * group, d, 5);
        let (found, expected) = (
            loss(&x, group, d, None),
            reference::loss(&wide(&x), group, d),
        );
        assert!(
            (found - expected).abs() < 1e-5 * expected.abs().max(1.0),
            "found {found}, expected {expected}"
        );
    }
}

#[test]
fn the_gradient_is_the_slope() {
    let (group, d) = (6, 5);
    let x = unit_rows(2 * group, d, 9);
    let mut dx = vec![0.5; x.len()];
    let with_gradient = loss(&x, group, d, Some(&mut dx));
    assert_eq!(with_gradient, loss(&x, group, d, None));
    // Away from ties the nearest rows stay the nearest under a small step, off the sphere too.
    let mut at = wide(&x);
    let numeric: Vec<f64> = (0..at.len())
        .map(|i| {
            let kept = at[i];
            at[i] = kept + 1e-6;
            let above = reference::loss(&at, group, d);
            at[i] = kept - 1e-6;
            let below = reference::loss(&at, group, d);
            at[i] = kept;
            0.5 + (above - below) / 2e-6
        })
        .collect();
    assert_close("dx", &dx, &numeric, 1e-4);
}

#[test]
fn two_opposite_rows_by_hand() {
    let mut dx = [0.0; 4];
    let found = loss(&[1.0, 0.0, -1.0, 0.0], 2, 2, Some(&mut dx));
    assert!((found + 2.0f64.ln()).abs() < 1e-6, "{found}");
    // Each row's own term and its neighbour's pull the same way: 2 * (1/2) * 1/2.
    assert_close("dx", &dx, &[-0.5, 0.0, 0.5, 0.0], 1e-6);
}

#[test]
fn identical_rows_give_a_finite_loss_and_no_gradient() {
    let mut dx = [0.0; 4];
    let found = loss(&[0.6, 0.8, 0.6, 0.8], 2, 2, Some(&mut dx));
    assert!((found - -(1e-8f64.ln())).abs() < 1e-3, "{found}");
    assert_eq!(dx, [0.0; 4]);
}

#[test]
fn a_lone_row_has_no_neighbour() {
    let mut dx = [0.0; 2];
    assert_eq!(loss(&[1.0, 0.0], 1, 2, Some(&mut dx)), 0.0);
    assert_eq!(dx, [0.0; 2]);
    assert_eq!(loss(&[], 4, 2, None), 0.0);
}
