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

/// Runs `f` in pools of one, two and three threads and panics unless all results are bit-identical.
#[track_caller]
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

/// The gradient of `f` at `x` by central differences in double precision.
pub(crate) fn numeric_gradient(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const H: f64 = 1e-5;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let kept = x[i];
            x[i] = kept + H;
            let above = f(&x);
            x[i] = kept - H;
            let below = f(&x);
            x[i] = kept;
            (above - below) / (2.0 * H)
        })
        .collect()
}

/// `sum_i a_i b_i`: turns an output into a scalar with a known gradient.
pub(crate) fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
