//! The definition, one element at a time.

pub(crate) fn forward(x: &[f64], f: &[f64], gamma: &[f64], row_scale: &[f64]) -> Vec<f64> {
    let d = gamma.len();
    (0..x.len())
        .map(|i| x[i] + row_scale[i / d] * gamma[i % d] * f[i])
        .collect()
}

pub(crate) fn backward(
    f: &[f64],
    gamma: &[f64],
    row_scale: &[f64],
    dy: &[f64],
) -> (Vec<f64>, Vec<f64>) {
    let d = gamma.len();
    let df = (0..f.len())
        .map(|i| row_scale[i / d] * gamma[i % d] * dy[i])
        .collect();
    let mut dgamma = vec![0.0; d];
    for i in 0..f.len() {
        dgamma[i % d] += row_scale[i / d] * f[i] * dy[i];
    }
    (df, dgamma)
}
