use super::reference::Problem;
use super::{reference, sinkhorn, soft_cross_entropy, teacher_softmax, teacher_softmax_in_place};
use crate::testing::{assert_close, assert_gradient, odd_shapes, same_on_any_pool, values, wide};

#[test]
fn teacher_softmax_agrees_with_the_reference() {
    for (rows, k) in odd_shapes() {
        let (z, centre) = (values(rows * k, 1), values(k, 2));
        let temperature = 0.04f32;
        let mut out = vec![f32::NAN; z.len()];
        teacher_softmax(&z, Some(&centre), temperature, k, &mut out);
        let expected = reference::softmax(&wide(&z), &wide(&centre), f64::from(temperature));
        assert_close("out", &out, &expected, 5e-6);
        let mut in_place = z.clone();
        teacher_softmax_in_place(&mut in_place, Some(&centre), temperature, k);
        assert_eq!(in_place, out);
        teacher_softmax(&z, None, temperature, k, &mut out);
        assert_close(
            "uncentred",
            &out,
            &reference::softmax(&wide(&z), &vec![0.0; k], f64::from(temperature)),
            5e-6,
        );
    }
}

/// exp(z / 0.5) of 3, 1 and 1, 1. A round makes columns of equal sums, then rows of 1: (3/8, 2/8) becomes (3/5, 2/5) and
/// (1/8, 2/8) becomes (1/3, 2/3); two more by hand, in fractions.
#[test]
fn sinkhorn_rounds_by_hand() {
    let z = [0.5 * 3f32.ln(), 0.0, 0.0, 0.0];
    let rounds = [
        (1, [3.0 / 5.0, 2.0 / 5.0, 1.0 / 3.0, 2.0 / 3.0]),
        (2, [12.0 / 19.0, 7.0 / 19.0, 4.0 / 11.0, 7.0 / 11.0]),
        (3, [45.0 / 71.0, 26.0 / 71.0, 15.0 / 41.0, 26.0 / 41.0]),
    ];
    for (rounds, expected) in rounds {
        let mut out = [0.0; 4];
        sinkhorn(&z, 0.5, rounds, 2, &mut out);
        assert_close("out", &out, &expected, 1e-6);
    }
}

/// (1 - 0.5, 0 - 0) / 0.5 = (1, 0), and e / (1 + e) = 0.7310586.
#[test]
fn teacher_softmax_by_hand() {
    let mut out = [0.0; 2];
    teacher_softmax(&[1.0, 0.0], Some(&[0.5, 0.0]), 0.5, 2, &mut out);
    assert_close("out", &out, &[0.7310585786, 0.2689414214], 1e-6);
}

#[test]
fn softmax_of_huge_logits() {
    let mut out = [0.0; 3];
    teacher_softmax(&[1e4, 1e4, -1e4], None, 0.04, 3, &mut out);
    assert_eq!(out, [0.5, 0.5, 0.0]);
}

#[test]
fn sinkhorn_agrees_with_the_reference() {
    for (rows, k, iterations) in [
        (1, 5, 3),
        (4, 3, 0),
        (3, 31, 1),
        (17, 64, 3),
        (65, 192, 3),
        (40, 1000, 5),
    ] {
        let z = values(rows * k, 3);
        let mut out = vec![f32::NAN; z.len()];
        sinkhorn(&z, 0.1, iterations, k, &mut out);
        assert_close(
            "out",
            &out,
            &reference::sinkhorn(&wide(&z), f64::from(0.1f32), iterations, k),
            2e-5,
        );
    }
}

/// A temperature of 0.015 puts e^133 between cosines of 1 and -1, more than f32 holds.
#[test]
fn sinkhorn_keeps_rows_that_are_far_below_the_others() {
    for (low, k, temperature) in [(-0.7, 4096, 0.02f32), (-0.99, 64, 0.015)] {
        let mut z = vec![1.0; k];
        z.push(low);
        z.resize(2 * k, low - 0.1);
        let mut out = vec![f32::NAN; 2 * k];
        sinkhorn(&z, temperature, 3, k, &mut out);
        let expected = reference::sinkhorn(&wide(&z), f64::from(temperature), 3, k);
        assert_close("out", &out, &expected, 2e-5);
        for row in out.chunks(k) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        }
    }
}

#[test]
fn sinkhorn_spreads_the_samples_over_the_prototypes() {
    // Every sample prefers prototype 0, and after enough rounds each prototype still gets its half.
    let z = [1.0, 0.0, 0.9, 0.0, 0.8, 0.0, 0.7, 0.0];
    let mut out = [0.0; 8];
    sinkhorn(&z, 0.1, 50, 2, &mut out);
    let first: f32 = out.iter().step_by(2).sum();
    assert!(
        (first - 2.0).abs() < 1e-3,
        "prototype 0 holds {first} of 4 samples"
    );
    for row in out.chunks(2) {
        assert!((row[0] + row[1] - 1.0).abs() < 1e-5, "{row:?}");
    }
}

#[test]
fn sinkhorn_survives_a_prototype_that_nobody_uses() {
    let mut out = [f32::NAN; 4];
    sinkhorn(&[10.0, -10.0, 10.0, -10.0], 0.01, 3, 2, &mut out);
    assert_eq!(out, [1.0, 0.0, 1.0, 0.0]);
}

#[test]
fn cross_entropy_agrees_with_the_reference() {
    for (rows, k) in odd_shapes() {
        let z = values(rows * k, 1);
        // Targets that do not sum to 1, shared by several rows.
        let targets: Vec<f32> = values(2 * k, 2).iter().map(|v| v.abs()).collect();
        let target_row: Vec<u32> = (0..rows as u32).map(|r| r % 2).collect();
        let weight = values(rows, 3);
        let mut dz = vec![1.0; z.len()];
        let losses = soft_cross_entropy(&z, &targets, &target_row, &weight, 0.1, k, Some(&mut dz));
        let weighted = losses.iter().zip(&weight).map(|(l, w)| l * f64::from(*w));
        let found: f64 = weighted.sum();
        let problem = Problem {
            targets: &wide(&targets),
            target_row: &target_row,
            weight: &wide(&weight),
            temperature: f64::from(0.1f32),
            k,
        };
        let expected = problem.loss(&wide(&z));
        assert!(
            (found - expected).abs() < 1e-4 * expected.abs().max(1.0),
            "{rows} x {k}: {found} for {expected}"
        );
        let gradient: Vec<f64> = problem
            .gradient(&wide(&z))
            .iter()
            .map(|g| g + 1.0)
            .collect();
        assert_close("dz", &dz, &gradient, 2e-5);
        assert_eq!(
            losses,
            soft_cross_entropy(&z, &targets, &target_row, &weight, 0.1, k, None)
        );
    }
}

#[test]
fn the_reference_gradient_is_the_slope() {
    let problem = Problem {
        targets: &wide(&values(10, 1)),
        target_row: &[1, 0, 1],
        weight: &[0.5, 2.0, -1.0],
        temperature: 0.5,
        k: 5,
    };
    let z = wide(&values(15, 2));
    assert_gradient("z", &z, &problem.gradient(&z), |z| problem.loss(z));
}

#[test]
fn collapse_shows_as_ln_k() {
    let k = 8192;
    let uniform = vec![1.0 / k as f32; k];
    let loss = soft_cross_entropy(&vec![0.25; k], &uniform, &[0], &[1.0], 0.1, k, None)[0];
    assert!((loss - (k as f64).ln()).abs() < 1e-4, "{loss}");
}

#[test]
fn threads_do_not_change_the_result() {
    let (rows, k) = (60, 3000);
    let (z, targets) = (values(rows * k, 1), values(rows * k, 2));
    let target_row: Vec<u32> = (0..rows as u32).collect();
    same_on_any_pool(|| {
        let (mut p, mut q, mut dz) = (vec![0.0; z.len()], vec![0.0; z.len()], vec![0.0; z.len()]);
        teacher_softmax(&z, Some(&targets[..k]), 0.07, k, &mut p);
        sinkhorn(&z, 0.07, 3, k, &mut q);
        let weight = vec![1.0; rows];
        let loss = soft_cross_entropy(&z, &p, &target_row, &weight, 0.1, k, Some(&mut dz));
        let halves = |bits: u64| [(bits >> 32) as u32, bits as u32].map(f32::from_bits);
        let loss = loss.iter().flat_map(|loss| halves(loss.to_bits()));
        [p, q, dz, loss.collect()].concat()
    });
}

#[test]
fn no_rows() {
    assert!(soft_cross_entropy(&[], &[], &[], &[], 0.1, 8, Some(&mut [])).is_empty());
    sinkhorn(&[], 0.1, 3, 8, &mut []);
    teacher_softmax(&[], None, 0.1, 8, &mut []);
}

#[test]
#[should_panic(expected = "target_row names row 2, targets has 2")]
fn a_missing_target_is_named() {
    soft_cross_entropy(&[0.0; 4], &[0.0; 4], &[0, 2], &[1.0; 2], 0.1, 2, None);
}
