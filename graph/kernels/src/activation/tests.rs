use super::{backward, forward, of_sum, reference, Activation};
use crate::gemm::Precision;
use crate::testing::{assert_gradient, same_on_any_pool, values};

const KINDS: [Activation; 2] = [Activation::Gelu, Activation::Silu];

fn slopes(kind: Activation, x: &[f32]) -> Vec<f32> {
    let mut dx = vec![0.0; x.len()];
    backward(kind, x, &vec![1.0; x.len()], &mut dx);
    dx
}

#[test]
fn the_reference_erf_is_right() {
    // Abramowitz and Stegun, table 7.1, and the far tail.
    for (x, expected) in [
        (0.5, 0.520_499_877_8),
        (1.0, 0.842_700_792_9),
        (2.0, 0.995_322_265_0),
        (3.0, 0.999_977_909_5),
    ] {
        assert!((reference::erf(x) - expected).abs() < 1e-10, "erf({x})");
        assert!((reference::erf(-x) + expected).abs() < 1e-10, "erf(-{x})");
    }
    assert!(
        (reference::erf(2.5 - 1e-12) - reference::erf(2.5 + 1e-12)).abs() < 1e-12,
        "the two halves meet"
    );
}

#[test]
fn values_of_pytorch() {
    // torch.nn.functional.gelu and silu in float64, with gradients.
    let (mut y, x) = ([0.0; 4], [1.0f32, -1.0, 0.0, -3.0]);
    for (kind, values, derivatives) in [
        (
            Activation::Gelu,
            [0.841_344_746, -0.158_655_254, 0.0, -0.004_049_694],
            [1.083_315_471, -0.083_315_471, 0.5, -0.011_945_64],
        ),
        (
            Activation::Silu,
            [0.731_058_579, -0.268_941_421, 0.0, -0.142_277_620],
            [0.927_670_511, 0.072_329_489, 0.5, -0.088_104_097],
        ),
    ] {
        forward(kind, &x, &mut y);
        let dx = slopes(kind, &x);
        for i in 0..4 {
            assert!(
                (f64::from(y[i]) - values[i]).abs() < 3e-7,
                "{kind:?}({}) = {}",
                x[i],
                y[i]
            );
            assert!(
                (f64::from(dx[i]) - derivatives[i]).abs() < 5e-7,
                "{kind:?}'({}) = {}",
                x[i],
                dx[i]
            );
        }
    }
}

#[test]
fn within_the_stated_error_everywhere() {
    let x: Vec<f32> = (-120_000..=120_000).map(|i| i as f32 * 1e-4).collect();
    for kind in KINDS {
        let mut y = vec![f32::NAN; x.len()];
        forward(kind, &x, &mut y);
        let dx = slopes(kind, &x);
        for i in 0..x.len() {
            let at = f64::from(x[i]);
            // A unit in the last place of a value near 12 is itself 1e-6.
            let bound = if kind == Activation::Gelu {
                1e-6
            } else {
                2e-7 * at.abs().max(5.0)
            };
            let error = (f64::from(y[i]) - reference::forward(kind, at)).abs();
            assert!(error < bound, "{kind:?}({at}): error {error:e}");
            let error = (f64::from(dx[i]) - reference::derivative(kind, at)).abs();
            assert!(error < 1e-6, "{kind:?}'({at}): error {error:e}");
        }
    }
}

#[test]
fn what_bf16_will_read_is_within_its_stated_error() {
    let x: Vec<f32> = (-120_000..=120_000).map(|i| i as f32 * 1e-4).collect();
    let mut y = x.clone();
    of_sum(
        Activation::Gelu,
        &mut y,
        &vec![0.0; x.len()],
        Precision::Bf16,
    );
    for (x, y) in x.iter().zip(&y) {
        let x = f64::from(*x);
        let error = (f64::from(*y) - reference::forward(Activation::Gelu, x)).abs();
        assert!(error <= 7e-5 * x.abs(), "gelu({x}): error {error:e}");
    }
}

#[test]
fn far_out_and_not_a_number() {
    let x = [1e4, -1e4, f32::MAX, -f32::MAX, f32::NAN];
    for kind in KINDS {
        let mut y = [0.5; 5];
        forward(kind, &x, &mut y);
        assert_eq!(&y[..4], &[1e4, 0.0, f32::MAX, 0.0], "{kind:?}");
        assert!(y[4].is_nan(), "{kind:?} must not hide a NaN");
        let dx = slopes(kind, &x);
        assert_eq!(&dx[..4], &[1.0, 0.0, 1.0, 0.0], "{kind:?}");
        assert!(dx[4].is_nan(), "{kind:?} must not hide a NaN");
    }
}

#[test]
fn the_reference_derivative_is_the_slope() {
    for kind in KINDS {
        for x in [-4.0, -1.5, -0.1, 0.0, 0.7, 2.0, 5.0] {
            let analytic = reference::derivative(kind, x);
            assert_gradient("x", &[x], &[analytic], |x| reference::forward(kind, x[0]));
        }
    }
}

#[test]
fn gradients_add() {
    for kind in KINDS {
        let mut dx = [10.0f32];
        backward(kind, &[1.0], &[2.0], &mut dx);
        let expected = 10.0 + 2.0 * reference::derivative(kind, 1.0);
        assert!(
            (f64::from(dx[0]) - expected).abs() < 2e-6,
            "{kind:?}: {} for {expected}",
            dx[0]
        );
    }
}

#[test]
fn threads_do_not_change_the_result() {
    let x = values(50_001, 1);
    for kind in KINDS {
        same_on_any_pool(|| {
            let mut y = vec![0.0; x.len()];
            forward(kind, &x, &mut y);
            [y, slopes(kind, &x)].concat()
        });
    }
}
