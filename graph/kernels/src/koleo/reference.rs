//! The definition, with distances instead of products.

pub(crate) fn loss(x: &[f64], group: usize, d: usize) -> f64 {
    let distance = |a: &[f64], b: &[f64]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let rows: Vec<&[f64]> = x.chunks(d).collect();
    rows.chunks(group)
        .flat_map(|group| {
            (0..group.len()).map(|b| {
                let others = (0..group.len()).filter(|c| *c != b);
                let nearest = others
                    .map(|c| distance(group[b], group[c]))
                    .fold(f64::INFINITY, f64::min);
                -(nearest + 1e-8).ln() / group.len() as f64
            })
        })
        .sum()
}
