//! The definitions; a whole row is one tap of weight 1.

pub(crate) fn forward(
    table: &[f64],
    taps: &[(usize, usize, f64)],
    outputs: usize,
    d: usize,
) -> Vec<f64> {
    let mut y = vec![0.0; outputs * d];
    for (i, from, weight) in taps {
        for c in 0..d {
            y[i * d + c] += weight * table[from * d + c];
        }
    }
    y
}

pub(crate) fn backward(
    dy: &[f64],
    taps: &[(usize, usize, f64)],
    rows: usize,
    d: usize,
) -> Vec<f64> {
    let transposed: Vec<_> = taps
        .iter()
        .map(|(i, from, weight)| (*from, *i, *weight))
        .collect();
    forward(dy, &transposed, rows, d)
}
