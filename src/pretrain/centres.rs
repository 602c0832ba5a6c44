//! The teacher's centres (METHOD section 3): moving averages of its logits.

use super::config::Centring;

/// The moving average of the logits of one head, `[K]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Centre {
    /// What is taken from the logits.
    pub mean: Vec<f32>,
    /// Of the rows seen since it was last moved.
    sum: Vec<f32>,
    rows: usize,
}

impl Centre {
    fn new(prototypes: usize) -> Self {
        Self {
            mean: vec![0.0; prototypes],
            sum: vec![0.0; prototypes],
            rows: 0,
        }
    }

    /// Counts rows of logits in, `[rows, K]`. The centre stays where it is: the parts of a batch are all taken from the
    /// same one.
    pub fn see(&mut self, logits: &[f32]) {
        for row in logits.chunks_exact(self.sum.len()) {
            self.sum.iter_mut().zip(row).for_each(|(sum, z)| *sum += z);
            self.rows += 1;
        }
    }

    /// `mean = momentum * mean + (1 - momentum) * mean of the rows seen`, if there were any.
    fn follow(&mut self, momentum: f32) {
        let rows = std::mem::take(&mut self.rows) as f32;
        for (mean, sum) in self.mean.iter_mut().zip(&mut self.sum) {
            let sum = std::mem::take(sum);
            if rows > 0.0 {
                *mean = momentum * *mean + (1.0 - momentum) * sum / rows;
            }
        }
    }

    fn norm(&self) -> f64 {
        let squares = self.mean.iter().map(|v| f64::from(*v).powi(2));
        squares.sum::<f64>().sqrt()
    }
}

/// A centre for each head.
#[derive(Clone, Debug, PartialEq)]
pub struct Centres {
    /// Of the image head.
    pub image: Centre,
    /// Of the patch head.
    pub patch: Centre,
    /// Of the head for patches whose position is masked, if it is another.
    pub position: Option<Centre>,
}

impl Centres {
    /// At zero.
    pub fn new(prototypes: usize, separate_position: bool) -> Self {
        let centre = || Centre::new(prototypes);
        Self {
            image: centre(),
            patch: centre(),
            position: separate_position.then(centre),
        }
    }

    /// After a whole batch: each centre moves towards what it has seen.
    pub fn follow(&mut self, momentum: f32) {
        for (_, centre) in self.iter_mut() {
            centre.follow(momentum);
        }
    }

    /// Each with its name.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Centre)> {
        let position = self.position.iter_mut().map(|c| ("position", c));
        [("image", &mut self.image), ("patch", &mut self.patch)]
            .into_iter()
            .chain(position)
    }

    /// Each with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Centre)> {
        let position = self.position.iter().map(|c| ("position", c));
        [("image", &self.image), ("patch", &self.patch)]
            .into_iter()
            .chain(position)
    }

    /// Their lengths, if they are used.
    pub fn norms(&self, centring: Centring) -> Option<CentreNorms> {
        (centring == Centring::Ema).then(|| CentreNorms {
            centre_image: self.image.norm(),
            centre_patch: self.patch.norm(),
            centre_position: self.position.as_ref().map(Centre::norm),
        })
    }
}

/// Lengths of the centres: they grow where the teacher prefers some prototypes whatever the view.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct CentreNorms {
    /// Of the image head's.
    pub centre_image: f64,
    /// Of the patch head's.
    pub centre_patch: f64,
    /// Of the position head's, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub centre_position: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centres_follow_the_mean_of_the_whole_batch() {
        let mut centres = Centres::new(2, false);
        centres.image.mean = vec![1.0, 0.0];
        // In two parts, of two rows and of one.
        centres.image.see(&[2.0, 4.0, 4.0, 0.0]);
        assert_eq!(centres.image.mean, [1.0, 0.0]);
        centres.image.see(&[0.0, 2.0]);
        centres.follow(0.9);
        let [a, b] = centres.image.mean[..] else {
            panic!()
        };
        assert!((a - (0.9 + 0.1 * 2.0)).abs() < 1e-6 && (b - 0.1 * 2.0).abs() < 1e-6);
        // Nothing seen: nothing moves.
        centres.follow(0.9);
        assert_eq!(centres.image.mean, [a, b]);
    }

    #[test]
    fn norms_are_of_the_centres_that_there_are() {
        let mut centres = Centres::new(2, false);
        centres.image.mean = vec![3.0, -4.0];
        centres.patch.mean = vec![0.0, 2.0];
        let norms = centres.norms(Centring::Ema).unwrap();
        assert_eq!((norms.centre_image, norms.centre_patch), (5.0, 2.0));
        assert_eq!(norms.centre_position, None);
        assert_eq!(centres.norms(Centring::SinkhornKnopp), None);
        let norms = Centres::new(2, true).norms(Centring::Ema).unwrap();
        assert_eq!(norms.centre_position, Some(0.0));
    }
}
