//! The definitions, one row at a time.

pub(crate) fn softmax(z: &[f64], centre: &[f64], temperature: f64) -> Vec<f64> {
    let row = |z: &[f64]| -> Vec<f64> {
        let s: Vec<f64> = z
            .iter()
            .zip(centre)
            .map(|(z, c)| (z - c) / temperature)
            .collect();
        let max = s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = s.iter().map(|s| (s - max).exp()).sum();
        s.iter().map(|s| (s - max).exp() / total).collect()
    };
    z.chunks(centre.len()).flat_map(row).collect()
}

/// The loop of DINOv2's `sinkhorn_knopp_teacher`, with the sums written out.
pub(crate) fn sinkhorn(z: &[f64], temperature: f64, iterations: usize, k: usize) -> Vec<f64> {
    let rows = z.len() / k;
    let mut q: Vec<f64> = z.iter().map(|z| (z / temperature).exp()).collect();
    let total: f64 = q.iter().sum();
    q.iter_mut().for_each(|q| *q /= total);
    for _ in 0..iterations {
        for prototype in 0..k {
            let total: f64 = (0..rows).map(|r| q[r * k + prototype]).sum();
            (0..rows).for_each(|r| q[r * k + prototype] /= total * k as f64);
        }
        for row in q.chunks_mut(k) {
            let total: f64 = row.iter().sum();
            row.iter_mut().for_each(|q| *q /= total * rows as f64);
        }
    }
    q.iter().map(|q| q * rows as f64).collect()
}

pub(crate) struct Problem<'a> {
    pub(crate) targets: &'a [f64],
    pub(crate) target_row: &'a [u32],
    pub(crate) weight: &'a [f64],
    pub(crate) temperature: f64,
    pub(crate) k: usize,
}

impl Problem<'_> {
    fn target(&self, row: usize) -> &[f64] {
        &self.targets[self.target_row[row] as usize * self.k..][..self.k]
    }

    pub(crate) fn loss(&self, z: &[f64]) -> f64 {
        let p = softmax(z, &vec![0.0; self.k], self.temperature);
        let row = |(r, p): (usize, &[f64])| -> f64 {
            -self.weight[r]
                * self
                    .target(r)
                    .iter()
                    .zip(p)
                    .map(|(t, p)| t * p.ln())
                    .sum::<f64>()
        };
        p.chunks(self.k).enumerate().map(row).sum()
    }

    pub(crate) fn gradient(&self, z: &[f64]) -> Vec<f64> {
        let p = softmax(z, &vec![0.0; self.k], self.temperature);
        let row = |(r, p): (usize, &[f64])| -> Vec<f64> {
            let t = self.target(r);
            let mass: f64 = t.iter().sum();
            t.iter()
                .zip(p)
                .map(|(t, p)| self.weight[r] / self.temperature * (p * mass - t))
                .collect()
        };
        p.chunks(self.k).enumerate().flat_map(row).collect()
    }
}
