//! What the kernels' tests share: repeatable inputs, comparison, and running under pools of several sizes.

/// Repeatable values in [-1, 1): a 64-bit linear congruential generator (Knuth's MMIX constants).
pub(crate) fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32) / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Row counts and widths around the register and piece sizes of the kernels.
#[cfg(test)]
pub(crate) fn odd_shapes() -> impl Iterator<Item = (usize, usize)> {
    [1, 3, 17, 65, 197]
        .into_iter()
        .flat_map(|rows| [1, 5, 31, 64, 192].map(|d| (rows, d)))
}

/// The same values in double precision, for the references.
pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|v| f64::from(*v)).collect()
}

/// Panics unless every element is within `tolerance * max(1, |expected|)`.
#[track_caller]
pub(crate) fn assert_close(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*f) - e).abs();
        assert!(
            error <= tolerance * e.abs().max(1.0),
            "{what}[{i}]: found {f}, expected {e}, error {error:e}"
        );
    }
}

/// Panics unless `analytic` agrees with central differences of `f` at `x`.
#[track_caller]
#[cfg(test)]
pub(crate) fn assert_gradient(what: &str, x: &[f64], analytic: &[f64], f: impl Fn(&[f64]) -> f64) {
    assert_eq!(x.len(), analytic.len(), "{what}: length");
    let mut x = x.to_vec();
    for i in 0..x.len() {
        const H: f64 = 1e-5;
        let kept = x[i];
        x[i] = kept + H;
        let above = f(&x);
        x[i] = kept - H;
        let below = f(&x);
        x[i] = kept;
        let numeric = (above - below) / (2.0 * H);
        assert!(
            (numeric - analytic[i]).abs() <= 1e-6 * numeric.abs().max(1.0),
            "d{what}[{i}]: numeric {numeric}, analytic {}",
            analytic[i]
        );
    }
}

/// Runs `f` in pools of one, two and three threads and panics unless all results are bit-identical.
#[track_caller]
#[cfg(test)]
pub(crate) fn same_on_any_pool(f: impl Fn() -> Vec<f32> + Sync) {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool of a few threads");
        pool.install(&f)
            .iter()
            .map(|v| v.to_bits())
            .collect::<Vec<_>>()
    };
    let one = run(1);
    assert!(!one.is_empty(), "a comparison of nothing");
    assert!(one == run(2), "two threads change the result");
    assert!(one == run(3), "three threads change the result");
}

/// `sum_i a_i b_i`: turns an output into a scalar with a known gradient.
#[cfg(test)]
pub(crate) fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
