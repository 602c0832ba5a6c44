//! Rows of features.

use intertwine_kernels::l2_norm;

/// Features, `width` values each.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    width: usize,
    values: Vec<f32>,
}

impl Rows {
    /// From all the values, row after row.
    ///
    /// # Panics
    /// If they are not whole rows of at least one value.
    pub fn new(width: usize, values: Vec<f32>) -> Self {
        assert!(width > 0 && values.len().is_multiple_of(width));
        Self { width, values }
    }

    /// Values of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All values, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// One row.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn row(&self, at: usize) -> &[f32] {
        &self.values[at * self.width..][..self.width]
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }

    /// Adds rows.
    pub fn extend(&mut self, values: &[f32]) {
        debug_assert!(values.len().is_multiple_of(self.width));
        self.values.extend_from_slice(values);
    }

    /// What the rows deviate from their mean by.
    pub fn centred(&self) -> Self {
        let mut mean = vec![0.0f64; self.width];
        for row in self.iter() {
            mean.iter_mut()
                .zip(row)
                .for_each(|(m, &v)| *m += f64::from(v));
        }
        let count = self.len() as f64;
        let deviations = self.iter().flat_map(|row| {
            (row.iter().zip(&mean)).map(|(&v, sum)| (f64::from(v) - sum / count) as f32)
        });
        Self {
            width: self.width,
            values: deviations.collect(),
        }
    }

    /// The rows, each of length 1; zeros stay zeros.
    pub fn normalised(&self) -> Self {
        let (mut values, mut lengths) = (vec![0.0; self.values.len()], vec![0.0; self.len()]);
        l2_norm::forward(&self.values, 1e-12, self.width, &mut values, &mut lengths);
        Self {
            width: self.width,
            values,
        }
    }

    /// The rows of these numbers, in their order.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn pick(&self, numbers: impl IntoIterator<Item = usize>) -> Self {
        let picked = numbers.into_iter().flat_map(|at| self.row(at));
        Self {
            width: self.width,
            values: picked.copied().collect(),
        }
    }
}
