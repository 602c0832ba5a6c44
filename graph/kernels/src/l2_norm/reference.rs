//! The definition, one row at a time.

pub(crate) fn norm(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

pub(crate) fn forward(x: &[f64], eps: f64, d: usize) -> Vec<f64> {
    x.chunks(d)
        .flat_map(|x| x.iter().map(|v| v / norm(x).max(eps)).collect::<Vec<_>>())
        .collect()
}

pub(crate) fn backward(x: &[f64], dy: &[f64], eps: f64, d: usize) -> Vec<f64> {
    let row = |(x, dy): (&[f64], &[f64])| -> Vec<f64> {
        let n = norm(x);
        if n < eps {
            return dy.iter().map(|dy| dy / eps).collect();
        }
        let along: f64 = x.iter().zip(dy).map(|(x, dy)| x / n * dy).sum();
        x.iter()
            .zip(dy)
            .map(|(x, dy)| (dy - x / n * along) / n)
            .collect()
    };
    x.chunks(d).zip(dy.chunks(d)).flat_map(row).collect()
}
