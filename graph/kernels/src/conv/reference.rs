//! The definition, one product at a time.

use super::Shape;

/// Calls `f(output, tap, input)` for every (row of y, (ky, kx), row of x) that the convolution multiplies.
fn products(s: &Shape, mut f: impl FnMut(usize, usize, usize)) {
    for b in 0..s.batch {
        for oy in 0..s.height {
            for ox in 0..s.width {
                for tap in 0..9 {
                    let iy = (oy + tap / 3) as isize - 1;
                    let ix = (ox + tap % 3) as isize - 1;
                    if (0..s.height as isize).contains(&iy) && (0..s.width as isize).contains(&ix) {
                        let output = (b * s.height + oy) * s.width + ox;
                        f(
                            output,
                            tap,
                            (b * s.height + iy as usize) * s.width + ix as usize,
                        );
                    }
                }
            }
        }
    }
}

pub(crate) fn forward(x: &[f64], w: &[f64], b: &[f64], s: &Shape) -> Vec<f64> {
    let mut y: Vec<f64> = (0..s.rows()).flat_map(|_| b.iter().copied()).collect();
    products(s, |output, tap, input| {
        for o in 0..s.out {
            for i in 0..s.inp {
                y[output * s.out + o] += x[input * s.inp + i] * w[(o * 9 + tap) * s.inp + i];
            }
        }
    });
    y
}

pub(crate) struct Gradients {
    pub(crate) dx: Vec<f64>,
    pub(crate) dw: Vec<f64>,
    pub(crate) db: Vec<f64>,
}

pub(crate) fn backward(x: &[f64], w: &[f64], dy: &[f64], s: &Shape) -> Gradients {
    let mut g = Gradients {
        dx: vec![0.0; x.len()],
        dw: vec![0.0; w.len()],
        db: vec![0.0; s.out],
    };
    products(s, |output, tap, input| {
        for o in 0..s.out {
            for i in 0..s.inp {
                let (x_at, w_at, dy) = (
                    input * s.inp + i,
                    (o * 9 + tap) * s.inp + i,
                    dy[output * s.out + o],
                );
                g.dx[x_at] += dy * w[w_at];
                g.dw[w_at] += dy * x[x_at];
            }
        }
    });
    for (i, dy) in dy.iter().enumerate() {
        g.db[i % s.out] += dy;
    }
    g
}
