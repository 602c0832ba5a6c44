//! The definition, one row at a time.

pub(crate) fn forward(x: &[f64], gamma: &[f64], beta: &[f64], eps: f64) -> Vec<f64> {
    let d = gamma.len();
    let mut y = vec![0.0; x.len()];
    for (x, y) in x.chunks(d).zip(y.chunks_mut(d)) {
        let (mean, rstd) = statistics(x, eps);
        for i in 0..d {
            y[i] = (x[i] - mean) * rstd * gamma[i] + beta[i];
        }
    }
    y
}

pub(crate) fn statistics(x: &[f64], eps: f64) -> (f64, f64) {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64;
    (mean, 1.0 / (variance + eps).sqrt())
}

pub(crate) struct Gradients {
    pub(crate) dx: Vec<f64>,
    pub(crate) dgamma: Vec<f64>,
    pub(crate) dbeta: Vec<f64>,
}

pub(crate) fn backward(x: &[f64], gamma: &[f64], eps: f64, dy: &[f64]) -> Gradients {
    let d = gamma.len();
    let mut g = Gradients {
        dx: vec![0.0; x.len()],
        dgamma: vec![0.0; d],
        dbeta: vec![0.0; d],
    };
    for ((x, dy), dx) in x.chunks(d).zip(dy.chunks(d)).zip(g.dx.chunks_mut(d)) {
        let (mean, rstd) = statistics(x, eps);
        let xhat: Vec<f64> = x.iter().map(|v| (v - mean) * rstd).collect();
        let mean_g = (0..d).map(|i| dy[i] * gamma[i]).sum::<f64>() / d as f64;
        let mean_gx = (0..d).map(|i| dy[i] * gamma[i] * xhat[i]).sum::<f64>() / d as f64;
        for i in 0..d {
            dx[i] = rstd * (dy[i] * gamma[i] - mean_g - xhat[i] * mean_gx);
            g.dgamma[i] += dy[i] * xhat[i];
            g.dbeta[i] += dy[i];
        }
    }
    g
}
