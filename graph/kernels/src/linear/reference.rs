//! The definition, one element at a time.

pub(crate) fn forward(x: &[f64], w: &[f64], b: &[f64], inp: usize) -> Vec<f64> {
    let row = |x: &[f64]| -> Vec<f64> {
        b.iter()
            .zip(w.chunks(inp))
            .map(|(b, w)| b + x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>())
            .collect()
    };
    x.chunks(inp).flat_map(row).collect()
}

pub(crate) struct Gradients {
    pub(crate) dx: Vec<f64>,
    pub(crate) dw: Vec<f64>,
    pub(crate) db: Vec<f64>,
}

pub(crate) fn backward(dy: &[f64], x: &[f64], w: &[f64], inp: usize, out: usize) -> Gradients {
    let mut g = Gradients {
        dx: vec![0.0; x.len()],
        dw: vec![0.0; w.len()],
        db: vec![0.0; out],
    };
    for r in 0..x.len() / inp {
        for o in 0..out {
            let dy = dy[r * out + o];
            g.db[o] += dy;
            for i in 0..inp {
                g.dx[r * inp + i] += dy * w[o * inp + i];
                g.dw[o * inp + i] += dy * x[r * inp + i];
            }
        }
    }
    g
}
