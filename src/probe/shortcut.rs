//! Whether CLS tells the window instead of the picture: a shortcut that makes the loss fall and features worse.

use super::features::Rows;

/// What CLS features vary with, when every picture is seen in every window.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Shortcut {
    /// Share of the variance between pictures.
    pub picture: f64,
    /// Share of the variance between windows.
    pub window: f64,
    /// Share of the pictures whose nearest feature in the next window is their own.
    pub retrieved: f64,
}

impl Shortcut {
    /// `features` are of length 1, the rows of window 0 for every picture first, then those of window 1, and so on: a
    /// two-way analysis of variance without repetition; the rest is what picture and window make together.
    ///
    /// # Panics
    /// If the rows are not whole windows of pictures.
    pub fn measure(features: &Rows, windows: usize) -> Self {
        let pictures = features.len() / windows;
        assert!(windows > 1 && pictures > 0 && features.len() == windows * pictures);
        let row = |w: usize, p: usize| features.row(w * pictures + p);
        let mean = |rows: &mut dyn Iterator<Item = usize>| -> Vec<f64> {
            let (mut sum, mut count) = (vec![0.0; features.width()], 0.0);
            for at in rows {
                count += 1.0;
                for (sum, &v) in sum.iter_mut().zip(features.row(at)) {
                    *sum += f64::from(v);
                }
            }
            sum.iter().map(|sum| sum / count).collect()
        };
        let centre = mean(&mut (0..features.len()));
        let squared =
            |from: &[f64]| -> f64 { from.iter().zip(&centre).map(|(a, b)| (a - b).powi(2)).sum() };
        let whole: f64 = features
            .iter()
            .map(|row| squared(&row.iter().map(|&v| f64::from(v)).collect::<Vec<_>>()))
            .sum();
        let whole = whole.max(f64::MIN_POSITIVE);
        let of_pictures: f64 = (0..pictures)
            .map(|p| squared(&mean(&mut (0..windows).map(|w| w * pictures + p))))
            .sum();
        let of_windows: f64 = (0..windows)
            .map(|w| squared(&mean(&mut (w * pictures..(w + 1) * pictures))))
            .sum();
        let cosine = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let found = |w: usize, p: usize| {
            let (here, next) = (row(w, p), (w + 1) % windows);
            let own = cosine(here, row(next, p));
            (0..pictures).all(|other| other == p || cosine(here, row(next, other)) < own)
        };
        let hits = (0..windows)
            .flat_map(|w| (0..pictures).map(move |p| (w, p)))
            .filter(|&(w, p)| found(w, p))
            .count();
        Self {
            picture: windows as f64 * of_pictures / whole,
            window: pictures as f64 * of_windows / whole,
            retrieved: hits as f64 / features.len() as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Features of 2 windows of 3 pictures, made of a part for the picture and a part for the window.
    fn features(picture: f32, window: f32) -> Rows {
        let mut values = Vec::new();
        for w in 0..2 {
            for p in 0..3 {
                let mut row = [0.0f32; 5];
                row[p] = picture;
                row[3 + w] = window;
                let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
                values.extend(row.map(|v| v / length));
            }
        }
        Rows::new(5, values)
    }

    #[test]
    fn picture_and_window_share_the_variance() {
        let all_picture = Shortcut::measure(&features(1.0, 0.0), 2);
        assert!((all_picture.picture - 1.0).abs() < 1e-6 && all_picture.window.abs() < 1e-6);
        assert_eq!(all_picture.retrieved, 1.0);
        let all_window = Shortcut::measure(&features(0.0, 1.0), 2);
        assert!(all_window.picture.abs() < 1e-6 && (all_window.window - 1.0).abs() < 1e-6);
        assert_eq!(all_window.retrieved, 0.0);
        // Equal lengths: pictures vary by 2/3 a row, windows by 1/2, of 7/6.
        let both = Shortcut::measure(&features(1.0, 1.0), 2);
        assert!((both.picture - 4.0 / 7.0).abs() < 1e-6, "{both:?}");
        assert!((both.window - 3.0 / 7.0).abs() < 1e-6, "{both:?}");
    }
}
